"""The lease table's rules: what each event does to the belief who is alive.

`step` is the one way in: it takes an event (a registration, a heartbeat, a removal, a peer's
record, the result of probes, a sweep) and a moment, changes the owner's table, and returns the
reply with the visible changes. Refuses clocks, sockets and waiting. The rules of mass eviction
are in `eviction`, those of merging in `merging`. A lease lasts its duration once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from redqueen.registry import eviction, merging
from redqueen.registry.calls import (
    Cancel,
    ClearOverride,
    Event,
    Exited,
    Merge,
    MergeBeats,
    Outcome,
    Override,
    Probed,
    Register,
    Renew,
    Reply,
    Reserve,
    SetMetadata,
    Suspected,
    SuspectProbed,
    Sweep,
)
from redqueen.registry.model import Identity, Instance, Moment, Record, Status, Version, effective_status, with_metadata
from redqueen.registry.rights import REGION
from redqueen.registry.table import Entry, Table
from redqueen.registry.writing import alive, next_beat, together, write

RETENTION_S = 300.0
"""Seconds (and one lease) that removals are remembered: longer than clients hold deltas, and partitions last."""
MOST_LEASE_S = 86_400.0
"""The longest lease that is granted, whatever is asked for: else a dead instance could stay for ever."""
_FORGET_S = 5.0
_SUSPICION_S = 1.0
"""Seconds between two probes of one suspect."""
_SUSPICIONS = 100
"""Probes of suspects in one second, at most."""


def step(table: Table, event: Event, now: Moment) -> Outcome:
    """Apply one event at one moment; the only way in which a table changes."""
    match event:
        case Renew():
            return _renew(table, event, now)
        case Register():
            return _register(table, event.instance, event.owner, now)
        case Cancel():
            return _remove(table, event.identity, "it left", now)
        case Exited():
            return _exited(table, event, now)
        case Suspected():
            return _suspected(table, event, now)
        case SuspectProbed():
            return _suspect_probed(table, event, now)
        case Reserve():
            return _reserve(table, event.names, now)
        case Override():
            return _edit(table, event.identity, now, override=event.status)
        case ClearOverride():
            return _edit(table, event.identity, now, override=Status.UNKNOWN, fallback=event.fallback)
        case SetMetadata():
            return _edit(table, event.identity, now, metadata=event.values)
        case Merge():
            return merging.merge(table, event.records, now)
        case MergeBeats():
            return merging.merge_beats(table, event.beats, now)
        case Sweep():
            return _sweep(table, now)
        case Probed():
            return _probed(table, event.results, now)


def age_s(table: Table, identity: Identity, now: Moment) -> float:
    """Tell how many seconds ago the last beat was, as far as this registry knows."""
    entry = table.find(identity)
    return 0.0 if entry is None else max(0.0, now.mono_s - entry.renewed_s)


def load(table: Table, records: Iterable[Record], now: Moment) -> None:
    """Take the records of a snapshot; each lease gets one fresh duration of grace."""
    for record in records:
        entry = table.find(record.identity) or table.open(record, now.mono_s)
        entry.believe_until(now.mono_s, record.instance.lease_s)
        table.store(entry, record, now.mono_s)


def _next_version(table: Table, known: Record | None, stamp_ms: int) -> Version:
    if known is None or stamp_ms > known.version.stamp_ms:
        return Version(stamp_ms, 0, table.origin)
    return Version(known.version.stamp_ms, known.version.edit + 1, table.origin)


def _register(table: Table, instance: Instance, owner: str, now: Moment) -> Outcome:
    if instance.lease_s > MOST_LEASE_S:
        instance = replace(instance, lease_s=MOST_LEASE_S)
    entry = table.find(instance.identity)
    known = None if entry is None else entry.record
    if entry is not None and known is not None and known.living:
        instance = _same_words(instance, known.instance)
        older = instance.dirty_at_ms < known.instance.dirty_at_ms
        if older or (instance == known.instance and owner == known.owner):
            return alive(table, entry, "it registered again", now)
    record = _registered(table, known, instance, owner, now)
    if entry is None:
        entry = table.open(record, now.mono_s)
    # The new incarnation's own duration counts, not what is left of a longer old lease.
    entry.renewed_s, entry.expires_s, entry.spared = now.mono_s, now.mono_s + instance.lease_s, 0
    return write(table, entry, record, "it registered", now)


def _registered(table: Table, known: Record | None, instance: Instance, owner: str, now: Moment) -> Record:
    override = instance.override
    if override is Status.UNKNOWN and known is not None and not known.gone:
        override = known.override
    up = effective_status(instance.status, override) is Status.UP
    standing = known if known is not None and known.living else None
    up_ms = 0 if standing is None else standing.up_ms
    return Record(
        instance=instance if instance.override is Status.UNKNOWN else replace(instance, override=Status.UNKNOWN),
        version=_next_version(table, known, instance.dirty_at_ms),
        beat_ms=next_beat(known, now),
        override=override,
        registered_ms=now.wall_ms if standing is None else standing.registered_ms,
        updated_ms=now.wall_ms,
        up_ms=up_ms or (now.wall_ms if up else 0),
        owner=owner,
    )


def _same_words(instance: Instance, known: Instance) -> Instance:
    """Let the existing lease's status stand where the instance has not said anything newer."""
    serving = (Status.UP, Status.OUT_OF_SERVICE)
    if instance.dirty_at_ms == known.dirty_at_ms and instance.status in serving and known.status in serving:
        return replace(instance, status=known.status)
    return instance


