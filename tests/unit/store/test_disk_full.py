"""A disk that is really full: a tiny filesystem of the test's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path
import anyio
from redqueen.clock import SystemClock
from redqueen.errors import Exhausted
from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.store.drivers.sqlite import SqliteRecords
from redqueen.store.ports import Put

async def main(disk, outside):
    records = SqliteRecords.open(disk / "store.sqlite3", SystemClock())
    await records.put("p", Put("before", b"kept"))
    objects = ObstoreObjects.folder(disk / "objects")
    film = outside / "film"
    film.write_bytes(bytes(8 << 20))
    for attempt, code in (
        (lambda: objects.put_file("sources/t1/film", film), "objects.full"),
        (lambda: objects.put("media/t1/a", bytes(8 << 20)), "objects.full"),
        (lambda: fill(records), "store.full"),
    ):
        try:
            await attempt()
        except Exhausted as error:
            assert error.code == code, error
        else:
            raise AssertionError(code)
    assert film.exists()
    assert [key async for key in objects.list("")] == []
    assert [path for path in (disk / "objects").rglob(".*")] == []
    assert (await records.get("p", "before")).value == b"kept"
    await records.close()
    print("done")

async def fill(records):
    for number in range(20):
        await records.put("p", Put(str(number), bytes(1 << 20)))

anyio.run(main, Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_full_disk_is_told_apart_and_loses_nothing(tmp_path: Path) -> None:
    disk, outside = tmp_path / "disk", tmp_path / "outside"
    disk.mkdir()
    outside.mkdir()
    # A mount namespace of its own: the mount goes with the process, and needs no rights outside.
    inside = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=4m none "$0" && exec "$@"', str(disk)]
    if shutil.which("unshare") is None or subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a filesystem in a namespace of their own")
    argv = [*inside, sys.executable, "-W", "error", "-c", SCRIPT, str(disk), str(outside)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
