"""Wishes in the records: revisions count what needs fresh processes, changes in between are refused or repeated."""

from __future__ import annotations

import anyio
import pytest

from redqueen.errors import Conflict, NotFound
from redqueen.fleet.declared import ServiceFile
from redqueen.fleet.model import Edition, Role
from redqueen.roles.declared import RecordWishes
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio
SHOP = ServiceFile("shop", "me", ("x",), count=1)


def wishes() -> RecordWishes:
    clock = VirtualClock()
    return RecordWishes(MemoryRecords(clock), clock)


async def test_a_revision_counts_what_needs_fresh_processes() -> None:
    kept = wishes()
    first = await kept.declare(SHOP)
    assert (first.revision, (await kept.declare(SHOP)).revision) == (1, 1)
    assert (await kept.declare(ServiceFile("shop", "me", ("x",), count=3))).revision == 1
    assert (await kept.declare(ServiceFile("shop", "me", ("y",), count=3))).revision == 2
    again = await kept.restart("shop")
    assert (again.revision, again.file.count, again.since_ms) == (3, 3, first.since_ms)
    assert (await kept.read()).services == (again,)


async def test_our_own_roles_are_counted_by_themselves() -> None:
    kept = wishes()
    assert [await kept.restart_role(Role.API), await kept.restart_role(Role.API)] == [1, 2]
    found = await kept.read()
    assert (found.revision(Role.API), found.revision(Role.WORKER)) == (2, 0)


async def test_removal_takes_only_what_was_seen() -> None:
    kept = wishes()
    await kept.declare(SHOP)
    await kept.restart("shop")
    with pytest.raises(Conflict):
        await kept.remove("shop", 1)
    await kept.remove("shop", 2)
    for call in (kept.remove("shop", None), kept.restart("shop")):
        with pytest.raises(NotFound):
            await call


async def test_of_many_at_once_none_is_lost() -> None:
    kept = wishes()
    await kept.declare(SHOP)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(kept.restart, "shop")
    assert (await kept.read()).services[0].revision == 6


async def test_another_edition_of_a_role_asks_for_fresh_nodes_once() -> None:
    kept, edition = wishes(), Edition("2", "/code")
    for _ in range(2):
        await kept.set_edition(Role.API, edition)
    found = await kept.read()
    assert (found.edition(Role.API), found.revision(Role.API)) == (edition, 1)
    await kept.set_edition(Role.API, None)
    found = await kept.read()
    assert (found.edition(Role.API), found.revision(Role.API)) == (None, 2)


async def test_a_group_of_the_api_keeps_its_edition() -> None:
    kept, edition = wishes(), Edition("2", "/code")
    file = ServiceFile("api--r1-canary", "me", ("redqueen",))
    assert (await kept.declare(file, edition)).revision == 1
    assert (await kept.declare(file, edition)).revision == 1
    assert (await kept.declare(file, Edition("3", "/code"))).revision == 2
    assert (await kept.restart(file.name)).edition == Edition("3", "/code")
