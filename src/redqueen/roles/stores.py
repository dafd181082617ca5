"""Opens the region's records and objects with the drivers its settings name."""

from __future__ import annotations

from pathlib import Path

from redqueen.clock import Clock
from redqueen.config import Region
from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.store.drivers.sqlite import SqliteRecords
from redqueen.store.ports import Objects, Records


def open_records(data_dir: Path, clock: Clock) -> Records:
    """Open the records that all processes of the machine share."""
    return SqliteRecords.open(data_dir / "store.sqlite3", clock)


def open_objects(data_dir: Path, region: Region) -> Objects:
    """Open the objects: the data folder's, or those of the configured URL (S3)."""
    if region.objects.url:
        return ObstoreObjects.from_url(region.objects.url, region.objects.options, data_dir / "scratch")
    return ObstoreObjects.folder(data_dir / "objects")
