"""One SQLite file under several real processes: killed in mid-write, and all writing at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PREAMBLE = """
import os, random, signal, sqlite3, sys, time
from contextlib import closing
from pathlib import Path
from redqueen.store.drivers import sqlite_file
from redqueen.store.ports import Put
path = Path(sys.argv[1])
sqlite_file.prepare(path, busy_s=5)
"""

KILLED = """
def write_pairs():
    writer, other = (sqlite_file.connect(path, busy_s=5) for _ in range(2))
    number = 0
    while True:
        number += 1
        value = b"%d " % number + b"x" * random.randrange(60_000)
        sqlite_file.write(writer, "p", [Put("left", value), Put("right", value)], time.time())
        if number % 20 == 0:
            sqlite_file.checkpoint(writer, other)

random.seed(7)
versions = [0]
for _ in range(12):
    children = []
    for _ in range(2):
        children.append(os.fork())
        if not children[-1]:
            write_pairs()
    time.sleep(random.uniform(0.03, 0.12))
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
    with closing(sqlite_file.connect(path, busy_s=5)) as reader:
        rows = sqlite_file.read_range(reader, "p", "", None, 10, False, time.time())
        assert [row.clustering for row in rows] in ([], ["left", "right"]), rows
        assert len({row.value for row in rows}) <= 1, "only one row of a batch was written"
        assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        versions.append(max((row.version for row in rows), default=versions[-1]))
assert versions == sorted(versions), versions
print("writes survived:", versions[-1])
"""

COUNTED = """
def increment(times):
    connection = sqlite_file.connect(path, busy_s=5)
    while times:
        row = sqlite_file.read(connection, "p", "n", time.time())
        value = b"%d" % (int(row.value) + 1)
        if sqlite_file.write(connection, "p", [Put("n", value, when=row.version)], time.time()) is not None:
            times -= 1
    os._exit(0)

with closing(sqlite_file.connect(path, busy_s=5)) as connection:
    sqlite_file.write(connection, "p", [Put("n", b"0")], time.time())
children = []
for _ in range(4):
    children.append(os.fork())
    if not children[-1]:
        increment(100)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
with closing(sqlite_file.connect(path, busy_s=5)) as connection:
    print(int(sqlite_file.read(connection, "p", "n", time.time()).value))
"""


def _run(script: str, path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREAMBLE + script, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_writers_killed_in_mid_write_leave_whole_batches_and_a_sound_file(tmp_path: Path) -> None:
    said = _run(KILLED, tmp_path / "store.sqlite3")
    assert int(said.rpartition(" ")[2]) > 20


def test_processes_that_write_at_once_lose_no_compare_and_set(tmp_path: Path) -> None:
    assert _run(COUNTED, tmp_path / "store.sqlite3") == "400\n"
