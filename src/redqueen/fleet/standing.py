"""How a service as a whole is doing, from the views of its nodes: one word and its reason.

Pure. Enter at `standing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redqueen.fleet.model import NodeState, NodeView

_TROUBLED = (NodeState.QUARANTINED, NodeState.BACKOFF, NodeState.DOWN)


@dataclass(frozen=True, slots=True)
class ServiceStanding:
    """`state` is up, starting, replacing or failing; `ready` counts instances that are as wished."""

    state: str
    ready: int
    because: str = ""


def standing(views: Sequence[NodeView], wanted: int, revision: int) -> ServiceStanding:
    """Judge a service of `wanted` instances at `revision` by the views of its nodes."""
    members = [view for view in views if not view.spare]
    current = [view for view in members if view.revision >= revision and view.state is NodeState.UP]
    troubled = [view for view in views if view.state in _TROUBLED]
    outdated = [view for view in members if view.revision < revision and view.state is not NodeState.STOPPED]
    reason = next((f"{view.node_id}: {view.because}" for view in troubled if view.because), "")
    if troubled:
        return ServiceStanding("failing", len(current), reason)
    if outdated and len(members) >= wanted:
        return ServiceStanding("replacing", len(current), _first_reason(outdated))
    if len(current) < wanted:
        return ServiceStanding("starting", len(current), _first_reason([view for view in views if view not in current]))
    if len(views) > wanted:
        return ServiceStanding("replacing", len(current), "what is not needed any more is leaving")
    return ServiceStanding("up", len(current))


def _first_reason(views: Sequence[NodeView]) -> str:
    return next((f"{view.node_id}: {view.because}" for view in views if view.because), "")
