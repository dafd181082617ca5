"""Unfinished uploads as files: locks, claims, what happens when the file goes away."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from redqueen.api.spool import Spool
from redqueen.errors import Conflict

pytestmark = pytest.mark.anyio


async def test_who_waited_while_the_film_was_moved_gets_nothing_to_write_to(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.create("a")
    waiting = anyio.Event()
    given: list[object] = []

    async def newcomer() -> None:
        waiting.set()
        async with spool.writer("a", take_over=True) as writer:
            given.append(writer)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group, spool.writer("a", take_over=False) as holder:
            assert holder is not None
            await holder.append(b"whole")
            group.start_soon(newcomer)
            await waiting.wait()
            await anyio.sleep(0.1)
            spool.path("a").rename(tmp_path / "film")
    assert given == [None]
    assert (tmp_path / "film").read_bytes() == b"whole"


async def test_who_may_not_take_over_is_refused_at_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.create("a")
    async with spool.writer("a", take_over=False):
        with pytest.raises(Conflict):
            async with spool.writer("a", take_over=False):
                pass
    async with spool.writer("a", take_over=False) as again:
        assert again is not None


async def test_a_claim_left_from_before_supersedes_nobody(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.create("a")
    (tmp_path / "a.claim").touch()
    async with spool.writer("a", take_over=False) as writer:
        assert writer is not None
        with anyio.move_on_after(0.6) as scope:
            await writer.superseded()
        assert scope.cancelled_caught
