"""How nodes with a spare are replaced: the stand-in first, then one at a time, never below the wanted count."""

from __future__ import annotations

from redqueen.fleet.backoff import History, Pace
from redqueen.fleet.model import Role
from redqueen.fleet.reconcile import Action, Drain, Start, Wait, reconcile
from redqueen.fleet.rolling import Observed, Wanted, needed

PACE = Pace()
A, B, SPARE = "shop-a-1", "shop-b-1", "shop-a-2"
WANTED = {
    A: Wanted(Role.SERVICE, "new", "shop"),
    B: Wanted(Role.SERVICE, "new", "shop"),
    SPARE: Wanted(Role.SERVICE, "new", "shop", spare=True),
}


def shop(
    digest: str = "new", *, alive: bool = True, ready: bool = True, at: float = 0.0, since: float | None = None
) -> Observed:
    return Observed(Role.SERVICE, digest, alive, ready, since, ready_at=at)


def decide(observed: dict[str, Observed], now: float = 100.0) -> dict[str, Action]:
    return {action.node_id: action for action in reconcile(WANTED, observed, now, PACE)}


def test_a_service_that_is_as_wanted_has_no_spare() -> None:
    assert decide({A: shop(), B: shop()}) == {}
    assert set(decide({})) == {A, B}


def test_the_spare_comes_before_anybody_leaves() -> None:
    actions = decide({A: shop("old"), B: shop("old")})
    assert isinstance(actions.pop(SPARE), Start)
    assert all(
        isinstance(action, Wait) and "shop-a-2 is not ready yet" in action.because for action in actions.values()
    )


def test_nobody_leaves_until_gateways_surely_know_the_spare() -> None:
    for spare in (shop(ready=False), shop(at=99.5), shop("old")):
        actions = decide({A: shop("old"), B: shop("old"), SPARE: spare})
        assert not any(isinstance(actions.get(node_id), Drain) for node_id in (A, B))
    actions = decide({A: shop("old"), B: shop("old"), SPARE: shop(at=99.0)})
    assert isinstance(actions[A], Drain) and isinstance(actions[B], Wait)


def test_the_next_one_leaves_when_the_one_before_is_back() -> None:
    for between in (shop("old", since=99.0), shop(alive=False), shop(ready=False), shop(at=99.9)):
        assert not isinstance(decide({A: between, B: shop("old"), SPARE: shop()}).get(B), Drain)
    assert isinstance(decide({A: shop(), B: shop("old"), SPARE: shop()})[B], Drain)


def test_the_spare_leaves_last() -> None:
    assert decide({A: shop(), B: shop(at=99.9), SPARE: shop()}) == {}
    assert decide({A: shop(), B: shop(), SPARE: shop()}) == {SPARE: Drain(SPARE, "the others serve again")}
    assert isinstance(decide({A: shop(), B: shop(), SPARE: shop(since=99.0)})[SPARE], Wait)


def test_a_spare_that_stands_in_stays_while_another_is_down() -> None:
    actions = decide({A: shop(), B: shop(alive=False), SPARE: shop()})
    assert isinstance(actions[B], Start) and SPARE not in actions


def test_a_new_version_that_does_not_come_up_leaves_the_old_ones_and_says_why() -> None:
    broken = Observed(
        Role.SERVICE, "new", False, history=History(retry_at=1e9, quarantined=True, because="it exited with code 3")
    )
    actions = decide({A: shop("old"), B: shop("old"), SPARE: broken})
    assert all(isinstance(action, Wait) for action in actions.values())
    assert actions[A].because.endswith("shop-a-2 does not come up: it exited with code 3")


def test_what_serves_nobody_is_replaced_without_a_spare() -> None:
    actions = decide({A: shop("old", ready=False), B: shop()})
    assert actions == {A: Drain(A, "its settings have changed")}


def test_when_the_change_is_taken_back_the_spare_just_leaves() -> None:
    observed = {A: shop(), B: shop(), SPARE: shop("old", ready=False)}
    assert isinstance(decide(observed)[SPARE], Drain)
    assert needed(WANTED, observed, 100.0, PACE) == frozenset()


def test_a_spare_of_yet_another_version_is_replaced_itself() -> None:
    actions = decide({A: shop("old"), B: shop(alive=False), SPARE: shop("between")})
    assert SPARE not in actions, "it is needed as it is"
    actions = decide({A: shop("old"), B: shop("old"), SPARE: shop("between")})
    assert isinstance(actions[SPARE], Drain)
    assert not any(isinstance(actions[node_id], Drain) for node_id in (A, B))


def test_services_are_replaced_beside_each_other_but_our_own_roles_one_by_one() -> None:
    other = {
        "till-a-1": Wanted(Role.SERVICE, "new", "till"),
        "till-a-2": Wanted(Role.SERVICE, "new", "till", spare=True),
    }
    own = {"worker-a-1": Wanted(Role.WORKER, "new"), "control-a-1": Wanted(Role.CONTROL, "new")}
    observed = {A: shop("old"), B: shop("old"), SPARE: shop(), "till-a-1": shop("old"), "till-a-2": shop()}
    observed |= {node_id: Observed(wanted.role, "old", True, True) for node_id, wanted in own.items()}
    actions = reconcile({**WANTED, **other, **own}, observed, 100.0, PACE)
    assert {action.node_id for action in actions if isinstance(action, Drain)} == {A, "till-a-1", "worker-a-1"}
