"""Whether leases that run out mean deaths, or that the registry went deaf; and what probes prove.

A lease that runs out while others of its pace are heard is ended at once. When more than a third
of them have missed a heartbeat, or nobody at all is heard, the registry asks before it evicts
anybody: it knows this at the first end already, since a deaf registry hears nobody long before
the first lease is over. Who refuses is dead; silence counts as death only while others are heard;
who accepts is believed, but not for ever. Refuses to probe by itself. Enter at `doubt`, `judge`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from redqueen.registry.table import Entry

STALL_S = 0.75
"""Seconds between two sweeps beyond which the registry itself did not run (it sweeps five times a second)."""
SMALLEST = 3
"""Below this many instances a third means nothing: then only nobody at all being heard raises doubt."""
WINDOW_S = 3.0
"""Seconds for which the lately lapsed still count as silent."""
MOST_SPARED = 3
"""Leases that an instance which only accepts connections is given while others are heard: it may hang."""
PATIENCE_S = 3600.0
"""Seconds after which a silent instance is given up though nobody is heard."""


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
class Census:
    """Of those who should have been heard within a lease: how many there are, and how many were not."""

    total: int
    silent: int


def missed(entry: Entry, mono_s: float) -> bool:
    """Tell whether an instance has missed a heartbeat (and not only come a little late)."""
    instance = entry.stored.instance
    return mono_s - entry.renewed_s > min(1.5 * instance.renewal_s, 0.75 * instance.lease_s)


def census(entries: Iterable[Entry], lease_s: float, own: tuple[str, int], mono_s: float) -> Census:
    """Count those whose pace lets them be heard within `lease_s`; the registry itself does not count."""
    total = silent = 0
    for entry in entries:
        if not entry.living and not (entry.stored.lapsed and mono_s - entry.ended_s <= WINDOW_S):
            continue
        if entry.stored.instance.renewal_s > lease_s or is_own(entry, own):
            continue
        total += 1
        silent += not entry.living or missed(entry, mono_s)
    return Census(total, silent)


def is_own(entry: Entry, own: tuple[str, int]) -> bool:
    """Tell whether an entry is the registry's own: hearing oneself proves nothing."""
    instance = entry.stored.instance
    return instance.port == own[1] and own[1] > 0 and own[0] in (instance.host, instance.ip)


def doubt(counted: Census) -> str:
    """Say why ends of leases need proof first; empty if the lease alone may decide."""
    if counted.total >= SMALLEST and 3 * counted.silent > counted.total:
        return f"{counted.silent} of {counted.total} instances fell silent; each is asked before it is evicted"
    if counted.silent >= counted.total:
        return "nobody is heard any more; each instance is asked before it is evicted"
    return ""


def callable_at(entry: Entry) -> bool:
    """Tell whether there is a port to ask."""
    instance = entry.stored.instance
    return bool(instance.port if instance.port_enabled else instance.secure_port * instance.secure_port_enabled)


def hears_others(suspects: Iterable[Entry], entries: Iterable[Entry], own: tuple[str, int]) -> bool:
    """Tell whether anybody else was heard well after the suspects fell silent.

    "Well after" is one and a half of the suspects' heartbeat periods: when the registry goes deaf,
    all fall silent within one.
    """
    silent = {entry.identity: entry for entry in suspects}
    last_s = max((e.renewed_s for e in silent.values()), default=0.0)
    margin_s = 1.5 * max((e.stored.instance.renewal_s for e in silent.values()), default=0.0)
    return any(
        e.renewed_s > last_s + margin_s and e.living and e.identity not in silent and not is_own(e, own)
        for e in entries
    )


def judge(found: Probe, *, hears_others: bool, spared: int, silent_s: float) -> Verdict:
    """Decide about an instance whose lease ran out amid doubt.

    `hears_others` tells whether others are still heard, `spared` how many leases in a row it was
    given for accepting, `silent_s` for how long it was not heard.
    """
    if found is Probe.REFUSED:
        return Verdict(Keep.EVICT, "its lease ran out and its port refuses connections")
    if found is Probe.ACCEPTED:
        if hears_others and spared >= MOST_SPARED:
            return Verdict(Keep.EVICT, f"it accepts connections, but missed {spared + 1} leases while others are heard")
        return Verdict(Keep.RENEW, "its lease ran out with many others, but it accepts connections")
    if hears_others:
        return Verdict(Keep.EVICT, "its lease ran out and it does not answer, while others do")
    if silent_s > PATIENCE_S:
        return Verdict(Keep.EVICT, f"nothing was heard of it for {PATIENCE_S / 60:.0f} minutes")
    return Verdict(Keep.WAIT, "nobody at all is heard: more likely the registry is cut off")


def judge_suspect(found: Probe, *, missed: bool, hears_others: bool) -> Verdict:
    """Decide about an instance that somebody could not reach: a refusal is proof, silence only a second sign."""
    if found is Probe.REFUSED:
        return Verdict(Keep.EVICT, "its port refuses connections")
    if found is Probe.SILENT and missed and hears_others:
        return Verdict(Keep.EVICT, "it does not answer and missed a heartbeat, while others are heard")
    return Verdict(Keep.WAIT, "it accepts connections" if found is Probe.ACCEPTED else "it was heard a moment ago")
