"""The virtual clock moves only when told to, and wakes sleepers in order."""

from __future__ import annotations

import time

import anyio
import pytest

from redqueen.clock import Clock
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


def test_it_is_a_clock_that_stands_still_until_moved() -> None:
    clock: Clock = VirtualClock(start_s=1000.0)
    assert (clock.now(), clock.monotonic()) == (1000.0, 0.0)


def test_advancing_moves_both_times_together() -> None:
    clock = VirtualClock(start_s=1000.0)
    clock.advance(2.5)
    clock.advance(0)
    assert (clock.now(), clock.monotonic()) == (1002.5, 2.5)


@pytest.mark.parametrize("step_s", [-0.1, float("nan")])
def test_time_never_goes_back(step_s: float) -> None:
    with pytest.raises(ValueError, match="go back"):
        VirtualClock().advance(step_s)


async def test_a_sleeper_wakes_when_its_time_has_come_and_not_before() -> None:
    clock = VirtualClock()
    woken: list[float] = []

    async def sleeper() -> None:
        await clock.sleep(5)
        woken.append(clock.monotonic())

    async with anyio.create_task_group() as group:
        group.start_soon(sleeper)
        await clock.run_for(4.9)
        assert woken == []
        clock.advance(0.2)
    assert woken == [pytest.approx(5.1)]


async def test_running_on_plays_chains_of_sleeps_in_order() -> None:
    clock = VirtualClock()
    seen: list[tuple[str, float]] = []

    async def chain(name: str, period_s: float) -> None:
        for _ in range(3):
            await clock.sleep(period_s)
            seen.append((name, clock.monotonic()))

    started = time.monotonic()
    async with anyio.create_task_group() as group:
        group.start_soon(chain, "slow", 1000.0)
        group.start_soon(chain, "fast", 300.0)
        await clock.run_for(2500)
        assert seen == [("fast", 300), ("fast", 600), ("fast", 900), ("slow", 1000), ("slow", 2000)]
        assert clock.monotonic() == 2500
        await clock.run_for(500)
    assert seen[-1] == ("slow", 3000)
    assert time.monotonic() - started < 20


async def test_sleepers_of_one_moment_wake_in_the_order_they_went_to_sleep() -> None:
    clock = VirtualClock()
    seen: list[int] = []

    async def sleeper(number: int) -> None:
        await clock.sleep(1)
        seen.append(number)

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(sleeper, number)
        await clock.run_for(1)
    assert seen == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("delay_s", [0, -1])
async def test_a_sleep_of_nothing_returns_but_lets_others_run(delay_s: float) -> None:
    clock = VirtualClock()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.sleep(delay_s)
    assert scope.cancelled_caught


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = VirtualClock()
    async with anyio.create_task_group() as group:
        group.start_soon(clock.sleep, 10)
        await clock.run_for(1)
        group.cancel_scope.cancel()
    await clock.run_for(100)
    assert clock.monotonic() == 101
