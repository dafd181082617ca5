"""A studio on a folder of its own for tests: real engines, a real store, and proofs by decoding.

Run as a program it is one worker process: `python studio_rig.py DATA OWNER`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import anyio

from redqueen.clock import SystemClock
from redqueen.events import discard
from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.store.drivers.sqlite import SqliteRecords
from redqueen.store.jobs import Jobs
from redqueen.studio.engines import find
from redqueen.studio.model import Facts, Failure, RungProgress, SubtitleTrack
from redqueen.studio.service import Studio, work

ENGINES = find()


@dataclass
class Diary:
    """A sink that writes down what it is told."""

    events: list[str] = field(default_factory=list)
    facts: Facts | None = None
    failure: Failure | None = None
    over: anyio.Event = field(default_factory=anyio.Event)

    async def probed(self, title_id: str, facts: Facts) -> None:
        self.events.append("probed")
        self.facts = facts

    async def progress(self, title_id: str, fraction: float, rungs: Sequence[RungProgress]) -> None:
        assert 0 <= fraction <= 1
        self.events.append("progress")

    async def playable(self, title_id: str, hls_path: str) -> None:
        self.events.append("playable")

    async def poster(self, title_id: str, path: str) -> None:
        self.events.append("poster")

    async def subtitled(self, title_id: str, lang: str, label: str) -> None:
        self.events.append(f"subtitled {lang}")

    async def complete(self, title_id: str, hls_path: str, dash_path: str) -> None:
        self.events.append("complete")
        self.over.set()

    async def failed(self, title_id: str, failure: Failure) -> None:
        self.failure = failure
        self.over.set()


class Rig:
    """One data folder with a studio on it."""

    def __init__(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self.data = data
        self.diary = Diary()
        clock = SystemClock()
        self.records = SqliteRecords.open(data / "store.sqlite3", clock)
        self.objects = ObstoreObjects.folder(data / "objects")
        self.jobs = Jobs(self.records, clock)
        self.studio = Studio(
            self.records,
            self.jobs,
            self.objects,
            self.diary,
            clock,
            discard,
            scratch=data / "objects" / "work" / ".scratch",
            threads=1,
            reserve_bytes=0,
        )

    @property
    def media(self) -> Path:
        """Return the folder that gateways would serve for the title."""
        return self.data / "objects" / "media" / "t1"

    async def take(self, film: Path, subtitles: Sequence[SubtitleTrack] = ()) -> None:
        """Put a film where uploads go and submit it as title t1."""
        source = self.data / "objects" / "sources" / "t1" / "film"
        source.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(film, source)
        await self.studio.submit("t1", "sources/t1/film", subtitles)

    async def until_over(self, *and_told: str, workers: int = 2, limit_s: float = 250) -> None:
        """Work until the title is complete or failed, and these events have come."""
        stop = anyio.Event()
        with anyio.fail_after(limit_s):
            async with anyio.create_task_group() as group:
                for number in range(workers):
                    group.start_soon(work, self.studio, f"w{number}", stop)
                await self.diary.over.wait()
                while self.diary.failure is None and not set(and_told) <= set(self.diary.events):
                    await anyio.sleep(0.02)
                stop.set()

    async def close(self) -> None:
        """Let go of the store."""
        await self.records.close()


def ffmpeg(*arguments: str | Path) -> None:
    """Run FFmpeg to make test material."""
    argv = [str(ENGINES.ffmpeg), "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    subprocess.run(argv, check=True, capture_output=True)


def clip(film: Path, seconds: float, folder: Path) -> Path:
    """Cut the first seconds of a film without encoding it."""
    output = folder / film.name
    ffmpeg("-i", film, "-t", str(seconds), "-map", "0", "-c", "copy", output)
    return output


def frames(playlist: Path, kind: str) -> list[int]:
    """Decode a whole playlist and return the time of every frame, in ticks."""
    argv = [str(ENGINES.ffprobe), "-v", "error", "-select_streams", kind, "-show_entries", "frame=pts", "-of", "json"]
    done = subprocess.run([*argv, str(playlist)], check=True, capture_output=True)
    assert done.stderr == b"", done.stderr[:500]
    return [frame["pts"] for frame in json.loads(done.stdout)["frames"]]


def even(times: list[int]) -> bool:
    """Tell whether frames follow each other without a gap or an overlap."""
    return len({right - left for left, right in pairwise(times)}) <= 1


def digests(folder: Path) -> dict[str, str]:
    """Digest every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


async def _be_a_worker(data: Path, owner: str) -> None:
    await work(Rig(data).studio, owner, anyio.Event(), lease_s=3)


if __name__ == "__main__":
    anyio.run(_be_a_worker, Path(sys.argv[1]), sys.argv[2])
