"""Rungs by bandwidth: start low, step up one at a time, fall at once; and the waits between attempts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.testing.viewer.choice import Bandwidth, choose, fixed
from redqueen.testing.viewer.playlist import Rung
from redqueen.testing.viewer.policy import (
    WEB_PLAYER,
    Failure,
    RetryPolicy,
    attempt_delay_s,
    judge_status,
    streaming_delay_s,
)

RUNGS = tuple(Rung(f"{h}.m3u8", rate, height=h) for h, rate in ((360, 800_000), (720, 3_000_000), (1080, 6_000_000)))


def test_a_start_is_made_on_the_lowest_rung() -> None:
    assert choose(RUNGS, None, 1e9, 0).index == 0


def test_steps_up_go_one_rung_at_a_time_and_not_too_often() -> None:
    assert choose(RUNGS, 0, 1e9, 10).index == 1
    assert choose(RUNGS, 0, 1e9, 3).index == 0
    assert "recent" in choose(RUNGS, 0, 1e9, 3).because


def test_a_falling_bandwidth_is_followed_at_once() -> None:
    assert choose(RUNGS, 2, 4e6, 0).index == 1
    assert choose(RUNGS, 2, 1e5, 0).index == 0


def test_a_rung_that_just_fits_is_kept() -> None:
    assert choose(RUNGS, 1, 3.2e6, 60).index == 1


def test_a_fixed_rung_is_the_nearest_one() -> None:
    assert [fixed(RUNGS, wish).index for wish in ("lowest", "highest", "700", "2160")] == [0, 2, 1, 2]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(20_000, 10_000_000), st.floats(0.01, 10)), min_size=7, max_size=40))
def test_the_estimate_lies_between_the_slowest_and_the_fastest_download(samples: list[tuple[int, float]]) -> None:
    estimate = Bandwidth()
    for size, seconds in samples:
        estimate = estimate.sampled(size, seconds)
    rates = [size * 8 / seconds for size, seconds in samples]
    assert min(rates) * 0.999 <= estimate.estimate_bps <= max(rates) * 1.001


def test_little_answers_say_nothing_about_the_bandwidth() -> None:
    assert Bandwidth().sampled(900, 0.001) == Bandwidth()
    assert Bandwidth().estimate_bps == 1e6


def test_the_waits_are_those_of_shaka_player() -> None:
    policy = RetryPolicy()
    assert attempt_delay_s(policy, 0, 0.9) == 0
    assert [attempt_delay_s(policy, 1, luck) for luck in (0, 0.5, 1)] == pytest.approx([0.5, 1.0, 1.5])
    assert attempt_delay_s(policy, 2, 0.5) == pytest.approx(2.0)
    assert streaming_delay_s(policy, Failure.STATUS, 5, 0.5) == pytest.approx(2.0)
    assert streaming_delay_s(policy, Failure.TIMEOUT, 0, 0.5) == pytest.approx(1.1)
    turns = [streaming_delay_s(WEB_PLAYER, Failure.STATUS, turn, 0.5) - 0.5 for turn in range(7)]
    assert turns == pytest.approx([0.15 * 1.7**n for n in range(6)] + [0.15])


def test_statuses_mean_what_they_mean_to_shaka_player() -> None:
    assert [judge_status(code) for code in (200, 206)] == [None, None]
    assert [judge_status(code) for code in (202, 404, 503)] == [Failure.STATUS] * 3
    assert [judge_status(code) for code in (401, 403)] == [Failure.REFUSED] * 2
