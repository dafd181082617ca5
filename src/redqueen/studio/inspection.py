"""Runs ffprobe on a stranger's file, confined, and gathers what `probe.py` needs.

A container that does not say how long the picture is, or cannot be trusted with it, has its packets
read to the end; in the others the last seconds are looked at, so that a file that was cut off is
refused now and not after hours of encoding. Enter at `inspect`.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import anyio

from redqueen.errors import InvalidInput
from redqueen.processes import Completed, Confinement, run
from redqueen.studio import probe, untrusted
from redqueen.studio.engines import Engines
from redqueen.studio.model import Facts

_STREAM = (
    "index,codec_type,codec_name,width,height,sample_aspect_ratio,pix_fmt,field_order,color_transfer,color_space,"
    "r_frame_rate,avg_frame_rate,time_base,start_pts,duration_ts,channels"
)
_ENTRIES = (
    f"format=format_name,start_time,duration:stream={_STREAM}:stream_disposition=default,attached_pic"
    ":stream_tags:stream_side_data=rotation"
)
_SCAN_WHOLE_BYTES = 256 << 20
_TAIL_S = 6
_SLACK_S = 2
_INDEXED, _STREAMED = Fraction(1, 50), Fraction(1, 10)  # how far promise and end may differ


async def inspect(engines: Engines, film: Path) -> Facts:
    """Find out what a film is. Raises InvalidInput (`film.*`), Unavailable."""
    size_bytes = (await anyio.Path(film).stat()).st_size
    if size_bytes == 0:
        raise InvalidInput("film.empty", "The file is empty", hint="Upload the film again")
    done = await _ffprobe(engines, film, ["-show_entries", _ENTRIES, "-of", "json=c=1"], timeout_s=60)
    if done.exit_code != 0:
        raise _refusal(done, _begins_like_mp4(film))
    answer = probe.decode(done.stdout)
    video = probe.picture(answer)
    return probe.understand(answer, await _end(engines, film, answer, video, size_bytes), size_bytes)


async def _end(engines: Engines, film: Path, answer: probe.Answer, video: probe.Stream, size_bytes: int) -> Fraction:
    promised = probe.promised_end(answer, video)
    indexed = answer.format is not None and answer.format.format_name.startswith("mov")
    if promised is not None and promised > probe.MAX_DURATION_S * 2:
        return promised  # refused by its length; do not look for its end
    if promised is None or (not indexed and size_bytes <= _SCAN_WHOLE_BYTES):
        found = await _last_packet(engines, film, video, [])
    else:
        found = await _last_packet(
            engines, film, video, ["-read_intervals", f"{max(0.0, float(promised) - _TAIL_S):.3f}%"]
        )
        if found is not None and found >= promised - _SLACK_S:
            return min(found, promised) if indexed else found
        if not indexed:
            found = await _last_packet(engines, film, video, [])
    if found is None:
        raise probe.truncated(0, float(promised)) if promised else probe.not_a_film("its video track holds no pictures")
    if promised is not None and found < promised - max(
        Fraction(_SLACK_S), promised * (_INDEXED if indexed else _STREAMED)
    ):
        raise probe.truncated(float(found), float(promised))
    return found


async def _last_packet(engines: Engines, film: Path, video: probe.Stream, interval: list[str]) -> Fraction | None:
    which = ["-select_streams", str(video.index), "-show_entries", "packet=pts,duration", "-of", "csv=p=0"]
    done = await _ffprobe(engines, film, [*interval, *which], timeout_s=600)
    return probe.last_end(done.stdout, video)


async def _ffprobe(engines: Engines, film: Path, arguments: list[str], timeout_s: float) -> Completed:
    argv = [str(engines.ffprobe), "-v", "error", "-hide_banner", *untrusted.MAX_ALLOC, *untrusted.SCAN_OPTIONS]
    limits = Confinement(read=(film,), memory_bytes=2 << 30, cpu_s=int(timeout_s), niceness=0)
    done = await run([*argv, *arguments, "-i", f"file:{film}"], timeout_s=timeout_s, limits=limits, tail_bytes=262_144)
    if done.exit_code != 0 and b"Cannot allocate memory" in done.stderr:
        raise InvalidInput("film.too_heavy", "The film needs too much memory", hint="Convert it and try again")
    return done


def _begins_like_mp4(film: Path) -> bool:
    with film.open("rb") as file:
        return file.read(12)[4:8] in (b"ftyp", b"mdat", b"moov", b"free", b"wide", b"skip")


def _refusal(done: Completed, like_mp4: bool) -> InvalidInput:
    said = done.stderr.decode(errors="replace")
    if "moov atom not found" in said:
        if not like_mp4:
            return probe.not_a_film("its name promises MP4 and its bytes are something else")
        return InvalidInput(
            "film.truncated",
            "The film is cut off",
            why="its index (the moov box) is missing, which is written last",
            hint="Copy the whole file and upload it again",
        )
    if "whitelist" in said:
        return probe.not_a_film("its container is not one that films come in")
    last = said.strip().splitlines()[-1:] or [f"ffprobe ended with {done.exit_code}"]
    return probe.not_a_film(last[0].rpartition(": ")[2][:200])
