"""The studio when things die or run out: killed workers, bad films, a full disk."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import pytest
from studio_rig import Diary, Rig, clip, digests, ffmpeg

from redqueen.errors import Unavailable
from redqueen.studio.service import work

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]
_WORKER = Path(__file__).with_name("studio_rig.py")


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path / "data")
    yield made
    await made.close()


def _start(data: Path, owner: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(_WORKER), str(data), owner], start_new_session=True)


async def test_a_worker_that_dies_while_it_says_that_a_title_can_be_watched_leaves_that_to_the_next(
    films: Path, tmp_path: Path, rig: Rig
) -> None:
    told = rig.diary.playable

    async def dies(title_id: str, hls_path: str) -> None:
        rig.diary.playable = told  # type: ignore[method-assign]
        raise Unavailable("test", "The worker died", hint="Try again")

    rig.diary.playable = dies  # type: ignore[method-assign]
    await rig.take(clip(films / "animation_bbb_480p24_30s.mp4", 3, tmp_path))
    await rig.until_over()
    assert rig.diary.events.index("playable") < rig.diary.events.index("complete")


async def test_workers_killed_again_and_again_leave_the_same_bytes(films: Path, tmp_path: Path, rig: Rig) -> None:
    film = clip(films / "animation_bbb_480p24_30s.mp4", 12, tmp_path)
    await rig.take(film)
    await rig.until_over()
    undisturbed = digests(rig.media)

    disturbed = Rig(tmp_path / "disturbed")
    await disturbed.take(film)
    workers = {owner: _start(disturbed.data, owner) for owner in ("w0", "w1")}
    rng = random.Random(7)  # noqa: S311 - a repeatable test
    kills, until = 0, time.monotonic() + 150
    try:
        while (title := await disturbed.studio.title("t1")) is None or title.state != "complete":
            assert time.monotonic() < until, "the title was never finished"
            await anyio.sleep(rng.uniform(0.6, 1.6))
            if kills < 10:
                owner = rng.choice(list(workers))
                os.killpg(workers[owner].pid, signal.SIGKILL)
                workers[owner].wait()
                workers[owner] = _start(disturbed.data, owner)
                kills += 1
            await disturbed.studio.sweep()
    finally:
        for worker in workers.values():
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
    await disturbed.studio.sweep()
    await disturbed.close()
    assert kills >= 5
    assert digests(disturbed.media) == undisturbed


def _empty(folder: Path) -> None:
    (folder / "film").write_bytes(b"")


def _text(folder: Path) -> None:
    (folder / "film").write_text("#EXTM3U\nfile:///etc/passwd\n" * 50)


def _sound_only(folder: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-f", "mp4", folder / "film")


def _cut_off(folder: Path) -> None:
    _whole(folder / "whole.mp4")
    data = (folder / "whole.mp4").read_bytes()
    (folder / "film").write_bytes(data[: len(data) // 2])


def _cut_off_after_its_index(folder: Path) -> None:
    _whole(folder / "whole.mp4", "-movflags", "+faststart")
    data = (folder / "whole.mp4").read_bytes()
    (folder / "film").write_bytes(data[: len(data) // 2])


def _undecodable(folder: Path) -> None:
    _whole(folder / "whole.mp4", "-movflags", "+faststart")
    data = bytearray((folder / "whole.mp4").read_bytes())
    start = data.index(b"mdat") + 8
    data[start:] = random.Random(3).randbytes(len(data) - start)  # noqa: S311 - a repeatable test
    (folder / "film").write_bytes(data)


def _whole(path: Path, *options: str) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x180:r=24:d=20", "-c:v", "libx264", *options, path)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (_empty, "film.empty"),
        (_text, "film.not_a_film"),
        (_sound_only, "film.no_video"),
        (_cut_off, "film.truncated"),
        (_cut_off_after_its_index, "film.truncated"),
        (_undecodable, "film.undecodable"),
    ],
)
async def test_what_is_no_film_fails_at_once_and_says_why(
    tmp_path: Path, rig: Rig, make: Callable[[Path], None], code: str
) -> None:
    make(tmp_path)
    await rig.take(tmp_path / "film")
    await rig.until_over(workers=1, limit_s=60)
    assert rig.diary.failure is not None
    assert rig.diary.failure.code == code
    assert rig.diary.failure.what
    assert rig.diary.failure.hint
    assert await rig.jobs.waiting("studio", 10) == []


async def test_a_film_with_flipped_bits_is_encoded_as_far_as_it_can_be_decoded(tmp_path: Path, rig: Rig) -> None:
    _whole(tmp_path / "whole.mp4", "-movflags", "+faststart", "-g", "24")
    data = bytearray((tmp_path / "whole.mp4").read_bytes())
    start = data.index(b"mdat") + 8
    rng = random.Random(5)  # noqa: S311 - a repeatable test
    for _ in range(40):
        data[rng.randrange(start, len(data))] ^= 1 << rng.randrange(8)
    (tmp_path / "film").write_bytes(data)
    await rig.take(tmp_path / "film")
    await rig.until_over()
    assert rig.diary.failure is None


async def test_a_failed_title_can_be_submitted_again(tmp_path: Path, rig: Rig) -> None:
    _empty(tmp_path)
    await rig.take(tmp_path / "film")
    await rig.until_over(workers=1)
    assert rig.diary.failure is not None
    rig.diary.failure, rig.diary.over = None, anyio.Event()
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x36:r=24:d=1", "-f", "mp4", tmp_path / "film")
    await rig.take(tmp_path / "film")
    await rig.until_over(workers=1)
    assert rig.diary.failure is None


async def test_a_full_disk_costs_no_title(tmp_path: Path, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x36:r=24:d=3", "-f", "mp4", tmp_path / "film")
    asked = 0

    def room() -> bool:
        nonlocal asked
        asked += 1
        return asked % 4 != 2

    monkeypatch.setattr(rig.studio, "room", room)
    await rig.take(tmp_path / "film")
    await rig.until_over(workers=1)
    assert rig.diary.failure is None
    assert asked > 3


async def test_deleting_a_title_ends_its_work_and_removes_its_files(tmp_path: Path, rig: Rig) -> None:
    _whole(tmp_path / "film.mp4")
    await rig.take(tmp_path / "film.mp4")
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(work, rig.studio, "w0", stop)
        while "playable" not in rig.diary.events:
            await anyio.sleep(0.05)
        await rig.studio.forget("t1")
        stop.set()
    await rig.studio.forget("t1")
    assert await rig.studio.title("t1") is None
    assert await rig.jobs.waiting("studio", 10) == []
    assert not list(rig.media.rglob("*"))
    assert isinstance(rig.diary, Diary)
