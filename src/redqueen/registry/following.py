"""What a watcher believes, given what registries tell it: knowledge is never lost to a restart.

A full set of another epoch (the registry restarted, or the watcher fell over to its peer) may
lack instances only because that registry has not heard of them yet: they are kept for a grace,
unless it says that they were removed. Refuses I/O and clocks. Enter at `step`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from redqueen.registry.messages import BeatMessage, Changed, Full, StreamMessage
from redqueen.registry.model import Identity, Instance, InstanceSet

GRACE_S = 5.0
"""Seconds that an instance unknown to a new registry is kept: longer than lease and heartbeat of our nodes."""


_BY_IDENTITY = attrgetter("app", "instance_id")


@dataclass(frozen=True, slots=True)
class Belief:
    """What a watcher knows: instances, and until when (monotonic) the unconfirmed ones are kept."""

    epoch: str = ""
    version: int = 0
    known: Mapping[Identity, Instance] = field(default_factory=dict[Identity, Instance])
    unconfirmed_until_s: Mapping[Identity, float] = field(default_factory=dict[Identity, float])
    instances: InstanceSet = ()
    """What is known, ordered by identity."""


def _belief(message: Full | Changed, known: Mapping[Identity, Instance], until_s: Mapping[Identity, float]) -> Belief:
    return Belief(message.epoch, message.version, known, until_s, _ordered(known.values()))


def _ordered(known: Collection[Instance]) -> InstanceSet:
    return tuple(sorted(known, key=_BY_IDENTITY))


def _with(before: InstanceSet, told: Mapping[Identity, Instance], gone: Collection[Identity]) -> InstanceSet:
    """Put a few changes into an ordered set, at the cost of copying it: sorting ten thousand takes milliseconds."""
    found = list(before)
    for identity in (*gone, *told):
        wanted = (identity.app, identity.instance_id)
        at = bisect_left(found, wanted, key=_BY_IDENTITY)
        stood = at < len(found) and _BY_IDENTITY(found[at]) == wanted
        found[at : at + stood] = [told[identity]] if identity in told else []
    return tuple(found)


def step(belief: Belief, message: StreamMessage, mono_s: float, *, grace_s: float = GRACE_S) -> Belief:
    """Take one message of a registry's stream at one moment."""
    match message:
        case Full():
            belief = _take_full(belief, message, mono_s + grace_s)
        case Changed():
            belief = _take_changes(belief, message)
        case BeatMessage():
            pass
    return _drop_unconfirmed(belief, mono_s)


def _take_full(belief: Belief, message: Full, kept_until_s: float) -> Belief:
    told = {i.identity: i for i in message.instances}
    answered = told.keys() | {r.identity for r in message.removed}
    if message.epoch == belief.epoch:
        until_s = {i: s for i, s in belief.unconfirmed_until_s.items() if i not in answered}
    else:
        # Every new registry gets the whole grace: nodes need one that lives as long to tell it of themselves.
        until_s = dict.fromkeys((i for i in belief.known if i not in answered), kept_until_s)
    return _belief(message, {i: belief.known[i] for i in until_s} | told, until_s)


def _take_changes(belief: Belief, message: Changed) -> Belief:
    told = {i.identity: i for i in message.instances}
    # A plain copy: among ten thousand, looking at each would cost more than all else.
    known = {**belief.known}
    for removed in message.removed:
        known.pop(removed.identity, None)
    known |= told
    until_s = {i: s for i, s in belief.unconfirmed_until_s.items() if i not in told and i in known}
    gone = [removed.identity for removed in message.removed]
    return Belief(message.epoch, message.version, known, until_s, _with(belief.instances, told, gone))


def _drop_unconfirmed(belief: Belief, mono_s: float) -> Belief:
    over = {i for i, until_s in belief.unconfirmed_until_s.items() if until_s <= mono_s}
    if not over:
        return belief
    known = {i: v for i, v in belief.known.items() if i not in over}
    until_s = {i: s for i, s in belief.unconfirmed_until_s.items() if i not in over}
    return Belief(belief.epoch, belief.version, known, until_s, _ordered(known.values()))
