"""Keeps a registry's records on disk, so that reads survive a restart.

Written beside and renamed into place; a snapshot that cannot be read is no reason not to start.
Each record is encoded once for each time that it changes, a few at a time, and the file is
written in a thread: ten thousand of them never hold up a heartbeat.
"""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec

from redqueen.events import Emit
from redqueen.registry.happenings import SnapshotFailed, SnapshotRefused
from redqueen.registry.ledger import Ledger
from redqueen.registry.messages import FORMAT, Snapshot, encode
from redqueen.registry.model import Record

_AT_ONCE = 100
"""Records encoded between two turns of the loop: about a millisecond."""


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


async def write(path: Path, ledger: Ledger, emit: Emit) -> bool:
    """Write a snapshot by rename; tell whether it is on disk."""
    body = await _encoded(ledger)
    return await anyio.to_thread.run_sync(_put, path, body, emit)


async def _encoded(ledger: Ledger) -> bytes:
    parts: list[bytes] = []
    fresh = 0
    for entry in list(ledger.table.entries()):
        if not entry.encoded:
            entry.encoded = encode(entry.record)
            fresh += 1
            if fresh % _AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()
        parts.append(entry.encoded)
    head = encode(Snapshot(FORMAT, ledger.epoch, ()))
    return head[:-2] + b",".join(parts) + b"]}"


def _put(path: Path, body: bytes, emit: Emit) -> bool:
    beside = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(body)
        os.replace(beside, path)
    except OSError as error:
        emit(SnapshotFailed(str(path), str(error)))
        return False
    return True
