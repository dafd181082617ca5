"""Records and objects kept in memory: public doubles that obey the same contract as the rest.

They decide nothing; what goes in is judged by `store.admission`, as in every driver. Each call gives way to
other tasks once before it acts, so that races of the callers show up in tests. Nothing survives the
process. Enter at `MemoryRecords` and `MemoryObjects`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

import anyio.lowlevel
from obstore.store import MemoryStore

from redqueen.clock import Clock
from redqueen.store.admission import check_changes, check_keys, check_range, holds
from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.store.ports import Delete, Put, Record


class MemoryRecords:
    """Rows in partitions, in a dictionary."""

    def __init__(self, clock: Clock) -> None:
        """Make an empty store whose records expire by `clock`."""
        self._clock = clock
        self._versions = count(1)
        self._partitions: dict[str, dict[str, Record]] = {}

    async def get(self, partition: str, clustering: str) -> Record | None:
        """Return one record, or None."""
        check_keys(partition, clustering)
        await anyio.lowlevel.checkpoint()
        return self._living(partition).get(clustering)

    async def scan(
        self, partition: str, *, start: str = "", end: str | None = None, limit: int = 1000, reverse: bool = False
    ) -> list[Record]:
        """Return records of one partition with start <= clustering < end, in order, at most `limit`."""
        check_range(partition, start, end, limit)
        await anyio.lowlevel.checkpoint()
        rows = self._living(partition)
        keys = sorted((key for key in rows if start <= key and (end is None or key < end)), reverse=reverse)
        return [rows[key] for key in keys[:limit]]

    async def put(self, partition: str, change: Put) -> Record | None:
        """Write one record; None when its condition did not hold."""
        if not await self.batch(partition, [change]):
            return None
        return self._partitions[partition][change.clustering]

    async def delete(self, partition: str, change: Delete) -> bool:
        """Remove one record; False when its condition did not hold."""
        return await self.batch(partition, [change])

    async def batch(self, partition: str, changes: Sequence[Put | Delete]) -> bool:
        """Make all changes of one partition, or none and return False when any condition fails."""
        check_changes(partition, changes)
        await anyio.lowlevel.checkpoint()
        rows = self._living(partition)
        if not all(holds(change.when, _version(rows.get(change.clustering))) for change in changes):
            return False
        self._apply(partition, rows, changes)
        return True

    async def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _apply(self, partition: str, rows: dict[str, Record], changes: Iterable[Put | Delete]) -> None:
        now = self._clock.now()
        for change in changes:
            if isinstance(change, Delete):
                rows.pop(change.clustering, None)
                continue
            expires_at = None if change.ttl_s is None else now + change.ttl_s
            rows[change.clustering] = Record(
                partition, change.clustering, bytes(change.value), next(self._versions), expires_at
            )
        self._partitions[partition] = rows

    def _living(self, partition: str) -> dict[str, Record]:
        now = self._clock.now()
        rows = self._partitions.get(partition, {})
        return {key: row for key, row in rows.items() if row.expires_at is None or row.expires_at > now}


class MemoryObjects(ObstoreObjects):
    """Objects in memory; only `local` writes a file, which goes when its reader is done."""

    def __init__(self) -> None:
        """Make an empty store."""
        super().__init__(MemoryStore(), scratch=Path(tempfile.gettempdir()))


def _version(row: Record | None) -> int | None:
    return None if row is None else row.version
