"""The secret behind viewers' cookies: one for the region, for ever."""

from __future__ import annotations

import anyio
import pytest

from redqueen.accounts.viewer_keys import ViewerKeys
from redqueen.errors import Unavailable
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.ports import Put
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


async def test_nodes_that_start_at_once_agree_on_the_secret() -> None:
    clock = VirtualClock()
    records = MemoryRecords(clock)
    made: set[bytes] = set()

    async def start() -> None:
        made.add(await ViewerKeys(records, clock).secret())

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(start)
    assert len(made) == 1
    assert len(made.pop()) == 16


async def test_who_only_checks_makes_no_secret_and_finds_the_one_that_others_made() -> None:
    clock = VirtualClock()
    records = MemoryRecords(clock)
    checking = ViewerKeys(records, clock)
    assert await checking.kept() == b""
    assert await records.scan("accounts/viewer-keys") == []
    secret = await ViewerKeys(records, clock).secret()
    clock.advance(2)
    assert await checking.kept() == secret
    assert await checking.secret() == secret


async def test_a_secret_of_another_length_is_not_used() -> None:
    clock = VirtualClock()
    records = MemoryRecords(clock)
    await records.put("accounts/viewer-keys", Put("0001", b"short"))
    with pytest.raises(Unavailable):
        await ViewerKeys(records, clock).secret()
