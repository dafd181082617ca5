"""The logs as files: cut while somebody writes them, bounded in all, read in order.

A log's writer keeps its descriptor for days (and an Envoy or a killed node's heir shares it), so a
file is cut by copying it away and truncating it: every writer appends, so it goes on at the start.
Lines written in the instant between the last copy and the truncation are lost, no others. Whoever
cuts holds the file's lock. Enter at `keep`, `tend` and `read`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import anyio

from redqueen.clock import Clock
from redqueen.fleet import rotation
from redqueen.fleet.rotation import LogQuery, Part, stamp_of

_LOOK_S = 2.0
_BLOCK = 1 << 18
_READ_BYTES = 16 << 20
"""How much of each node's logs is looked at, at most."""


async def keep(folder: Path, clock: Clock, *, only: str | None = None) -> None:
    """Tend all logs of a folder (or one node's) for ever; a disk that refuses is tried again."""
    while True:
        with contextlib.suppress(OSError):
            await anyio.to_thread.run_sync(tend, folder, only)
        await clock.sleep(_LOOK_S)


def tend(folder: Path, only: str | None = None, limit_bytes: int = rotation.LIMIT_BYTES) -> None:
    """Cut what has grown too long, and remove the oldest parts beyond the total. Raises OSError."""
    for log in [folder / f"{only}.log"] if only else sorted(folder.glob("*.log")):
        cut(log, limit_bytes)
    if only:
        return
    parts = [Part(path.name, path.stat().st_size, path.stat().st_mtime) for path in folder.glob("*.log.*")]
    for name in rotation.surplus(parts):
        (folder / name).unlink(missing_ok=True)


def cut(log: Path, limit_bytes: int = rotation.LIMIT_BYTES) -> bool:
    """Make what a log holds its first older part if it is too long; True if it was. Raises OSError."""
    try:
        source = log.open("rb+")
    except FileNotFoundError:
        return False
    with source:
        if os.fstat(source.fileno()).st_size <= limit_bytes or not _locked(source.fileno()):
            return False
        fresh = log.with_name(f".{log.name}.fresh")
        try:
            with fresh.open("wb") as copy:
                shutil.copyfileobj(source, copy, _BLOCK)
                _shift(log)
                fresh.replace(_part(log, 1))
                # What was written while the above went on.
                shutil.copyfileobj(source, copy, _BLOCK)
                copy.flush()
                os.ftruncate(source.fileno(), 0)
        except OSError:
            fresh.unlink(missing_ok=True)
            if os.fstat(source.fileno()).st_size > 2 * limit_bytes:
                os.ftruncate(source.fileno(), 0)  # a full disk must not become fuller for the sake of old lines
            raise
    return True


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _shift(log: Path) -> None:
    for number in range(rotation.KEPT, 1, -1):
        with contextlib.suppress(FileNotFoundError):
            _part(log, number - 1).replace(_part(log, number))


def _part(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")


def read(folder: Path, query: LogQuery) -> list[tuple[str, str]]:
    """Return the last lines that are asked for as (node, line), oldest first, merged by their times."""
    found: list[tuple[str, str, str]] = []
    for log in sorted(folder.glob("*.log")):
        if query.means(log.stem):
            found += [(stamp, log.stem, line) for stamp, line in _last(log, query)]
    found.sort(key=lambda entry: entry[0])
    return [(node, line) for _, node, line in found[-query.lines :]]


def _last(log: Path, query: LogQuery) -> list[tuple[str, str]]:
    """Return a node's last lines with their times; a line without a time goes with the one before it."""
    lines: list[str] = []
    for line in _backwards(log):
        stamp = stamp_of(line)
        if query.since and stamp and stamp < query.since:
            break
        if query.request not in line:
            continue
        lines.append(line)
        if len(lines) >= query.lines:
            break
    stamped: list[tuple[str, str]] = []
    last = ""
    for line in reversed(lines):
        last = stamp_of(line) or last
        stamped.append((last, line))
    return stamped


def _backwards(log: Path) -> Iterator[str]:
    """Give a log's lines, the last first, through its older parts."""
    left = _READ_BYTES
    for path in (log, *(_part(log, number) for number in range(1, rotation.KEPT + 1))):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as source:
            for line in _lines_backwards(source.fileno(), os.fstat(source.fileno()).st_size):
                left -= len(line) + 1
                if left < 0:
                    return
                yield line.decode(errors="replace")


def _lines_backwards(descriptor: int, end: int) -> Iterator[bytes]:
    rest, first = b"", True
    while end > 0:
        begin = max(0, end - _BLOCK)
        block = os.pread(descriptor, end - begin, begin) + rest
        end = begin
        rest, *lines = block.split(b"\n")
        for line in reversed(lines):
            if not (first and not line):  # what follows the last line's end is no line
                yield line
            first = False
    if rest or not first:
        yield rest
