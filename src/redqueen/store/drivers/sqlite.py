"""Records in one SQLite file in WAL mode, shared by all processes of the machine.

Decides who waits for whom: one writer and a few readers in each process, each lent to one worker thread at a time, so
that the event loop never blocks; between processes SQLite's own locks rule. Every wait is bounded. Refuses
to work after `close`. What is in the file is `sqlite_file.py`'s matter. Enter at `SqliteRecords.open`.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from redqueen.clock import Clock
from redqueen.errors import Unavailable
from redqueen.store.admission import check_changes, check_keys, check_range
from redqueen.store.drivers import sqlite_file
from redqueen.store.ports import Delete, Put, Record

T = TypeVar("T")
_READERS = 4
_CHECKPOINT_BYTES = 4 << 20
_OVERHEAD_BYTES = 16_384
"""About what a write of one small row adds to the WAL: four pages."""


class SqliteRecords:
    """Rows in partitions, in one file."""

    def __init__(self, path: Path, clock: Clock, *, busy_s: float, limit_bytes: int | None) -> None:
        """Keep what `open` prepared; connections are made when first needed."""
        self._path = path
        self._clock = clock
        self._busy_s = busy_s
        self._limit_bytes = limit_bytes
        self._writing = anyio.CapacityLimiter(1)
        self._reading = anyio.CapacityLimiter(_READERS)
        self._writer: sqlite3.Connection | None = None
        self._idle: deque[sqlite3.Connection] = deque()
        self._unmoved_bytes = 0
        self._closed = False

    @classmethod
    def open(cls, path: Path, clock: Clock, *, busy_s: float = 5.0, limit_bytes: int | None = None) -> SqliteRecords:
        """Open the store at `path`, making it where missing; blocks for a moment.

        Waits up to `busy_s` seconds for other writers; the file grows to at most `limit_bytes`.
        Raises InvalidInput (newer format), Broken (not a store), Unavailable (cannot be opened).
        """
        sqlite_file.prepare(path, busy_s=busy_s)
        return cls(path, clock, busy_s=busy_s, limit_bytes=limit_bytes)

    async def get(self, partition: str, clustering: str) -> Record | None:
        """Return one record, or None."""
        check_keys(partition, clustering)
        now = self._clock.now()
        return await self._read(lambda connection: sqlite_file.read(connection, partition, clustering, now))

    async def scan(
        self, partition: str, *, start: str = "", end: str | None = None, limit: int = 1000, reverse: bool = False
    ) -> list[Record]:
        """Return records of one partition with start <= clustering < end, in order, at most `limit`."""
        check_range(partition, start, end, limit)
        now = self._clock.now()
        return await self._read(
            lambda connection: sqlite_file.read_range(connection, partition, start, end, limit, reverse, now)
        )

    async def put(self, partition: str, change: Put) -> Record | None:
        """Write one record; None when its condition did not hold."""
        written = await self._write(partition, [change])
        return written[0] if written else None

    async def delete(self, partition: str, change: Delete) -> bool:
        """Remove one record; False when its condition did not hold."""
        return await self._write(partition, [change]) is not None

    async def batch(self, partition: str, changes: Sequence[Put | Delete]) -> bool:
        """Make all changes of one partition, or none and return False when any condition fails."""
        return await self._write(partition, changes) is not None

    async def close(self) -> None:
        """Close every connection, after the writes under way; closing twice is no error."""
        self._closed = True
        await self._in_thread(self._close_idle, self._writing)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._in_thread(lambda: self._with_reader(work), self._reading)

    async def _write(self, partition: str, changes: Sequence[Put | Delete]) -> list[Record] | None:
        check_changes(partition, changes)
        now = self._clock.now()
        return await self._in_thread(lambda: self._with_writer(partition, changes, now), self._writing)

    async def _in_thread(self, work: Callable[[], T], limiter: anyio.CapacityLimiter) -> T:
        try:
            # Only waiting for one's turn is cut short here: a thread at work is always waited for.
            with anyio.fail_after(2 * self._busy_s):
                return await anyio.to_thread.run_sync(work, limiter=limiter)
        except TimeoutError as error:
            raise sqlite_file.busy(self._path) from error

    def _with_reader(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()
        with sqlite_file.translated(self._path):
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = sqlite_file.connect(self._path, busy_s=self._busy_s, read_only=True)
            try:
                return work(connection)
            finally:
                self._idle.append(connection)
                if self._closed:
                    self._close_readers()

    def _with_writer(self, partition: str, changes: Sequence[Put | Delete], now: float) -> list[Record] | None:
        self._check_open()
        with sqlite_file.translated(self._path):
            if self._writer is None:
                self._writer = sqlite_file.connect(self._path, busy_s=self._busy_s, limit_bytes=self._limit_bytes)
            written = sqlite_file.write(self._writer, partition, changes, now)
        if written is not None:
            self._unmoved_bytes += _OVERHEAD_BYTES * len(changes) + sum(len(record.value) for record in written)
        if self._unmoved_bytes > _CHECKPOINT_BYTES:
            self._unmoved_bytes = 0
            self._checkpoint(self._writer)
        return written

    def _checkpoint(self, writer: sqlite3.Connection) -> None:
        # The write is done already, so trouble here must not be reported as its failure; the next one tries again.
        try:
            other = sqlite_file.connect(self._path, busy_s=self._busy_s)
        except sqlite3.Error:
            return
        try:
            sqlite_file.checkpoint(writer, other)
        except sqlite3.Error:
            return
        finally:
            other.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("store.closed", f"{self._path} has been closed", hint="The process is stopping")

    def _close_idle(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._close_readers()

    def _close_readers(self) -> None:
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return
