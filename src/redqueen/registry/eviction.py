"""Whether many leases that run out together mean many deaths, or that the registry went deaf.

A single lease that runs out is evicted at once. When more than a third of at least three
instances run out within a short window, the registry asks each of them by a TCP connect first:
who accepts stays, who refuses is dead, and silence counts as death only while others are
heard. Refuses to probe by itself: it judges what the driver found. Enter at `is_mass`, `judge`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from redqueen.registry.model import Identity, Record

STALL_S = 0.75
"""Seconds between two sweeps beyond which the registry itself did not run (it sweeps five times a second)."""
WINDOW_S = 3.0
"""Seconds within which leases count as running out together: heartbeats are spread over about one."""
SMALLEST = 3
"""Below this many instances every end stands for itself."""


class Probe(StrEnum):
    """What a TCP connect to an instance's port found."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    SILENT = "silent"


class Keep(StrEnum):
    """What becomes of a probed instance."""

    RENEW = "renew"
    WAIT = "wait"
    EVICT = "evict"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one probed instance, and why."""

    keep: Keep
    because: str


@dataclass(frozen=True, slots=True)
class Population:
    """How many instances there were at the window's start, and how many of them have run out."""

    total: int
    ended: int


def recently_lapsed(records: Iterable[Record], expires_s: Mapping[Identity, float], mono_s: float) -> list[Record]:
    """List the records whose lease ran out within the window and was ended."""
    return [r for r in records if r.lapsed and not r.gone and mono_s - expires_s[r.identity] <= WINDOW_S]


def population(records: Iterable[Record], expires_s: Mapping[Identity, float], mono_s: float) -> Population:
    """Count the window: those alive or lately lapsed, and those of them that have run out."""
    known = list(records)
    alive = [r for r in known if r.living]
    lapsed = recently_lapsed(known, expires_s, mono_s)
    ended = len(lapsed) + sum(1 for r in alive if expires_s[r.identity] <= mono_s)
    return Population(len(alive) + len(lapsed), ended)


def is_mass(counted: Population) -> bool:
    """Decide whether so many ends together need proof first: more than 1/3 of at least three."""
    return counted.total >= SMALLEST and 3 * counted.ended > counted.total


def explain(counted: Population) -> str:
    """Say why probes are sent."""
    return f"{counted.ended} of {counted.total} leases ran out together; each instance is asked before it is evicted"


def hears_others(suspects: Iterable[Record], living: Iterable[Record], renewed_s: Mapping[Identity, float]) -> bool:
    """Tell whether anybody else was heard well after the suspects fell silent.

    "Well after" is one and a half of the suspects' heartbeat periods: when the registry goes deaf,
    all fall silent within one.
    """
    silent = list(suspects)
    named = {r.identity for r in silent}
    last_s = max((renewed_s[r.identity] for r in silent), default=0.0)
    margin_s = 1.5 * max((r.instance.renewal_s for r in silent), default=0.0)
    return any(renewed_s[r.identity] > last_s + margin_s for r in living if r.identity not in named)


def judge(found: Probe, *, hears_others: bool) -> Verdict:
    """Decide about one instance: `hears_others` tells whether other instances are still heard."""
    if found is Probe.ACCEPTED:
        return Verdict(Keep.RENEW, "its lease ran out with many others, but it accepts connections")
    if found is Probe.REFUSED:
        return Verdict(Keep.EVICT, "its lease ran out and its port refuses connections")
    if hears_others:
        return Verdict(Keep.EVICT, "its lease ran out and it does not answer, while others do")
    return Verdict(Keep.WAIT, "nobody at all is heard: more likely the registry is cut off")
