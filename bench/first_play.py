"""From an upload's last byte to its first frame, for a 30-minute 1080p film, N times.

The film is a real one repeated. The clock starts when the last piece of the film begins to be
sent and stops when a client has the first frame: it polled until the title could be played, the
viewer emulator had its first video and audio segments, and FFmpeg, started beside it, had decoded
a frame. The viewer stays for a while to see whether the encode keeps ahead. Bar 5 s, aim 3 s.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import anyio

from films import ANIMATION_480P, LIVE_1080P, Absent, find, first_frame, repeated
from record import Bar, publish, spread, stop
from redqueen.cli.client import ApiClient
from redqueen.cli.upload import examine
from redqueen.testing.region import Region, RegionFailed, borrowed_or_own, clear_samples, play_link, remove
from redqueen.testing.viewer import Report, Wishes, watch

LIMIT_S, AIM_S = 5.0, 3.0
_POLL_S = 0.25


def sent(region: Region, api: ApiClient, film: Path, title: str) -> tuple[str, float, float]:
    """Send the film; return the title, when its last piece began to be sent, and when that was answered."""
    found = examine(film)
    piece_began = time.monotonic()

    def moved(done: int) -> None:
        nonlocal piece_began
        if done < found.size_bytes:
            piece_began = time.monotonic()

    receipt = region.sender(api).send(found, title=title, on_progress=moved)
    return receipt.title_id, piece_began, receipt.last_byte_at


def playable(api: ApiClient, title_id: str) -> float:
    """Poll as a client would until the title can be played; return when."""
    ends_at = time.monotonic() + 120
    while time.monotonic() < ends_at:
        told = api.get(f"/titles/{title_id}/playback")
        if told["hls"]:
            return time.monotonic()
        if told["state"] == "failed":
            raise RegionFailed(f"the film was refused: {api.get(f'/titles/{title_id}')['failure']}")
        time.sleep(_POLL_S)
    raise RegionFailed("the film could not be played within 120 s")


def decoded(address: str) -> tuple[threading.Thread, list[tuple[float, str]]]:
    """Decode the first frame in a thread; its list gets when that was done, and what went wrong."""
    ends: list[tuple[float, str]] = []

    def decode() -> None:
        failure = first_frame(address)
        ends.append((time.monotonic(), failure))

    thread = threading.Thread(target=decode)
    thread.start()
    return thread, ends


def measured(region: Region, api: ApiClient, film: Path, number: int, watch_s: float) -> dict[str, Any]:
    """Publish the film once and time its way to the first frame."""
    upload_began = time.monotonic()
    title_id, last_piece, answered = sent(region, api, film, f"First play {number}")
    can_play = playable(api, title_id)
    address = play_link(api, title_id)
    thread, ends = decoded(address)
    asked = time.monotonic()
    report: Report = anyio.run(viewed, address, watch_s)
    thread.join()
    remove(api, title_id)
    frame_at, failure = ends[0]
    if failure or report.play_delay_s is None:
        raise RegionFailed(failure or report.error or "the viewer saw no frame")
    return {
        "first_frame_s": round(max(frame_at, asked + report.play_delay_s) - last_piece, 3),
        "after_last_answer_s": round(max(frame_at, asked + report.play_delay_s) - answered, 3),
        "playable_s": round(can_play - last_piece, 3),
        "last_answer_s": round(answered - last_piece, 3),
        "play_delay_s": round(report.play_delay_s, 3),
        "decode_s": round(frame_at - asked, 3),
        "upload_s": round(answered - upload_began, 3),
        "watched_s": round(report.played_s, 1),
        "stalls": len(report.stalls),
        "stall_s": round(report.stall_s, 3),
        "error": report.error,
    }


async def viewed(address: str, watch_s: float) -> Report:
    """Watch the film's beginning."""
    return await watch(address, wishes=Wishes(duration_s=watch_s))


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a running region's data folder [a region of its own]")
    parser.add_argument("--runs", type=int, default=3, help="films to publish [3]")
    parser.add_argument("--minutes", type=float, default=30.0, help="length of the film [30]")
    parser.add_argument("--watch", type=float, default=20.0, help="seconds the viewer stays [20]")
    options = parser.parse_args()
    runs: list[dict[str, Any]] = []
    try:
        with tempfile.TemporaryDirectory(prefix="redqueen-film-") as folder:
            film = repeated(
                find(LIVE_1080P), find(ANIMATION_480P), options.minutes * 60, Path(folder) / "half an hour.mp4"
            )
            size_bytes = film.stat().st_size
            print(f"the film: {options.minutes:g} minutes, 1080p, {size_bytes >> 20} MiB", flush=True)
            with borrowed_or_own(options.data) as region, region.api() as api:
                if options.data is None:
                    clear_samples(api)
                for number in range(1, options.runs + 1):
                    runs.append(measured(region, api, film, number, options.watch))
                    print(f"run {number} of {options.runs}: {runs[-1]}", flush=True)
    except Absent as error:
        return stop(str(error))
    frames = [run["first_frame_s"] for run in runs]
    figures = {
        "first_frame_s": spread(frames),
        "median first frame, s": spread(frames)["median"],
        "aim of 3 s met by the median": spread(frames)["median"] <= AIM_S,
        "median decode in it, s": spread([run["decode_s"] for run in runs])["median"],
        "median upload, s": spread([run["upload_s"] for run in runs])["median"],
        "stalls while it was watched": sum(run["stalls"] for run in runs),
        "film, MiB": size_bytes >> 20,
        "runs": runs,
    }
    bars = [Bar("slowest first frame after the last byte", max(frames), LIMIT_S, "s")]
    claim = f"a {options.minutes:g}-minute 1080p film plays within {LIMIT_S:g} s of its last byte"
    settings = {"runs": options.runs, "minutes": options.minutes, "watch_s": options.watch}
    return publish("first_play", claim, bars, figures, settings=settings)


if __name__ == "__main__":
    sys.exit(main())
