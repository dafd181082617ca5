"""A loop of the leader rests for its time, or until somebody waits for it."""

from __future__ import annotations

import anyio
import pytest

from redqueen.roles.control import Bell

pytestmark = pytest.mark.anyio
LONG_S = 3600.0


async def test_a_rest_ends_when_the_bell_rings_also_when_it_rang_during_the_turn_and_only_once() -> None:
    bell = Bell()
    bell.ring()
    with anyio.fail_after(30):
        await bell.rest(LONG_S)
    with anyio.move_on_after(0.05) as patience:
        await bell.rest(LONG_S)
    assert patience.cancelled_caught
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(bell.rest, LONG_S)
            await anyio.wait_all_tasks_blocked()
            bell.ring()


async def test_a_rest_that_nobody_ends_lasts_its_time() -> None:
    with anyio.fail_after(30):
        await Bell().rest(0.01)
