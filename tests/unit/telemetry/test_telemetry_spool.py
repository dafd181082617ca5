"""The spool: on disk before it is acknowledged, taken over when its node is dead, mended when torn."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from redqueen.clock import SystemClock
from redqueen.errors import Exhausted, Unavailable
from redqueen.telemetry import spool
from redqueen.telemetry.spool import Spool, SpoolLimits

pytestmark = pytest.mark.anyio


async def test_appends_that_wait_together_share_one_sync_and_are_all_there(tmp_path: Path) -> None:
    async with Spool.opened(tmp_path, "n.1", SystemClock()) as one:
        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(one.append, b"%d\n" % number)
        assert one.commits < 100
        (path,) = spool.segments(one.folder)
        assert sorted(int(line) for line in spool.lines(path)) == list(range(200))
        assert one.sealed() == []
    assert [orphan.folder.name for orphan in spool.orphans(tmp_path)] == ["n.1"]


async def test_nothing_is_acknowledged_before_it_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.fstat(fd).st_size))
    async with Spool.opened(tmp_path, "n.1", SystemClock()) as one:
        await one.append(b"a line\n")
        assert synced == [7]


async def test_a_disk_that_fails_is_said_and_leaves_no_torn_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    async with Spool.opened(tmp_path, "n.1", SystemClock()) as one:
        await one.append(b"kept\n")
        with monkeypatch.context() as broken:
            broken.setattr(os, "fdatasync", full)
            with pytest.raises(Exhausted, match="cannot be written"):
                await one.append(b"lost\n")
        await one.append(b"kept too\n")
        found = [line for path in spool.segments(one.folder) for line in spool.lines(path)]
        assert found == [b"kept\n", b"kept too\n"]


async def test_more_than_may_wait_is_told_to_come_again(tmp_path: Path) -> None:
    async with Spool.opened(tmp_path, "n.1", SystemClock(), SpoolLimits(waiting_bytes=10)) as one:
        with pytest.raises(Unavailable, match="cannot follow"):
            await one.append(b"x" * 11)


async def test_a_folder_of_a_living_node_is_nobody_elses(tmp_path: Path) -> None:
    async with Spool.opened(tmp_path, "n.1", SystemClock()) as one:
        await one.append(b"x\n")
        assert spool.orphans(tmp_path) == []
    (orphan,) = spool.orphans(tmp_path)
    assert spool.orphans(tmp_path) == []
    orphan.let_go(empty=False)
    (again,) = spool.orphans(tmp_path)
    again.let_go(empty=True)
    assert list(tmp_path.iterdir()) == []


async def test_segments_are_cut_by_size_and_then_sealed(tmp_path: Path) -> None:
    async with Spool.opened(tmp_path, "n.1", SystemClock(), SpoolLimits(segment_bytes=5)) as one:
        await one.append(b"123456\n")
        await one.append(b"789\n")
        assert [path.name for path in one.sealed()] == ["000001.jsonl"]


def test_a_torn_or_damaged_segment_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "000001.jsonl"
    path.write_bytes(b"1\n\x00\x00\x00\n2\n3")
    assert list(spool.lines(path)) == [b"1\n", b"\x00\x00\x00\n", b"2\n"]
    assert spool.mend(path, lambda line: line.strip().isdigit()) == 2
    assert path.read_bytes() == b"1\n2\n"


def test_only_shipped_segments_that_nobody_reads_back_are_removed(tmp_path: Path) -> None:
    for name, age_s in (("000001.shipped", 500), ("000002.shipped", 5), ("000003.jsonl", 500)):
        (tmp_path / name).write_bytes(b"x\n")
        os.utime(tmp_path / name, (1000 - age_s, 1000 - age_s))
    spool.forget(tmp_path, 900)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000002.shipped", "000003.jsonl"]
