"""A snapshot's files on disk: written so that Envoy sees each change whole, kept so that it can go back.

Envoy watches for renames, so each changed file is written aside and renamed into place, in the
order in which Envoy needs them: endpoints, clusters, listener, routes. `good/` holds the last
snapshot that Envoy confirmed. Enter at `SnapshotFolder`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from redqueen.gateway.compiler import BOOTSTRAP, CLUSTERS, LISTENERS, ROUTES, version_of
from redqueen.gateway.model import Snapshot

_OURS = re.compile(r"(bootstrap|lds|cds|rds|sds|eds-[A-Za-z0-9._-]+)\.json")
_NEEDED = frozenset({BOOTSTRAP, CLUSTERS, LISTENERS, ROUTES})


def write_order(names: Iterable[str]) -> list[str]:
    """Sort file names so that whatever refers to another comes after it."""
    rank = {BOOTSTRAP: 0, CLUSTERS: 2, LISTENERS: 3, ROUTES: 4}
    return sorted(names, key=lambda name: (rank.get(name, 1), name))


def changed(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> list[str]:
    """Name the files of `new` that `old` lacks or has with other content, in write order."""
    return write_order(name for name, content in new.items() if old.get(name) != content)


class SnapshotFolder:
    """The folder that one Envoy reads; as its only writer it remembers what lies there, and reads it once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._good = path / "good"
        self._known: dict[Path, Mapping[str, bytes]] = {}

    def prepare(self) -> None:
        """Make the folders; nobody but our own user may read them."""
        self._good.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def load(self) -> Snapshot | None:
        """Read the snapshot in place, or None if it is missing, incomplete or torn."""
        return _load(self.path)

    def load_good(self) -> Snapshot | None:
        """Read the last snapshot that Envoy confirmed, or None."""
        return _load(self._good)

    def write(self, snapshot: Snapshot, *, only: Iterable[str] | None = None) -> tuple[str, ...]:
        """Rename changed files (or those of `only`, changed or not) into place; drop those of no use."""
        return self._write(self.path, snapshot, only)

    def keep_good(self, snapshot: Snapshot) -> None:
        """Remember a confirmed snapshot as the one to go back to."""
        self._write(self._good, snapshot, None)

    def _write(self, folder: Path, snapshot: Snapshot, only: Iterable[str] | None) -> tuple[str, ...]:
        # Forgotten first: a write that fails half-way leaves nobody knows what.
        known = self._known.pop(folder, None)
        there = _files(folder) if known is None else known
        names = changed(there, snapshot.files) if only is None else write_order(only)
        _write(folder, snapshot.files, names)
        self._known[folder] = snapshot.files
        return tuple(names)


def _write(folder: Path, files: Mapping[str, bytes], names: Iterable[str]) -> None:
    for name in names:
        aside = folder / f".{name}.new"
        aside.write_bytes(files[name])
        os.replace(aside, folder / name)
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.name not in files:
            path.unlink()


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if _OURS.fullmatch(path.name)}


def _load(folder: Path) -> Snapshot | None:
    files = _files(folder) if folder.is_dir() else {}
    if not files.keys() >= _NEEDED:
        return None
    try:
        for content in files.values():
            msgspec.json.decode(content)
    except msgspec.DecodeError:
        return None
    return Snapshot(version_of(files.items()), files)
