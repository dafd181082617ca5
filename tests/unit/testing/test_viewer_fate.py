"""What plays would be by themselves, when they begin, and whom a service harmed."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from redqueen.testing.viewer.fate import Habits, next_start
from redqueen.testing.viewer.harm import Felt, Played, summed


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - a model, not a secret


def test_plays_fail_and_wait_as_the_model_says() -> None:
    luck = seeded(1)
    fates = [Habits().fate(luck) for _ in range(40_000)]
    delays = sorted(fate.delay_s for fate in fates)
    assert sum(fate.fails for fate in fates) / len(fates) == pytest.approx(0.01, abs=0.002)
    assert delays[20_000] == pytest.approx(0.8, rel=0.02)
    assert delays[int(0.8413 * 40_000)] == pytest.approx(0.8 * 2.71828**0.7, rel=0.03)
    assert all(fate.watch_s <= 24 for fate in fates)


def test_equal_seeds_give_equal_plays() -> None:
    assert Habits().fate(seeded(5)) == Habits().fate(seeded(5))


def test_plays_come_at_the_rate_and_swing_with_the_day() -> None:
    luck, at_s, halves = seeded(2), 0.0, [0, 0]
    while at_s < 4000:
        at_s = next_start(at_s, 120, luck, swing=0.5, day_s=1000)
        halves[int(at_s % 1000 >= 500)] += 1
    assert sum(halves) == pytest.approx(8000, rel=0.04)
    assert halves[0] / halves[1] == pytest.approx((1 + 1 / 3.1416) / (1 - 1 / 3.1416), rel=0.1)


PLAY = Played(
    at=100.0,
    viewer=1,
    device="tv",
    arms={"t": "canary"},
    own_failure=False,
    service_failure="",
    own_delay_s=0.8,
    service_s=0.01,
)


@pytest.mark.parametrize(
    ("play", "harmed"),
    [
        (PLAY, False),
        (replace(PLAY, service_failure="status 500"), True),
        (replace(PLAY, service_failure="status 500", own_failure=True), False),
        (replace(PLAY, service_s=0.3), True),
        (replace(PLAY, own_failure=True), False),
        (replace(PLAY, own_delay_s=14.9, service_s=0.2), True),
    ],
)
def test_harm_is_what_the_viewers_own_luck_would_not_have_done(play: Played, harmed: bool) -> None:
    assert play.harmed is harmed


def test_harm_is_summed_by_arm_and_counts_a_viewer_once() -> None:
    broken = replace(PLAY, service_failure="status 500")
    plays = [broken, broken, replace(broken, viewer=2, at=200.0), replace(PLAY, arms={"t": "control"})]
    found = summed(plays, "t")
    assert found["canary"].plays == 3 and found["canary"].harmed_viewers == 2 and found["canary"].by_device == {"tv": 2}
    assert found["control"].harmed_viewers == 0
    assert summed(plays, "t", until_s=150.0)["canary"].harmed_viewers == 1
    assert set(summed(plays, "another")) == {""}


def test_each_address_answers_for_what_it_says_it_did() -> None:
    slow, stalled, broken = Felt("", 0.4), Felt("", 0.9, own_s=0.02), Felt("status 500", 1.6, own_s=1.5)
    play = replace(PLAY, service_failure="status 500", service_s=2.9, felt=(slow, stalled, broken))
    assert [play.by(asked).harmed for asked in range(4)] == [True, False, True, False]
    assert play.by(2).failed and not play.by(0).failed
