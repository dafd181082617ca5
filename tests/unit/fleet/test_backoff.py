"""When a node that ended may start again."""

from __future__ import annotations

import pytest

from redqueen.fleet.backoff import History, Pace, after_exit, after_start

PACE = Pace()


def ended(history: History, now: float, *, lived_s: float = 0.0) -> History:
    return after_exit(history, now=now, lived_s=lived_s, because="it exited with code 1", pace=PACE)


def test_the_first_restart_comes_within_a_tenth_of_a_second() -> None:
    assert ended(History(), 100.0).retry_at - 100.0 <= 0.1


def test_each_quick_end_doubles_the_wait() -> None:
    history, waits = History(), []
    for number in range(5):
        history = ended(history, 10.0 * number)
        waits.append(history.retry_at - 10.0 * number)
    assert waits == pytest.approx([0.05 * 2**number for number in range(5)])


def test_the_wait_never_exceeds_its_cap() -> None:
    history = History()
    for number in range(200):
        now = 3600.0 * number
        history = ended(history, now)
        assert history.retry_at - now <= PACE.cap_s
    assert not history.quarantined


def test_a_crash_loop_is_quarantined_and_says_for_how_long() -> None:
    history = History()
    for number in range(PACE.crashes):
        assert not history.quarantined
        history = ended(history, float(number))
    assert history.quarantined
    assert history.retry_at == PACE.crashes - 1 + PACE.quarantine_s
    assert "rests for 60 s" in history.because


def test_after_a_quarantine_one_failure_is_enough_for_the_next() -> None:
    history = History()
    for number in range(PACE.crashes):
        history = ended(history, float(number))
    history = ended(after_start(history), 500.0, lived_s=1.0)
    assert history.quarantined
    assert history.retry_at == 560.0


def test_a_node_that_was_stable_is_forgiven() -> None:
    history = History()
    for number in range(PACE.crashes):
        history = ended(history, float(number))
    history = ended(after_start(history), 600.0, lived_s=PACE.stable_s)
    assert not history.quarantined
    assert history.retry_at == 600.0 + PACE.first_s
    assert history.restarts == 1


def test_kills_of_a_stable_node_are_never_a_crash_loop() -> None:
    history = History()
    for number in range(50):
        history = ended(history, 11.0 * number, lived_s=10.5)
        assert not history.quarantined
