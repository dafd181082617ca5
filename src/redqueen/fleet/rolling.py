"""How a service's nodes are replaced under load: a stand-in first, then one node at a time.

A service with a spare never has fewer serving nodes than it shall have: the spare is started with
the new settings, and only when it has been up for `settle_s` (its registration has reached every
gateway) is an old node asked to leave; each next one waits until the one before is back. The spare
leaves last; when the settings change again meanwhile, it stays as it is until the others serve
without it. A new version that does not come up stops the replacement: the old nodes serve on.
Without a spare (the region's own roles) a node goes when every other of its role serves, one in the
whole region at a time. Pure. Enter at `replacements` and `needed`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from redqueen.fleet.backoff import History, Pace
from redqueen.fleet.model import Role


@dataclass(frozen=True, slots=True)
class Wanted:
    """A node that shall be: its role, the digest of its spec, its service, whether it only stands in."""

    role: Role
    digest: str
    service: str = ""
    spare: bool = False

    @property
    def group(self) -> str:
        """Name the nodes that stand in for each other."""
        return self.service or self.role.value


@dataclass(frozen=True, slots=True)
class Observed:
    """A slot as it is: whether a process lives in it, of which spec, since when it is ready, what happened before."""

    role: Role
    digest: str
    alive: bool
    ready: bool = False
    draining_since: float | None = None
    history: History = field(default_factory=History)
    ready_at: float = -math.inf
    stop_s: float | None = None

    def serves(self, now: float, settle_s: float) -> bool:
        """Tell whether every gateway has had the time to hear that it is up."""
        return self.alive and self.ready and self.draining_since is None and now >= self.ready_at + settle_s


@dataclass(frozen=True, slots=True)
class Replacement:
    """What may be done for one service: the node that may leave now, or why none may."""

    leaving: str | None
    because: str = ""


def needed(desired: Mapping[str, Wanted], observed: Mapping[str, Observed], now: float, pace: Pace) -> frozenset[str]:
    """Return the spares that shall run now: their service is being replaced and is not whole yet."""
    spares = {wanted.group: node_id for node_id, wanted in desired.items() if wanted.spare}
    return frozenset(
        node_id for group, node_id in spares.items() if _is_needed(node_id, group, desired, observed, now, pace)
    )


def _is_needed(
    spare: str,
    group: str,
    desired: Mapping[str, Wanted],
    observed: Mapping[str, Observed],
    now: float,
    pace: Pace,
) -> bool:
    members = _members(group, desired)
    if any(_is_outdated(node_id, desired, observed) and observed[node_id].ready for node_id in members):
        return True
    seen = observed.get(spare)
    if seen is None or not seen.alive or seen.draining_since is not None:
        return False
    return not all(node_id in observed and observed[node_id].serves(now, pace.settle_s) for node_id in members)


def replaceable(
    desired: Mapping[str, Wanted], observed: Mapping[str, Observed], now: float, pace: Pace
) -> frozenset[str]:
    """Return the spares that may make room for a newer version: nobody needs them, or they serve nobody."""
    found: set[str] = set()
    for node_id, wanted in desired.items():
        seen = observed.get(node_id)
        if wanted.spare and seen is not None:
            members = _members(wanted.group, desired)
            whole = all(other in observed and observed[other].serves(now, pace.settle_s) for other in members)
            found |= {node_id} if whole or not seen.ready else set()
    return frozenset(found)


def replacements(
    desired: Mapping[str, Wanted], observed: Mapping[str, Observed], now: float, pace: Pace
) -> dict[str, Replacement]:
    """Say for each service which of its nodes may leave now."""
    spared = {wanted.group for wanted in desired.values() if wanted.spare}
    busy = any(
        _is_outdated(node_id, desired, observed) and observed[node_id].draining_since is not None
        for node_id, wanted in desired.items()
        if wanted.group not in spared
    )
    found: dict[str, Replacement] = {}
    for group in dict.fromkeys(wanted.group for wanted in desired.values()):
        if group not in spared and busy:
            found[group] = Replacement(None, "another is being replaced")
            continue
        found[group] = _replacement(group, desired, observed, now, pace)
        busy = busy or (group not in spared and found[group].leaving is not None)
    return found


def _replacement(
    group: str, desired: Mapping[str, Wanted], observed: Mapping[str, Observed], now: float, pace: Pace
) -> Replacement:
    """Choose the one outdated node of a service that may leave now: one that serves nobody, or one stood in for."""
    members = _members(group, desired)
    outdated = [node_id for node_id in members if _is_outdated(node_id, desired, observed)]
    if not outdated:
        return Replacement(None)
    if any(observed[node_id].draining_since is not None for node_id in outdated):
        return Replacement(None, "another is being replaced")
    outdated.sort(key=lambda node_id: observed[node_id].ready)
    if not observed[outdated[0]].ready:
        return Replacement(outdated[0])
    spare = next((node_id for node_id, wanted in desired.items() if wanted.group == group and wanted.spare), None)
    serving = [
        node_id
        for node_id in (*members, spare)
        if node_id is not None
        and node_id in observed
        and observed[node_id].serves(now, pace.settle_s if spare else 0.0)
        and (node_id != spare or observed[node_id].digest == desired[node_id].digest)
    ]
    if len(serving) - 1 >= len(members) - (0 if spare else 1):
        return Replacement(next((node_id for node_id in outdated if node_id in serving), None))
    return Replacement(None, _missing(members, spare, serving, observed))


def _missing(members: list[str], spare: str | None, serving: list[str], observed: Mapping[str, Observed]) -> str:
    for node_id in (spare, *members):
        if node_id is None or node_id in serving:
            continue
        seen = observed.get(node_id)
        if seen is not None and not seen.alive and seen.history.because:
            return f"{node_id} does not come up: {seen.history.because}"
        return f"{node_id} is not ready yet"
    return "another of its role is not ready yet"


def _members(group: str, desired: Mapping[str, Wanted]) -> list[str]:
    return [node_id for node_id, wanted in desired.items() if wanted.group == group and not wanted.spare]


def _is_outdated(node_id: str, desired: Mapping[str, Wanted], observed: Mapping[str, Observed]) -> bool:
    seen = observed.get(node_id)
    return seen is not None and seen.alive and seen.digest != desired[node_id].digest
