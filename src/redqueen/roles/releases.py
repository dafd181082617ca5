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
import sys
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from redqueen import processes
from redqueen.clock import Clock
from redqueen.delivery.artifact import unpack
from redqueen.delivery.artifacts import Artifacts
from redqueen.errors import Unavailable

YOUNG_S: Final = 600.0
_COMPILE_S: Final = 60.0
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
        if folder.is_dir():
            return folder
        fresh = self._root / f".{digest[:12]}.{uuid.uuid4().hex}"
        try:
            async with self._artifacts.packed(digest) as packed:
                await to_thread.run_sync(unpack, packed, fresh)
            await _compile(fresh)
            await to_thread.run_sync(_settle, fresh, folder)
        except OSError as error:
            raise Unavailable("release.unpack", f"{digest[:12]} cannot be unpacked", why=str(error)) from error
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(_remove, fresh)
        return folder

    async def keep_only(self, digests: Collection[str]) -> None:
        """Remove the folders of all other artifacts, but for the young ones."""
        await to_thread.run_sync(_sweep, self._root, frozenset(digests), self._clock.now() - YOUNG_S)


async def _compile(folder: Path) -> None:
    """Compile our own package: nodes that start without it, from a folder they cannot write to, take seconds longer."""
    if not await to_thread.run_sync(_has_our_package, folder):
        return
    # By hash, unchecked: the folder never changes, and its files' times say nothing.
    argv = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(folder)]
    python = (Path(sys.base_prefix), Path(sys.prefix))
    limits = processes.Confinement(read=python, write=(folder,), memory_bytes=1 << 30, niceness=0)
    with contextlib.suppress(Unavailable):  # a node compiles what is missing itself
        await processes.run(argv, timeout_s=_COMPILE_S, limits=limits)


def _has_our_package(folder: Path) -> bool:
    return any(folder.glob("**/redqueen/roles/api.py"))


def _settle(fresh: Path, folder: Path) -> None:
    _protect(fresh)
    try:
        fresh.rename(folder)
    except OSError:
        if not folder.is_dir():  # if it is, another was faster, with the same bytes
            raise
    os.chmod(folder, os.stat(folder).st_mode & _READ_ONLY)


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
