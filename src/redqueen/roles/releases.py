"""Artifacts unpacked below the data folder, where the nodes of a release run them.

`releases/<digest>` is there whole or not at all (made beside it and renamed), read-only, and gone
when no release and no wish needs it any more. A young folder stays: whoever just asked for it has
not said yet what for. Enter at `ReleaseFolders`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Final

from anyio import to_thread

from redqueen.clock import Clock
from redqueen.delivery.artifact import unpack
from redqueen.delivery.artifacts import Artifacts
from redqueen.errors import Unavailable

YOUNG_S: Final = 600.0
_READ_ONLY: Final = ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)


class ReleaseFolders:
    """Delivery's FoldersPort on the disk of this machine."""

    def __init__(self, data_dir: Path, artifacts: Artifacts, clock: Clock) -> None:
        self._root = data_dir / "releases"
        self._artifacts = artifacts
        self._clock = clock

    async def unpacked(self, digest: str) -> Path:
        """Return the folder of an artifact, unpacked whole and read-only. Raises NotFound, InvalidInput, Exhausted."""
        folder = self._root / digest
        if not folder.is_dir():
            async with self._artifacts.packed(digest) as packed:
                await to_thread.run_sync(_unpack, packed, folder)
        return folder

    async def keep_only(self, digests: Collection[str]) -> None:
        """Remove the folders of all other artifacts, but for the young ones."""
        await to_thread.run_sync(_sweep, self._root, frozenset(digests), self._clock.now() - YOUNG_S)


def _unpack(packed: Path, folder: Path) -> None:
    fresh = folder.with_name(f".{folder.name[:12]}.{uuid.uuid4().hex}")
    try:
        unpack(packed, fresh)
        _protect(fresh)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():  # if it is, another was faster, with the same bytes
                raise
        os.chmod(folder, os.stat(folder).st_mode & _READ_ONLY)
    except OSError as error:
        raise Unavailable("release.unpack", f"{folder.name[:12]} cannot be unpacked", why=str(error)) from error
    finally:
        _remove(fresh)


def _protect(folder: Path) -> None:
    """Take away the right to write: what nodes run is what was shipped."""
    for path, _, files in os.walk(folder, topdown=False):
        for name in files:
            os.chmod(os.path.join(path, name), os.stat(os.path.join(path, name)).st_mode & _READ_ONLY)
        if path != str(folder):
            os.chmod(path, os.stat(path).st_mode & _READ_ONLY)


def _remove(folder: Path) -> None:
    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            os.chmod(path, stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path, kept: Collection[str], before: float) -> None:
    for folder in root.glob("*") if root.is_dir() else ():
        with contextlib.suppress(OSError):
            if folder.name not in kept and folder.stat().st_ctime < before:
                _remove(folder)
    for unfinished in root.glob(".*") if root.is_dir() else ():
        with contextlib.suppress(OSError):
            if unfinished.stat().st_ctime < before:
                _remove(unfinished)
