"""Desired nodes against observed ones: what to start, drain, stop or wait for, and why.

Decides at most one action a node. A node is a slot: nothing is started in a slot where a process
lives, so there are never more nodes than desired. A node whose settings changed is replaced when
every other of its role is ready, one at a time. A node that was asked to leave is killed after
`stop_s`. Pure: no clock, no processes. Enter at `reconcile`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from redqueen.fleet.backoff import History, Pace
from redqueen.fleet.model import Role


@dataclass(frozen=True, slots=True)
class Wanted:
    """A node that shall be: its role and the digest of its spec."""

    role: Role
    digest: str


@dataclass(frozen=True, slots=True)
class Observed:
    """A slot as it is: whether a process lives in it, of which spec, and what happened before."""

    role: Role
    digest: str
    alive: bool
    ready: bool = False
    draining_since: float | None = None
    history: History = field(default_factory=History)


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
    outdated = _next_outdated(desired, observed)
    for node_id, wanted in desired.items():
        seen = observed.get(node_id)
        if seen is None or not seen.alive:
            actions.append(_start(node_id, seen.history if seen else History(), now))
        elif seen.draining_since is not None:
            actions.append(_leaving(node_id, seen.draining_since, now, pace))
        elif node_id == outdated:
            actions.append(Drain(node_id, "its settings have changed"))
        elif seen.digest != wanted.digest:
            actions.append(Wait(node_id, None, "its settings have changed; another of its role is not ready yet"))
    for node_id, seen in observed.items():
        if node_id not in desired and seen.alive:
            if seen.draining_since is None:
                actions.append(Drain(node_id, "it is not wanted any more"))
            else:
                actions.append(_leaving(node_id, seen.draining_since, now, pace))
    return tuple(actions)


def _start(node_id: str, history: History, now: float) -> Action:
    if now >= history.retry_at:
        return Start(node_id, history.because or "it is wanted and does not run")
    return Wait(node_id, history.retry_at, history.because)


def _leaving(node_id: str, since: float, now: float, pace: Pace) -> Action:
    if now >= since + pace.stop_s:
        return Stop(node_id, f"it did not leave within {pace.stop_s:g} s")
    return Wait(node_id, since + pace.stop_s, "it was asked to leave")


def _next_outdated(desired: Mapping[str, Wanted], observed: Mapping[str, Observed]) -> str | None:
    """Choose the one node that may be replaced now: one that serves nobody, or one that others stand in for."""
    outdated = [
        node_id
        for node_id, wanted in desired.items()
        if node_id in observed and observed[node_id].alive and observed[node_id].digest != wanted.digest
    ]
    if any(observed[node_id].draining_since is not None for node_id in outdated):
        return None
    outdated.sort(key=lambda node_id: observed[node_id].ready)
    return next((node_id for node_id in outdated if _may_be_replaced(node_id, desired, observed)), None)


def _may_be_replaced(node_id: str, desired: Mapping[str, Wanted], observed: Mapping[str, Observed]) -> bool:
    role = desired[node_id].role
    others = [observed.get(other) for other, wanted in desired.items() if wanted.role is role and other != node_id]
    return not observed[node_id].ready or all(_serves(other) for other in others)


def _serves(seen: Observed | None) -> bool:
    return seen is not None and seen.alive and seen.ready and seen.draining_since is None
