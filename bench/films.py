"""The real films that benchmarks publish, and longer ones made by repeating them.

Decides where films are looked for: $REDQUEEN_TEST_FILMS, else `../shared/media` beside the
repository. Making a longer film copies packets and never encodes, so it takes seconds. Refuses,
plainly, when a film is absent or the disk too small. Enter at `find` and `repeated`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import imageio_ffmpeg

from record import REPOSITORY

FOLDER = Path(os.environ.get("REDQUEEN_TEST_FILMS", REPOSITORY.parent / "shared" / "media"))
LIVE_1080P = "live_tos_1080p2997_8s.mp4"
ANIMATION_480P = "animation_bbb_480p24_30s.mp4"


class Absent(Exception):
    """A film cannot be had; the text says why."""


def find(name: str) -> Path:
    """Return a real film. Raises Absent."""
    path = FOLDER / name
    if not path.is_file():
        raise Absent(f"{path} is not there (set REDQUEEN_TEST_FILMS to a folder with the test films)")
    return path


def repeated(picture: Path, sound: Path, seconds: float, into: Path) -> Path:
    """Make a film of `seconds` by repeating `picture`'s video and `sound`'s audio, packets unchanged."""
    needed = int(picture.stat().st_size / max(1.0, _length_s(picture)) * seconds * 1.1)
    free = shutil.disk_usage(into.parent).free
    if free < 2 * needed:
        raise Absent(f"a film of about {needed >> 20} MiB and its upload do not fit: {free >> 20} MiB are free")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y"]
    for path in (picture, sound):
        command += ["-stream_loop", "-1", "-i", str(path)]  # repeat without end; -t cuts
    command += ["-map", "0:v:0", "-map", "1:a:0", "-c", "copy", "-t", str(seconds), str(into)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        raise Absent(f"FFmpeg could not repeat {picture.name}: {done.stderr.strip()[-300:]}")
    return into


def first_frame(address: str, *, timeout_s: float = 60.0) -> str:
    """Decode the first frame at `address`; return an empty text, or what went wrong."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error"]
    command += ["-live_start_index", "0"]  # a growing playlist from its beginning, not from its end
    command += ["-i", address, "-map", "0:v:0", "-frames:v", "1", "-f", "null", "-"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"no frame within {timeout_s:g} s"
    return done.stderr.strip()[:1500] if done.returncode else ""


def _length_s(path: Path) -> float:
    frames = imageio_ffmpeg.read_frames(str(path))
    try:
        return float(next(frames)["duration"])
    finally:
        frames.close()
