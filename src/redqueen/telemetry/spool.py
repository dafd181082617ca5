"""Where events are on disk before they are acknowledged: one folder a node's life, one line a request.

Decides that an append returns only after fdatasync, and that all appends that wait share one
(group commit). A life's folder is locked as long as its process lives, so that others take over
what a killed node has left, and nobody else's. Segments are cut by age and size; a torn last line
was never acknowledged and is dropped. Refuses (Exhausted) when the disk is full, or when more waits
than may wait. Enter at `Spool.opened`, `Spool.append` and `orphans`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from redqueen.clock import Clock
from redqueen.errors import Exhausted, Unavailable

SUFFIX: Final = ".jsonl"
SHIPPED: Final = ".shipped"
"""Stands in place of SUFFIX once a segment is in Parquet too."""
HANDED: Final = "handed-"
"""Begins the name of a life that ends in order that others ship it, and in which nothing is open."""
_LOCK: Final = "lock"
_TICK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """When segments are cut, and how much may lie or wait."""

    segment_bytes: int = 32 << 20
    segment_s: float = 60.0
    waiting_bytes: int = 16 << 20
    """Bytes that may wait for the disk; beyond that players are told to come again."""
    lying_bytes: int = 8 << 30
    """Bytes that may lie here until they are in Parquet."""
    least_free_bytes: int = 64 << 20
    """Bytes of the disk that telemetry leaves to the rest of the region."""


def _unwritten() -> Exception:
    return Unavailable("telemetry.unwritten", "The event was not written", hint="Send it again in a moment")


@dataclass(slots=True)
class _Group:
    """The appends that share one fdatasync; `error` is what their senders are told."""

    lines: list[bytes] = field(default_factory=list[bytes])
    size: int = 0
    done: anyio.Event = field(default_factory=anyio.Event)
    error: Exception | None = field(default_factory=_unwritten)


class Spool:
    """One life's folder, and the only writer in it."""

    def __init__(self, folder: Path, clock: Clock, limits: SpoolLimits) -> None:
        self.folder = folder
        self._clock = clock
        self._limits = limits
        self._group = _Group()
        self._wake = anyio.Event()
        self._segment = _Segment(folder)
        self._crowded = ""
        self.commits = 0
        """Times that fdatasync was called."""
        self.written_bytes = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls, root: Path, life: str, clock: Clock, limits: SpoolLimits | None = None
    ) -> AsyncGenerator[Spool]:
        """Be the life `life` (a name that no life had before) below `root` while the block runs."""
        folder = root / life
        lock = await to_thread.run_sync(_make, folder)
        spool = cls(folder, clock, limits or SpoolLimits())
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(spool._commit)
                yield spool
                group.cancel_scope.cancel()
        finally:
            spool._segment.cut()
            os.close(lock)

    async def append(self, line: bytes) -> None:
        """Return when `line`, whose last byte is its only newline, is on disk. Raises Exhausted, Unavailable."""
        group = self._group
        if self._crowded:
            raise Exhausted("telemetry.full", "No event can be kept now", why=self._crowded, hint="Free some space")
        if group.size + len(line) > self._limits.waiting_bytes:
            raise Unavailable("telemetry.busy", "The disk cannot follow", hint="Send it again in a moment")
        group.lines.append(line)
        group.size += len(line)
        self._wake.set()
        await group.done.wait()
        if group.error is not None:
            raise group.error

    def sealed(self) -> list[Path]:
        """Return the segments that are whole and not yet shipped, the oldest first."""
        active = self._segment.path
        return [path for path in segments(self.folder) if path != active]

    async def _commit(self) -> None:
        while True:
            with anyio.move_on_after(_TICK_S):
                await self._wake.wait()
            self._wake = anyio.Event()
            group, self._group = self._group, _Group()
            try:
                await to_thread.run_sync(self._write, group.lines)
                group.error = None
            except OSError as error:
                group.error = Exhausted(
                    "telemetry.disk", "The event cannot be written", why=error.strerror or "", hint="Free some space"
                )
            finally:
                group.done.set()

    def _write(self, lines: list[bytes]) -> None:
        now_s, limits = self._clock.monotonic(), self._limits
        if lines:
            self.written_bytes += self._segment.append(b"".join(lines), now_s)
            self.commits += 1
        else:
            self._crowded = _crowding(self.folder, limits)
        if self._segment.size > limits.segment_bytes or self._segment.age_s(now_s) > limits.segment_s:
            self._segment.cut()
            self._crowded = _crowding(self.folder, limits)


