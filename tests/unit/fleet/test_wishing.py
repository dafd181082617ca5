"""What operators wish for is followed, and remembered while the store is away."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from redqueen.events import Event, LoopFailed
from redqueen.fleet.declared import ServiceFile, Wish, Wishes
from redqueen.fleet.model import Role
from redqueen.fleet.wishing import follow, remembered
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio

ONE = Wishes((Wish(ServiceFile("shop", "me", ("x",), environment={"KEY": "secret"}), 3, 7),), (("api", 2),))


class Store:
    """Gives its wishes, or fails."""

    def __init__(self, wishes: Wishes | None) -> None:
        self.wishes = wishes

    async def read(self) -> Wishes:
        if self.wishes is None:
            raise OSError("the store is away")
        return self.wishes


async def turns(clock: VirtualClock) -> None:
    await clock.run_for(4.0)


async def test_changes_are_taken_once_and_a_store_that_goes_away_changes_nothing(tmp_path: Path) -> None:
    store, clock = Store(ONE), VirtualClock()
    taken: list[Wishes] = []
    events: list[Event] = []
    async with anyio.create_task_group() as group:
        group.start_soon(follow, store, tmp_path, taken.append, clock, events.append)
        await turns(clock)
        assert taken == [ONE]
        store.wishes = None
        await turns(clock)
        assert taken == [ONE]
        assert [type(event) for event in events] == [LoopFailed], "said once, not at each turn"
        store.wishes = Wishes()
        await turns(clock)
        assert taken == [ONE, Wishes()]
        group.cancel_scope.cancel()


async def test_the_last_wishes_outlive_the_store_and_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    assert remembered(tmp_path) == Wishes()
    clock = VirtualClock()
    async with anyio.create_task_group() as group:
        group.start_soon(follow, Store(ONE), tmp_path, lambda wishes: None, clock, lambda event: None)
        await turns(clock)
        group.cancel_scope.cancel()
    assert remembered(tmp_path) == ONE
    assert remembered(tmp_path).revision(Role.API) == 2
    assert (tmp_path / "wishes.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "wishes.json").write_text("{")
    assert remembered(tmp_path) == Wishes()
