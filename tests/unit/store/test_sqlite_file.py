"""The SQLite file: who may read it, which ones are refused, what its errors become."""

from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from redqueen.errors import Broken, Exhausted, InvalidInput, Unavailable
from redqueen.store.drivers import sqlite_file
from redqueen.store.drivers.sqlite import SqliteRecords
from redqueen.store.ports import Delete, Put
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


def _count(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM records").fetchone()[0])
    finally:
        connection.close()


async def test_the_file_and_its_companions_are_for_their_owner_only(path: Path) -> None:
    path.touch(mode=0o644)
    records = SqliteRecords.open(path, VirtualClock())
    await records.put("p", Put("c", b""))
    modes = {found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()}
    await records.close()
    assert modes == {"store.sqlite3": 0o600, "store.sqlite3-wal": 0o600, "store.sqlite3-shm": 0o600}


async def test_what_was_written_is_there_when_opened_again(path: Path) -> None:
    first = SqliteRecords.open(path, VirtualClock())
    record = await first.put("p", Put("c", b"x"))
    assert record
    await first.delete("p", Delete("c"))
    await first.close()
    second = SqliteRecords.open(path, VirtualClock())
    again = await second.put("p", Put("c", b"x"))
    assert again
    assert again.version > record.version
    await second.close()


def test_a_file_of_a_newer_format_is_refused_and_left_alone(path: Path) -> None:
    sqlite_file.prepare(path, busy_s=1)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(InvalidInput) as refused:
        SqliteRecords.open(path, VirtualClock())
    assert refused.value.code == "store.format"
    assert "99" in refused.value.what


def test_a_file_that_is_no_store_is_refused(path: Path) -> None:
    path.write_bytes(b"this is a shopping list, not a database. " * 50)
    with pytest.raises(Broken) as refused:
        SqliteRecords.open(path, VirtualClock())
    assert refused.value.code == "store.damaged"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as refused:
        SqliteRecords.open(tmp_path / "no" / "store.sqlite3", VirtualClock())
    assert refused.value.code == "store.unreachable"


async def test_a_full_store_says_so_changes_nothing_and_works_again_when_room_is_made(path: Path) -> None:
    records = SqliteRecords.open(path, VirtualClock(), limit_bytes=400_000)
    await records.put("p", Put("big", b"x" * 200_000))
    with pytest.raises(Exhausted) as refused:
        await records.batch("p", [Put("small", b"y"), Put("bigger", b"x" * 300_000)])
    assert refused.value.code == "store.full"
    assert [row.clustering for row in await records.scan("p")] == ["big"]
    await records.delete("p", Delete("big"))
    assert await records.put("p", Put("bigger", b"x" * 300_000))
    await records.close()


async def test_a_writer_that_never_lets_go_makes_the_store_unavailable_to_writers_only(path: Path) -> None:
    records = SqliteRecords.open(path, VirtualClock(), busy_s=0.1)
    await records.put("p", Put("c", b"x"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable) as refused:
        await records.put("p", Put("c", b"y"))
    assert refused.value.code == "store.busy"
    assert await records.get("p", "c")
    other.execute("ROLLBACK")
    other.close()
    assert await records.put("p", Put("c", b"y"))
    await records.close()


async def test_expired_rows_are_removed_a_few_with_each_write(path: Path) -> None:
    clock = VirtualClock()
    records = SqliteRecords.open(path, clock)
    await records.batch("old", [Put(f"{number:03d}", b"", ttl_s=1) for number in range(100)])
    await records.put("old", Put("stays", b"", ttl_s=100))
    clock.advance(2)
    left = []
    for _ in range(4):
        await records.put("p", Put("c", b""))
        left.append(_count(path))
    assert left == [70, 38, 6, 2]
    await records.close()


async def test_the_log_does_not_grow_without_end(path: Path) -> None:
    records = SqliteRecords.open(path, VirtualClock())
    for _ in range(40):
        await records.put("p", Put("c", b"x" * (1 << 19)))
    assert path.with_name("store.sqlite3-wal").stat().st_size < 10 << 20
    await records.close()


def test_nobody_commits_during_a_checkpoint(path: Path) -> None:
    sqlite_file.prepare(path, busy_s=1)
    writer, watcher = (sqlite_file.connect(path, busy_s=0) for _ in range(2))
    refused: list[str] = []

    class Checkpointer:
        def execute(self, sql: str) -> sqlite3.Cursor:
            try:
                watcher.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                refused.append(str(error))
            return watcher.execute(sql)

    sqlite_file.checkpoint(writer, Checkpointer())  # type: ignore[arg-type]
    assert refused == ["database is locked"]
    sqlite_file.write(watcher, "p", [Put("c", b"")], 0.0)
    writer.close()
    watcher.close()


def test_a_write_that_breaks_off_leaves_nothing_and_a_connection_that_works(path: Path) -> None:
    sqlite_file.prepare(path, busy_s=1)
    connection = sqlite_file.connect(path, busy_s=1)
    unstorable: Any = object()
    with pytest.raises(sqlite3.Error):
        sqlite_file.write(connection, "p", [Put("a", b""), Put("b", unstorable)], 0.0)
    assert sqlite_file.read(connection, "p", "a", 0.0) is None
    assert sqlite_file.write(connection, "p", [Put("c", b"")], 0.0)
    connection.close()


async def test_a_closed_store_says_so(path: Path) -> None:
    records = SqliteRecords.open(path, VirtualClock())
    await records.get("p", "c")
    await records.close()
    await records.close()
    for attempt in (lambda: records.get("p", "c"), lambda: records.put("p", Put("c", b""))):
        with pytest.raises(Unavailable) as refused:
            await attempt()
        assert refused.value.code == "store.closed"


def test_many_that_open_a_new_store_at_once_all_succeed(path: Path) -> None:
    failures: list[BaseException] = []

    def opened() -> None:
        try:
            sqlite_file.prepare(path, busy_s=5)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    threads = [threading.Thread(target=opened) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
