"""What the rest of Red Queen may ask of a store, shaped so that Cassandra can answer it.

Records live in partitions and are ordered by clustering key inside them; there are no joins and
no scans across partitions. Changes are conditional on a version (compare-and-set) or not
conditional at all. Objects are immutable bytes under keys. Jobs and leases are built on records
(`jobs.py`, `leases.py`), so that every driver has them. Drivers: `drivers/`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol


class _Any:
    """The type of ANY."""


ANY: Final = _Any()
"""A condition that always holds."""
ABSENT: Final = None
"""A condition that holds when there is no such record (or it has expired)."""
Condition = int | None | _Any
"""The version a record must have for a change to happen; ABSENT; or ANY."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row: its keys, its bytes (at most 1 MiB), its version (opaque, changes on each write)."""

    partition: str
    clustering: str
    value: bytes
    version: int
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """Write `value`, if `when` holds; the record vanishes after `ttl_s` seconds if given."""

    clustering: str
    value: bytes
    when: Condition = ANY
    ttl_s: float | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the record, if `when` holds. Removing what is not there is no error with ANY."""

    clustering: str
    when: Condition = ANY


class Records(Protocol):
    """Rows in partitions."""

    async def get(self, partition: str, clustering: str) -> Record | None:
        """Return one record, or None."""
        ...

    async def scan(
        self, partition: str, *, start: str = "", end: str | None = None, limit: int = 1000, reverse: bool = False
    ) -> list[Record]:
        """Return records of one partition with start <= clustering < end, in order, at most `limit`."""
        ...

    async def put(self, partition: str, change: Put) -> Record | None:
        """Write one record; None when its condition did not hold."""
        ...

    async def delete(self, partition: str, change: Delete) -> bool:
        """Remove one record; False when its condition did not hold."""
        ...

    async def batch(self, partition: str, changes: Sequence[Put | Delete]) -> bool:
        """Make all changes of one partition, or none and return False when any condition fails."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


class Objects(Protocol):
    """Immutable bytes under keys such as `media/<title>/…` (no leading slash, no `..`)."""

    async def put(self, key: str, value: bytes) -> None:
        """Store small bytes (playlists, posters); readers see the old or the new, never a part."""
        ...

    async def put_file(self, key: str, path: Path) -> None:
        """Store a file; it is moved where that is possible, so `path` may be gone afterwards."""
        ...

    async def get(self, key: str) -> bytes:
        """Return small bytes. Raises NotFound."""
        ...

    def local(self, key: str) -> AbstractAsyncContextManager[Path]:
        """Give a path from which an engine may read the object. Raises NotFound."""
        ...

    async def exists(self, key: str) -> bool:
        """Tell whether there is such an object."""
        ...

    def list(self, prefix: str) -> AsyncIterator[str]:
        """Give the keys that begin with the folder `prefix`, in no particular order."""
        ...

    async def delete(self, key: str) -> None:
        """Remove an object; no error when there is none."""
        ...

    async def delete_all(self, prefix: str) -> None:
        """Remove every object under the folder `prefix`."""
        ...
