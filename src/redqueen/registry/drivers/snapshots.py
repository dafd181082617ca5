"""Keeps a registry's records on disk, so that reads survive a restart.

Written beside and renamed into place; a snapshot that cannot be read is no reason not to start.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from redqueen.events import Emit
from redqueen.registry.happenings import SnapshotFailed, SnapshotRefused
from redqueen.registry.messages import FORMAT, Snapshot, encode
from redqueen.registry.model import Record


def read(path: Path, emit: Emit) -> tuple[Record, ...]:
    """Read the records of a snapshot; none when there is no readable one."""
    try:
        snapshot = msgspec.json.decode(path.read_bytes(), type=Snapshot)
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        emit(SnapshotRefused(str(path), str(error)))
        return ()
    if snapshot.format != FORMAT:
        emit(SnapshotRefused(str(path), f"its format is {snapshot.format}, this release reads {FORMAT}"))
        return ()
    return snapshot.records


def write(path: Path, epoch: str, records: Iterable[Record], emit: Emit) -> bool:
    """Write a snapshot by rename; tell whether it is on disk."""
    beside = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(encode(Snapshot(FORMAT, epoch, tuple(records))))
        os.replace(beside, path)
    except OSError as error:
        emit(SnapshotFailed(str(path), str(error)))
        return False
    return True
