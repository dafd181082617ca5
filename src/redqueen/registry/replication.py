"""How two registries come to know the same: records merge by join, gaps are found by digest.

`join` is commutative, associative and idempotent (a join semilattice): the payload with the
greater version wins, the later sign of life wins, and of equal signs the one whose lease has
run out. So loss, repetition and order of messages cannot matter. `digest` names identities with
versions; `missing` compares two. Refuses to count statuses as Eureka does: identities only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from redqueen.registry.model import Identity, Record, Version


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life without its record; `age_s` seconds old when it was told."""

    identity: Identity
    beat_ms: int
    lapsed: bool
    age_s: float


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """How much is known of one identity."""

    version: Version
    beat_ms: int
    lapsed: bool
    gone: bool


def join(ours: Record, theirs: Record) -> Record:
    """Merge two records of one identity."""
    newer = theirs if theirs.version > ours.version else ours
    beat_ms, lapsed = max((ours.beat_ms, ours.lapsed), (theirs.beat_ms, theirs.lapsed))
    if (newer.beat_ms, newer.lapsed) == (beat_ms, lapsed):
        return newer
    return replace(newer, beat_ms=beat_ms, lapsed=lapsed)


def reason(record: Record) -> str:
    """Say why a record is as it is after a merge."""
    if record.gone:
        return record.gone
    return "its lease ran out at the peer" if record.lapsed else "the peer knows it"


def digest(records: Iterable[Record]) -> dict[Identity, Mark]:
    """Name what is known, without the payloads."""
    return {r.identity: Mark(r.version, r.beat_ms, r.lapsed, bool(r.gone)) for r in records}


def missing(theirs: Mapping[Identity, Mark], ours: Mapping[Identity, Mark]) -> tuple[Identity, ...]:
    """List the identities of which `theirs` knows anything that `ours` does not."""
    return tuple(i for i, mark in theirs.items() if _adds(mark, ours.get(i)))


def _adds(mark: Mark, known: Mark | None) -> bool:
    if known is None:
        # Removals of what was never known here are of no use, and would be handed on for ever.
        return not mark.lapsed and not mark.gone
    return mark.version > known.version or (mark.beat_ms, mark.lapsed) > (known.beat_ms, known.lapsed)
