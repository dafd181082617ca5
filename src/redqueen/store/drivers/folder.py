"""A folder of objects on this machine's disk: where a key lies, and how a film gets there whole.

Decides nothing about keys (`object_keys.py` does). A file is moved by rename on the same filesystem; across
filesystems it is copied beside its goal under a dotted name and then renamed, so that no reader ever sees a part.
Refuses to follow a link out of the root. All of it blocks; `objects.py` runs it in threads. Enter at `Folder`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path

from redqueen.errors import Forbidden, InvalidInput, NotFound

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Folder:
    """Objects as files under `root`, an absolute path without links."""

    root: Path

    def path(self, key: str) -> Path:
        """Return where `key` lies. Raises Forbidden (`objects.outside`) when a link leads out of the root."""
        path = self.root / key
        if not path.resolve().is_relative_to(self.root):
            raise Forbidden("objects.outside", f"{key} is a link that leads out of the store", hint="Remove that link")
        return path

    def existing(self, key: str) -> Path:
        """Return where `key` lies. Raises NotFound when it is not a file there."""
        path = self.path(key)
        if not path.is_file():
            raise missing(key)
        return path

    def take(self, key: str, source: Path) -> None:
        """Move the file `source` to `key`. No fsync: a power cut may cost the newest film, a killed process nothing."""
        check_source(source)
        goal = self.path(key)
        for attempt in range(_TRIES):
            goal.parent.mkdir(parents=True, exist_ok=True)
            try:
                return _move(source, goal)
            except FileNotFoundError:
                # Somebody removed the empty folder between mkdir and rename.
                if attempt == _TRIES - 1 or not source.exists():
                    raise

    def remove_all(self, prefix: str) -> None:
        """Remove a folder and all in it, unfinished files too; no error when there is none."""
        path = self.path(prefix)
        for attempt in range(_TRIES):
            if not path.is_dir() or path.is_symlink():
                return
            try:
                return shutil.rmtree(path, onerror=_unless_gone)
            except OSError as error:
                # Somebody stored into the folder between the last removal in it and its own.
                if error.errno != errno.ENOTEMPTY or attempt == _TRIES - 1:
                    raise


def _move(source: Path, goal: Path) -> None:
    if source.is_symlink():
        return _copy(source, goal)
    try:
        source.replace(goal)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, goal)


def _copy(source: Path, goal: Path) -> None:
    unfinished = goal.with_name(f".incoming-{uuid.uuid4().hex}")
    try:
        shutil.copyfile(source, unfinished)
        unfinished.replace(goal)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # stored already; a source that cannot be removed is its owner's matter
        source.unlink()


def check_source(source: Path) -> None:
    """Accept a regular file. Raises NotFound or InvalidInput."""
    try:
        mode = source.stat().st_mode
    except FileNotFoundError as error:
        raise NotFound("objects.no_source", f"{source} does not exist", hint="Name a file that does") from error
    if not stat.S_ISREG(mode):
        raise InvalidInput("objects.source", f"{source} is not a regular file", hint="Name one file")


def missing(key: str) -> NotFound:
    """Say that there is no such object."""
    return NotFound("objects.missing", f"There is no object {key}", hint="It may have been deleted")


def _unless_gone(function: object, path: str, info: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(info[1], FileNotFoundError) and os.path.lexists(path):
        raise info[1]
