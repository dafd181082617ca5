"""Unfinished uploads as files: `<id>.part`, one writer at a time, whose size is the offset.

The lock is flock(2) on the file itself, so it vanishes with a killed process. A writer whose
client is gone but whose connection is not is superseded: the newcomer leaves a claim
(`<id>.claim`), the holder sees it within half a second and lets go. Refuses (Conflict) when that
takes longer than 3 s, and (Exhausted) when the disk is full; what is written stays.
Enter at `Spool.writer`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
from anyio import to_thread

from redqueen.errors import Conflict, Exhausted

_TAKEOVER_S = 3.0
_LOOK_S = 0.25
_FULL = (errno.ENOSPC, errno.EDQUOT)
_Claim = tuple[int, int] | None


class Writer:
    """The only writer of one spool file; `size` is what has been written."""

    def __init__(self, descriptor: int, size: int, claim_path: Path, claim: _Claim) -> None:
        self._descriptor = descriptor
        self._claim_path = claim_path
        self._claim = claim
        self.size = size

    async def append(self, data: bytes | bytearray) -> None:
        """Write all of `data` at the end. Raises Exhausted; what fitted counts."""
        await to_thread.run_sync(self._append, memoryview(data))

    async def sync(self) -> None:
        """Return when the bytes are on the disk."""
        await to_thread.run_sync(os.fsync, self._descriptor)

    async def superseded(self) -> None:
        """Return when somebody else claims the upload."""
        while _claim(self._claim_path) == self._claim:  # noqa: ASYNC110 - the claimant is another process
            await anyio.sleep(_LOOK_S)

    def _append(self, data: memoryview) -> None:
        while data:
            try:
                written = os.pwrite(self._descriptor, data, self.size)
            except OSError as error:
                if error.errno in _FULL:
                    raise full_disk("in the middle of the upload") from error
                raise
            self.size += written
            data = data[written:]


class Spool:
    """The folder of unfinished uploads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, upload_id: str) -> None:
        """Make an empty file that only this user may read. Raises Exhausted."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path(upload_id), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as error:
            if error.errno in _FULL:
                raise full_disk("before the upload began") from error
            raise

    def path(self, upload_id: str) -> Path:
        """Return where an upload lies."""
        return self._folder / f"{upload_id}.part"

    def facts(self, upload_id: str) -> tuple[int, float] | None:
        """Return size (bytes) and time of the last write (epoch seconds), or None if it is gone."""
        try:
            found = self.path(upload_id).stat()
        except FileNotFoundError:
            return None
        return found.st_size, found.st_mtime

    def remove(self, upload_id: str) -> None:
        """Remove an upload's files; no error when there are none."""
        self.path(upload_id).unlink(missing_ok=True)
        self._claim_path(upload_id).unlink(missing_ok=True)

    def free(self) -> tuple[int, int]:
        """Return free and total bytes of the disk below."""
        usage = shutil.disk_usage(self._folder if self._folder.exists() else self._folder.parent)
        return usage.free, usage.total

    @contextlib.asynccontextmanager
    async def writer(self, upload_id: str, *, take_over: bool) -> AsyncGenerator[Writer | None]:
        """Hold an upload's lock; gives None when its file is gone (moved or removed).

        Raises Conflict (`upload.locked`) when another writer holds it and does not let go.
        """
        descriptor = await self._locked(upload_id, take_over)
        if descriptor is None:
            yield None
            return
        try:
            claim_path = self._claim_path(upload_id)
            yield Writer(descriptor, os.fstat(descriptor).st_size, claim_path, _claim(claim_path))
        finally:
            os.close(descriptor)

    async def _locked(self, upload_id: str, take_over: bool) -> int | None:
        try:
            descriptor = os.open(self.path(upload_id), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            if not _lock(descriptor) and not (take_over and await self._taken_over(upload_id, descriptor)):
                raise Conflict(
                    "upload.locked",
                    "This upload is being written by another connection",
                    hint="Ask for its offset again in a second, then go on from there",
                )
            if _same_file(descriptor, self.path(upload_id)):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # The holder finished while we waited: this descriptor is now somebody's film.
        os.close(descriptor)
        return None

    async def _taken_over(self, upload_id: str, descriptor: int) -> bool:
        claim_path = self._claim_path(upload_id)
        fresh = claim_path.with_suffix(f".{os.getpid()}.{descriptor}")
        fresh.touch(mode=0o600)
        fresh.replace(claim_path)
        with anyio.move_on_after(_TAKEOVER_S):
            while not _lock(descriptor):  # noqa: ASYNC110 - the holder is another process
                await anyio.sleep(0.05)
            return True
        return False

    def _claim_path(self, upload_id: str) -> Path:
        return self._folder / f"{upload_id}.claim"


def full_disk(when: str) -> Exhausted:
    """Return the error of a full disk; the words a person reads."""
    return Exhausted(
        "upload.disk_full",
        f"The disk of the region became full {when}",
        why="what has arrived is kept",
        hint="Free some space, then go on: the upload continues where it stopped",
    )


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _claim(path: Path) -> _Claim:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
