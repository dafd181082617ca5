"""The region's records and objects, opened with the drivers that its settings name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from redqueen.clock import Clock, SystemClock
from redqueen.config import Region
from redqueen.events import Emit, discard
from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.store.drivers.sqlite import SqliteRecords
from redqueen.store.ports import Objects, Records


@dataclass(frozen=True, slots=True)
class Stores:
    """What every service of the product is built on."""

    data_dir: Path
    records: Records
    objects: Objects
    clock: Clock
    emit: Emit

    @classmethod
    def open(cls, data_dir: Path, region: Region, clock: Clock | None = None, emit: Emit = discard) -> Stores:
        """Open the region's stores; close the records in the end."""
        clock = clock or SystemClock()
        return cls(data_dir, open_records(data_dir, clock), _open_objects(data_dir, region), clock, emit)


def open_records(data_dir: Path, clock: Clock) -> Records:
    """Open the records that all processes of the machine share."""
    return SqliteRecords.open(data_dir / "store.sqlite3", clock)


def _open_objects(data_dir: Path, region: Region) -> Objects:
    if region.objects.url:
        return ObstoreObjects.from_url(region.objects.url, region.objects.options, data_dir / "scratch")
    return ObstoreObjects.folder(data_dir / "objects")
