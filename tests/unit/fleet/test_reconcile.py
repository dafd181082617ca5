"""What the reconciler decides, case by case; schedules of crashes are in tests/simulation."""

from __future__ import annotations

from redqueen.fleet.backoff import History, Pace
from redqueen.fleet.model import Role
from redqueen.fleet.reconcile import Action, Drain, Observed, Start, Stop, Wait, Wanted, reconcile

PACE = Pace()
A, B = "api-a-1", "api-b-1"
WANTED = {A: Wanted(Role.API, "new"), B: Wanted(Role.API, "new")}


def api(digest: str = "new", *, alive: bool = True, ready: bool = True, since: float | None = None) -> Observed:
    return Observed(Role.API, digest, alive, ready, since)


def decide(observed: dict[str, Observed], now: float = 100.0) -> tuple[Action, ...]:
    return reconcile(WANTED, observed, now, PACE)


def test_what_is_missing_is_started_with_a_reason() -> None:
    assert decide({}) == tuple(Start(node_id, "it is wanted and does not run") for node_id in (A, B))


def test_what_is_as_wanted_is_left_alone() -> None:
    assert decide({A: api(), B: api()}) == ()


def test_a_node_in_backoff_waits_and_then_starts() -> None:
    ended = Observed(Role.API, "new", False, history=History(retry_at=101.0, because="it exited with code 1"))
    assert decide({A: ended, B: api()}) == (Wait(A, 101.0, "it exited with code 1"),)
    assert decide({A: ended, B: api()}, 101.0) == (Start(A, "it exited with code 1"),)


def test_what_is_not_wanted_is_drained_once_and_killed_when_it_stays() -> None:
    extra = "api-c-1"
    rest = {A: api(), B: api()}
    assert decide({**rest, extra: api()}) == (Drain(extra, "it is not wanted any more"),)
    assert decide({**rest, extra: api(since=99.0)}) == (Wait(extra, 109.0, "it was asked to leave"),)
    assert decide({**rest, extra: api(since=90.0)}) == (Stop(extra, "it did not leave within 10 s"),)
    assert decide({**rest, extra: api(alive=False)}) == ()


def test_changed_settings_replace_one_node_at_a_time() -> None:
    assert decide({A: api("old"), B: api("old")}) == (
        Drain(A, "its settings have changed"),
        Wait(B, None, "its settings have changed; another is replaced first"),
    )
    leaving = decide({A: api("old", since=99.0), B: api("old")})
    assert [type(action) for action in leaving] == [Wait, Wait]
    starting = decide({A: api(ready=False), B: api("old")})
    assert [type(action) for action in starting] == [Wait]
    assert decide({A: api(), B: api("old")}) == (Drain(B, "its settings have changed"),)


def test_a_broken_new_version_leaves_the_old_one_serving() -> None:
    quarantined = Observed(Role.API, "new", False, history=History(retry_at=1e9, quarantined=True))
    assert [type(action) for action in decide({A: quarantined, B: api("old")})] == [Wait, Wait]


def test_an_outdated_node_that_serves_nobody_is_replaced_first() -> None:
    actions = decide({A: api("old"), B: api("old", ready=False)})
    assert Drain(B, "its settings have changed") in actions
    assert not any(isinstance(action, Drain) and action.node_id == A for action in actions)


def test_the_only_node_of_a_role_is_replaced_too() -> None:
    wanted = {A: Wanted(Role.API, "new")}
    assert reconcile(wanted, {A: api("old")}, 0.0, PACE) == (Drain(A, "its settings have changed"),)


def test_roles_are_not_replaced_at_the_same_time() -> None:
    wanted = {**WANTED, "worker-a-1": Wanted(Role.WORKER, "new")}
    observed = {A: api("old", since=99.0), B: api(ready=False), "worker-a-1": Observed(Role.WORKER, "old", True, True)}
    actions = reconcile(wanted, observed, 100.0, PACE)
    assert [type(action) for action in actions] == [Wait, Wait]