def _renew(table: Table, event: Renew, now: Moment) -> Outcome:
    entry = table.find(event.identity)
    if entry is None:
        return Outcome(Reply.UNKNOWN, because="it is not registered")
    reply, because = beat(entry, event.dirty_at_ms, replicated=event.replicated, now=now)
    if reply is not Reply.DONE:
        return Outcome(reply, because=because)
    if entry.stored.lapsed:
        return alive(table, entry, because, now)
    return Outcome(touched=(event.identity,), news=(event.identity,), because=because)


def beat(entry: Entry, dirty_at_ms: int | None, *, replicated: bool, now: Moment) -> tuple[Reply, str]:
    """Take a heartbeat; one that answers a lapse (the stored record is `lapsed`) must be written by `alive`."""
    record = entry.stored
    instance = record.instance
    if record.gone:
        return Reply.UNKNOWN, "it is not registered"
    if instance.status is Status.UNKNOWN and effective_status(instance.status, record.override) is Status.UNKNOWN:
        return Reply.UNKNOWN, "its status is unknown"
    if dirty_at_ms is not None and dirty_at_ms != instance.dirty_at_ms:
        if dirty_at_ms > instance.dirty_at_ms:
            return Reply.UNKNOWN, "it has changed since it registered"
        if replicated:
            return Reply.OUTDATED, "a newer registration is known"
    if not record.lapsed:
        entry.beat_ms = max(entry.beat_ms + 1, now.wall_ms)
        entry.renewed_s, entry.spared = now.mono_s, 0
        entry.expires_s = max(entry.expires_s, now.mono_s + instance.lease_s)
    return Reply.DONE, "it gave a sign of life"


def _remove(table: Table, identity: Identity, because: str, now: Moment) -> Outcome:
    entry = table.find(identity)
    if entry is None or entry.stored.gone:
        return Outcome(Reply.UNKNOWN, because="it is not registered")
    known = entry.record
    version = _next_version(table, known, known.version.stamp_ms)
    record = replace(known, version=version, gone=because, override=Status.UNKNOWN, updated_ms=now.wall_ms)
    return write(table, entry, record, because, now)


def _exited(table: Table, event: Exited, now: Moment) -> Outcome:
    entry = table.find(event.identity)
    if entry is not None and entry.stored.instance.dirty_at_ms > event.at_ms:
        return Outcome(Reply.OUTDATED, because="a newer incarnation has registered since that exit")
    return _remove(table, event.identity, event.because, now)


def _reserve(table: Table, names: frozenset[str], now: Moment) -> Outcome:
    """Give names to the region. Records of earlier releases, which knew no owners, came before and stay."""
    taken = names - table.reserved
    table.reserved = names
    squatters = [e for e in table.entries() if e.living and e.stored.owner != REGION and taken.intersection(e.names)]
    return together(_remove(table, e.identity, "its name belongs to the region", now) for e in squatters)


