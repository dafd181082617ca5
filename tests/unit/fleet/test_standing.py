"""A service's state in one word, from the views of its nodes."""

from __future__ import annotations

from redqueen.fleet.model import NodeState, NodeView
from redqueen.fleet.standing import ServiceStanding, standing


def node(state: NodeState = NodeState.UP, revision: int = 2, *, spare: bool = False, because: str = "") -> NodeView:
    number = 2 if spare else 1
    return NodeView(f"shop-a-{number}", "service", "shop", "1", "a", "h", 1, 7, 0.0, state, 0, because, revision, spare)


def test_it_is_up_when_exactly_the_wanted_instances_are() -> None:
    assert standing([node(), node()], 2, 2) == ServiceStanding("up", 2)


def test_it_starts_while_some_are_missing_and_says_what_they_say() -> None:
    assert standing([], 2, 1) == ServiceStanding("starting", 0)
    starting = node(NodeState.STARTING, because="refused")
    assert standing([node(), starting], 2, 2) == ServiceStanding("starting", 1, "shop-a-1: refused")


def test_it_is_replacing_while_old_ones_run_or_the_spare_is_there() -> None:
    assert standing([node(revision=1), node()], 2, 2).state == "replacing"
    assert standing([node(), node(), node(spare=True)], 2, 2).state == "replacing"


def test_trouble_comes_first_with_its_reason() -> None:
    for state in (NodeState.BACKOFF, NodeState.QUARANTINED, NodeState.DOWN):
        found = standing([node(revision=1), node(state, spare=True, because="it exited")], 1, 2)
        assert found == ServiceStanding("failing", 0, "shop-a-2: it exited")
