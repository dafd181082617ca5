"""The library over records."""

from __future__ import annotations

import anyio
import pytest

from redqueen.catalogue.model import Facts, Failure, Rung, State
from redqueen.catalogue.service import Catalogue
from redqueen.errors import Conflict, NotFound
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


def library() -> Catalogue:
    clock = VirtualClock()
    return Catalogue(MemoryRecords(clock), clock)


async def test_news_from_many_nodes_at_once_is_all_kept() -> None:
    catalogue = library()
    title = await catalogue.create("Film", size_bytes=1)
    await catalogue.received(title.id)
    await catalogue.probed(title.id, Facts(10.0))
    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(catalogue.subtitled, title.id, f"l{'abcd'[number]}", "x")
        group.start_soon(catalogue.progress, title.id, 0.5, [Rung("a", 1, 1, 0.5)])
        group.start_soon(catalogue.poster, title.id, "poster.jpg")
    after = await catalogue.get(title.id)
    assert len(after.subtitles) == 4
    assert (after.progress, after.poster, after.state) == (0.5, "poster.jpg", State.ENCODING)


async def test_news_of_a_removed_title_is_dropped_but_a_person_is_told() -> None:
    catalogue = library()
    title = await catalogue.create("Film", size_bytes=1)
    assert await catalogue.delete(title.id)
    assert not await catalogue.delete(title.id)
    await catalogue.failed(title.id, Failure("c", "w"))
    await catalogue.playable(title.id, "m")
    with pytest.raises(NotFound):
        await catalogue.describe(title.id, "x", None)
    with pytest.raises(NotFound):
        await catalogue.get("../../x")


async def test_only_a_title_that_has_not_arrived_is_abandoned() -> None:
    catalogue = library()
    title = await catalogue.create("Film", size_bytes=1)
    kept = await catalogue.create("Film", size_bytes=1)
    await catalogue.received(kept.id)
    assert await catalogue.abandon(title.id)
    assert not await catalogue.abandon(title.id)
    assert not await catalogue.abandon(kept.id)
    with pytest.raises(Conflict):
        await catalogue.create("Film", size_bytes=1, title_id=kept.id)


async def test_a_library_of_more_than_one_scan_is_listed_whole() -> None:
    catalogue = library()
    for number in range(1003):
        await catalogue.create(f"Film {number}", size_bytes=1)
    assert len(await catalogue.all()) == 1003