def _edit(
    table: Table,
    identity: Identity,
    now: Moment,
    *,
    override: Status | None = None,
    fallback: Status | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Outcome:
    entry = table.find(identity)
    if entry is None or not entry.living:
        return Outcome(Reply.UNKNOWN, because="it is not registered")
    known = entry.record
    instance = known.instance if metadata is None else with_metadata(known.instance, metadata)
    if fallback is not None:
        instance = replace(instance, status=fallback)
    record = replace(
        known,
        instance=instance,
        version=_next_version(table, known, known.version.stamp_ms),
        override=known.override if override is None else override,
        updated_ms=now.wall_ms,
    )
    return write(table, entry, record, "its record was edited", now)


def _sweep(table: Table, now: Moment) -> Outcome:
    _grant_grace(table, now)
    _forget(table, now)
    expired = [e for e in table.expired(now.mono_s) if e.identity not in table.probing]
    if not expired:
        return Outcome()
    lapsed: list[Entry] = []
    asked: list[Entry] = []
    reason = ""
    for lease_s in {e.stored.instance.lease_s for e in expired}:
        counted = eviction.census(table.entries(), lease_s, table.own, now.mono_s)
        because = eviction.doubt(counted)
        reason = reason or because
        for entry in (e for e in expired if e.stored.instance.lease_s == lease_s):
            # Nobody can call what has no port: a few of them are let go without proof.
            sure = not because or (counted.total < eviction.SMALLEST and not eviction.callable_at(entry))
            (lapsed if sure else asked).append(entry)
    table.probing.update(e.identity for e in asked)
    done = _lapse(table, lapsed, "its lease ran out", now)
    return replace(done, probes=tuple(e.stored.instance for e in asked), because=reason)


def _grant_grace(table: Table, now: Moment) -> None:
    """Leases do not run while the registry itself did not run: give back up to one duration."""
    gap_s = 0.0 if table.swept_s is None else now.mono_s - table.swept_s
    table.swept_s = now.mono_s
    if gap_s < eviction.STALL_S:
        return
    for entry in table.entries():
        if entry.living:
            entry.expires_s = max(entry.expires_s, now.mono_s + min(gap_s, entry.stored.instance.lease_s))


def _forget(table: Table, now: Moment) -> None:
    """Drop removals that nobody can have missed by now: no peer holds its lease any more either."""
    if now.mono_s - table.forgot_s < _FORGET_S:
        return
    table.forgot_s = now.mono_s
    for entry in list(table.ended.values()):
        if now.mono_s - entry.ended_s > RETENTION_S + entry.stored.instance.lease_s:
            table.drop(entry)


def _lapse(table: Table, entries: Iterable[Entry], because: str, now: Moment) -> Outcome:
    return together(write(table, e, replace(e.record, lapsed=True), because, now) for e in entries)


def _probed(table: Table, results: Mapping[Identity, eviction.Probe], now: Moment) -> Outcome:
    table.probing.difference_update(results)
    suspects = [e for i in results if (e := table.find(i)) is not None and e.living and e.expires_s <= now.mono_s]
    others = eviction.hears_others(suspects, table.entries(), table.own) if suspects else False
    return together(_judge(table, entry, results[entry.identity], others, now) for entry in suspects)


def _judge(table: Table, entry: Entry, found: eviction.Probe, others: bool, now: Moment) -> Outcome:
    silent_s = now.mono_s - entry.renewed_s
    verdict = eviction.judge(found, hears_others=others, spared=entry.spared, silent_s=silent_s)
    if verdict.keep is eviction.Keep.EVICT:
        return _lapse(table, [entry], verdict.because, now)
    if verdict.keep is eviction.Keep.RENEW:
        spared = entry.spared + 1
        outcome = alive(table, entry, verdict.because, now)
        entry.spared = spared
        return outcome
    # Believed for one more lease, by the smallest possible beat: any real sign of life outdoes it.
    entry.expires_s = now.mono_s + entry.stored.instance.lease_s
    return write(table, entry, replace(entry.record, beat_ms=entry.beat_ms + 1), verdict.because, now)


def _suspected(table: Table, event: Suspected, now: Moment) -> Outcome:
    entry = table.find(event.identity)
    if entry is None or not entry.living:
        return Outcome(Reply.UNKNOWN, because="it is not registered")
    instance = entry.stored.instance
    if event.port != instance.port or event.host not in (instance.host, instance.ip):
        return Outcome(Reply.OUTDATED, because="it listens elsewhere by now")
    began_s, asked = table.suspicions
    if now.mono_s - began_s >= 1.0:
        began_s, asked = now.mono_s, 0
    lately = entry.suspected_s is not None and now.mono_s - entry.suspected_s < _SUSPICION_S
    if lately or asked >= _SUSPICIONS:
        return Outcome(because="it was asked a moment ago" if lately else "too many are asked already")
    table.suspicions, entry.suspected_s = (began_s, asked + 1), now.mono_s
    return Outcome(probes=(instance,), because=f"it is asked: {event.because}")


def _suspect_probed(table: Table, event: SuspectProbed, now: Moment) -> Outcome:
    entry = table.find(event.identity)
    if entry is None or not entry.living:
        return Outcome(Reply.UNKNOWN, because="it is not registered any more")
    others = eviction.hears_others([entry], table.entries(), table.own)
    missed = eviction.missed(entry, now.mono_s)
    verdict = eviction.judge_suspect(event.found, missed=missed, hears_others=others)
    if verdict.keep is eviction.Keep.EVICT:
        return _lapse(table, [entry], f"{event.because}, and {verdict.because}", now)
    return Outcome(because=verdict.because)