class _Segment:
    """The file that is written now; a new one is made by the first append after a cut."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._descriptor = -1
        self._began_s = 0.0
        self.path: Path | None = None
        self.size = 0

    def age_s(self, now_s: float) -> float:
        """Return the seconds since the first append."""
        return now_s - self._began_s if self._descriptor >= 0 else 0.0

    def append(self, data: bytes, now_s: float) -> int:
        """Put `data` on disk, all or nothing; return its size. Raises OSError."""
        if self._descriptor < 0:
            self._begin(now_s)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fdatasync(self._descriptor)
        except OSError:
            # What is on disk after a failed sync is unknown: nothing more is written behind it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
            self.cut()
            raise
        self.size += len(data)
        return len(data)

    def cut(self) -> None:
        """End the file; no error when there is none."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self.path, self.size = -1, None, 0

    def _begin(self, now_s: float) -> None:
        self._number += 1
        path = self._folder / f"{self._number:06d}{SUFFIX}"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _sync(self._folder)  # or the file's name could be lost with the machine's power
        self.path, self.size, self._began_s = path, 0, now_s


@dataclass(frozen=True, slots=True)
class Orphan:
    """The folder of a life that has ended; nobody else has it until it is let go."""

    folder: Path
    lock: int

    def let_go(self, *, empty: bool) -> None:
        """Leave it to others; an `empty` one, all of whose segments are shipped, is removed."""
        if empty:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.lock)


def orphans(root: Path) -> list[Orphan]:
    """Take every folder below `root` whose life has ended and that nobody has taken."""
    found: list[Orphan] = []
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if not folder.name.startswith(".") and (lock := _taken(folder)) is not None:
            found.append(Orphan(folder, lock))
    return found


def segments(folder: Path, suffix: str = SUFFIX) -> list[Path]:
    """Return a life's segments with `suffix`, the oldest first."""
    return sorted(folder.glob(f"*{suffix}"))


def lines(path: Path) -> Iterator[bytes]:
    """Give the whole lines of a segment; a torn last one is left out."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def mend(path: Path, good: Callable[[bytes], bool]) -> int:
    """Rewrite a segment with its good lines only; return how many were not."""
    bad, fresh = 0, path.with_name(f".{path.name}")
    with fresh.open("wb") as output, path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n") and good(line):
                output.write(line)
            else:
                bad += 1
        output.flush()
        os.fsync(output.fileno())
    fresh.replace(path)
    return bad


def shipped(path: Path) -> None:
    """Mark a segment as being in Parquet."""
    path.rename(path.with_suffix(SHIPPED))


def forget(folder: Path, before: float) -> None:
    """Remove the shipped segments that were last written before `before` (Unix time)."""
    for path in segments(folder, SHIPPED):
        if path.stat().st_mtime < before:
            path.unlink()


def _make(folder: Path) -> int:
    """Make a locked folder; it gets its name only when it is locked."""
    fresh = folder.with_name(f".{folder.name}")
    fresh.mkdir(parents=True, mode=0o700)
    lock = os.open(fresh / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fresh.rename(folder)
    _sync(folder.parent)
    return lock


def _taken(folder: Path) -> int | None:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # somebody else has just removed it
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:
            return lock
    except OSError:  # its node lives
        pass
    os.close(lock)
    return None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _crowding(folder: Path, limits: SpoolLimits) -> str:
    """Say why nothing more may be written, or nothing."""
    lying = sum(path.stat().st_size for path in segments(folder))
    if lying > limits.lying_bytes:
        return f"{lying >> 20} MiB of events wait for the object store"
    if shutil.disk_usage(folder).free < limits.least_free_bytes:
        return "the disk is nearly full"
    return ""
