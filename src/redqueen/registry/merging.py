"""What a peer's words do to the table.

A peer's record is joined with ours (`replication.join`). Its word that a lease ran out is refuted
when we heard the instance since: that is told by ages, so that no registry's clock can win by
running ahead. Refuses to show for a moment what is about to end. Enter at `merge`, `merge_beats`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from redqueen.registry import replication
from redqueen.registry.calls import Outcome
from redqueen.registry.model import Moment, Record
from redqueen.registry.table import Entry, Table
from redqueen.registry.writing import together, write

_MARGIN_S = 0.25
"""Seconds by which our sign of life must be younger than the peer's: messages take time."""


def merge(table: Table, records: Iterable[tuple[Record, float]], now: Moment) -> Outcome:
    """Take records, each with the age in seconds of its last beat at the peer."""
    return together(_merge(table, theirs, age_s, now) for theirs, age_s in records)


def merge_beats(table: Table, beats: Iterable[replication.Beat], now: Moment) -> Outcome:
    """Take signs of life (and ends of leases) of records that are known here."""
    outcomes: list[Outcome] = []
    for beat in beats:
        entry = table.find(beat.identity)
        if entry is None:
            continue
        if not beat.lapsed and not entry.stored.lapsed and not entry.stored.gone:
            _hear(table, entry, beat.beat_ms, now.mono_s - beat.age_s)
        else:
            outcomes.append(
                _merge(table, replace(entry.record, beat_ms=beat.beat_ms, lapsed=beat.lapsed), beat.age_s, now)
            )
    return together(outcomes)


def _hear(table: Table, entry: Entry, beat_ms: int, renewed_s: float) -> None:
    """Take a beat of an instance that lives here too: nothing that anybody sees changes."""
    if beat_ms > entry.beat_ms:
        entry.beat_ms, entry.spared = beat_ms, 0
        entry.believe_until(renewed_s, entry.stored.instance.lease_s)


def _merge(table: Table, theirs: Record, age_s: float, now: Moment) -> Outcome:
    entry = table.find(theirs.identity)
    if entry is None:
        if not theirs.living or age_s >= theirs.instance.lease_s:
            return Outcome()  # removals of what was never known are of no use; nor is a lease that is over
        entry = table.open(theirs, now.mono_s - age_s)
        entry.expires_s += theirs.instance.lease_s
        return _quietly(write(table, entry, theirs, replication.reason(theirs), now))
    ours = entry.record
    merged = replication.join(ours, theirs)
    refuted = ours.living and merged.lapsed and not merged.gone and _heard_since(entry, ours, theirs, age_s, now)
    if refuted:
        merged = replace(merged, beat_ms=merged.beat_ms + 1, lapsed=False)
    if merged == ours:
        return Outcome()
    if merged.living and not ours.living and age_s >= merged.instance.lease_s:
        return Outcome()  # its lease is about to end at the peer: do not show it for a moment
    if merged.beat_ms > ours.beat_ms and not refuted:
        entry.believe_until(now.mono_s - age_s, merged.instance.lease_s)
    outcome = write(table, entry, merged, replication.reason(merged), now)
    return outcome if refuted else _quietly(outcome)


def _heard_since(entry: Entry, ours: Record, theirs: Record, age_s: float, now: Moment) -> bool:
    """Tell whether we heard an instance after the last beat that the peer knows (not the same beat)."""
    our_age_s = now.mono_s - entry.renewed_s
    fresh = entry.expires_s > now.mono_s and our_age_s < ours.instance.lease_s
    return fresh and theirs.beat_ms != ours.beat_ms and our_age_s + _MARGIN_S < age_s


def _quietly(outcome: Outcome) -> Outcome:
    """A peer's own words are not handed back to it."""
    return replace(outcome, news=())
