"""Limits: what a household and an office may do, and what one forger may not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from redqueen.telemetry.limits import Budgets, Guard, Limits, Rate, network


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 5)), max_size=60))
def test_nobody_spends_more_than_the_store_and_what_came_since(tries: list[tuple[float, int]]) -> None:
    budgets, now, spent = Budgets(Rate(10, 2), 10), 0.0, 0
    for pause_s, cost in tries:
        now += pause_s
        spent += 0 if budgets.take("k", cost, now) else cost
        assert spent <= 10 + 2 * now + 1e-6


def test_who_waits_as_long_as_was_said_is_let_in() -> None:
    budgets = Budgets(Rate(3, 0.5), 10)
    assert budgets.take("k", 3, 100) == 0
    wait_s = budgets.take("k", 2, 100)
    assert wait_s == 4
    assert budgets.take("k", 2, 100 + wait_s) == 0


def test_a_household_that_zaps_is_never_told_to_wait_and_always_judged() -> None:
    guard = Guard(Limits())
    for second in range(600):
        for person in range(6):
            if (second + person) % 10 == 0:
                assert guard.start(person, "198.51.100.7", second) == 0
                assert guard.judged("198.51.100.7", second)


def test_an_office_of_a_thousand_behind_one_address_plays_and_reports_without_waiting() -> None:
    guard = Guard(Limits())
    for second in range(240):
        for person in range(second % 120, 1000, 120):  # each starts a play every two minutes
            assert guard.start(person, "198.51.100.7", second) == 0
        for person in range(second % 5, 1000, 5):  # each tells an event every five seconds
            assert guard.events(person, person, 1, second) == 0


def test_an_hour_offline_is_delivered_at_once() -> None:
    assert Guard(Limits()).events(1, 1, 256, 0) == 0


def test_one_address_cannot_have_more_than_its_share_of_a_trial() -> None:
    guard = Guard(Limits())
    judged = sum(guard.judged("203.0.113.5", second / 100) for second in range(60 * 100) for _ in range(10))
    assert judged <= 120 + 2 * 60
    assert guard.judged("203.0.113.6", 60)


def test_a_million_keys_cost_no_more_memory_than_fifty_thousand() -> None:
    budgets = Budgets(Rate(10, 1), 50)
    for number in range(1000):
        budgets.take(number, 1, 0)
    assert len(budgets) == 50


def test_an_ipv6_subscriber_is_one_household() -> None:
    assert network("2001:db8:1:2:3::4") == network("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert network("2001:db8:1:3::4") != network("2001:db8:1:2::4")
    assert network("::ffff:198.51.100.7") == network("198.51.100.7")
    assert network("nonsense") == network("") == "unknown"
