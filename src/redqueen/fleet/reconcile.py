"""Desired nodes against observed ones: what to start, drain, stop or wait for, and why.

Decides at most one action a node. A node is a slot: nothing is started in a slot where a process
lives, so there are never more nodes than desired, spares apart. A node whose settings changed is
replaced as `rolling.py` says. A node that was asked to leave is killed after its own grace, or
`stop_s`. Pure: no clock, no processes. Enter at `reconcile`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from redqueen.fleet.backoff import History, Pace
from redqueen.fleet.rolling import Observed, Replacement, Wanted, needed, replaceable, replacements

__all__ = ["Action", "Drain", "Observed", "Start", "Stop", "Wait", "Wanted", "reconcile"]


@dataclass(frozen=True, slots=True)
class Start:
    """Start the node now."""

    node_id: str
    because: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Ask the node to finish and leave."""

    node_id: str
    because: str


@dataclass(frozen=True, slots=True)
class Stop:
    """End the node's process at once."""

    node_id: str
    because: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing before `until` (monotonic seconds; None: until something else changes)."""

    node_id: str
    until: float | None
    because: str


Action = Start | Drain | Stop | Wait


def reconcile(
    desired: Mapping[str, Wanted], observed: Mapping[str, Observed], now: float, pace: Pace
) -> tuple[Action, ...]:
    """Return what to do now, in the order of `desired`, then of what is not desired any more."""
    actions: list[Action] = []
    spares, movable = needed(desired, observed, now, pace), replaceable(desired, observed, now, pace)
    allowed = replacements(desired, observed, now, pace)
    for node_id, wanted in desired.items():
        if wanted.spare:
            seen = observed.get(node_id)
            stays = seen is not None and (seen.digest == wanted.digest or node_id not in movable)
            actions += _spare(node_id, seen, now, pace, is_needed=node_id in spares, stays=stays)
        else:
            actions += _member(node_id, wanted, observed.get(node_id), allowed[wanted.group], now, pace)
    for node_id, seen in observed.items():
        if node_id not in desired and seen.alive:
            actions.append(_leave(node_id, seen, "it is not wanted any more", now, pace))
    return tuple(actions)


def _member(
    node_id: str, wanted: Wanted, seen: Observed | None, allowed: Replacement, now: float, pace: Pace
) -> list[Action]:
    if seen is None or not seen.alive:
        return [_start(node_id, seen.history if seen else History(), now, "it is wanted and does not run")]
    if seen.draining_since is not None or node_id == allowed.leaving:
        return [_leave(node_id, seen, "its settings have changed", now, pace)]
    if seen.digest != wanted.digest:
        return [Wait(node_id, None, f"its settings have changed; {allowed.because or 'another is replaced first'}")]
    return []


def _spare(
    node_id: str, seen: Observed | None, now: float, pace: Pace, *, is_needed: bool, stays: bool
) -> list[Action]:
    if seen is None or not seen.alive:
        return [_start(node_id, seen.history if seen else History(), now, _STANDS_IN)] if is_needed else []
    if not is_needed:
        return [_leave(node_id, seen, "the others serve again", now, pace)]
    if seen.draining_since is not None or not stays:
        return [_leave(node_id, seen, "its settings have changed", now, pace)]
    return []


_STANDS_IN = "it stands in while the others are replaced"


def _start(node_id: str, history: History, now: float, because: str) -> Action:
    if now >= history.retry_at:
        return Start(node_id, history.because or because)
    return Wait(node_id, history.retry_at, history.because)


def _leave(node_id: str, seen: Observed, because: str, now: float, pace: Pace) -> Action:
    """Ask the node to leave, wait for it, or kill it when it takes too long."""
    if seen.draining_since is None:
        return Drain(node_id, because)
    stop_s = pace.stop_s if seen.stop_s is None else seen.stop_s
    if now >= seen.draining_since + stop_s:
        return Stop(node_id, f"it did not leave within {stop_s:g} s")
    return Wait(node_id, seen.draining_since + stop_s, "it was asked to leave")
