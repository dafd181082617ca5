"""Kills every process of a region in turn while a hundred viewers watch, and asks whether they noticed.

A hundred emulated viewers for five minutes; a kill -9 every five seconds through all roles, the
supervisor last; an upload and an encode under way all the time. Bars: no failed session, no
stall, no lost upload, and every encode with the segment hashes of an undisturbed one.
Two thirds of the viewers watch one long film, one third short ones again and again, so that both
long sessions and starts meet the kills.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from films import ANIMATION_480P, LIVE_1080P, Absent, find, repeated
from kills import Killer
from load import Encodes, Uploads, undisturbed
from record import Bar, publish, stop
from redqueen.testing.region import Region, borrowed_or_own, clear_samples, play_link, remove
from redqueen.testing.viewer import (
    WEB_PLAYER,
    CrowdReport,
    Gathering,
    Report,
    RetryPolicy,
    Wishes,
    crowd,
)

POLICIES = {"shaka": RetryPolicy(), "web": WEB_PLAYER}


class Lag:
    """Measures how late this process itself is, so that its own slowness is not taken for the region's."""

    def __init__(self) -> None:
        self.worst_s = 0.0

    async def run(self) -> None:
        """Sleep and compare until cancelled."""
        while True:
            began = time.monotonic()
            await anyio.sleep(0.1)
            self.worst_s = max(self.worst_s, time.monotonic() - began - 0.1)


class Trial:
    """One run of the benchmark over a region that is ready."""

    def __init__(
        self, region: Region, options: argparse.Namespace, addresses: list[str], reference: dict[str, str]
    ) -> None:
        self._region = region
        self._options = options
        self._addresses = addresses
        self._lag = Lag()
        self._crowd: CrowdReport | None = None
        self.killer = Killer(region)
        self.uploads = Uploads(region, find(LIVE_1080P), seconds=20.0)
        self.encodes = Encodes(region, find(ANIMATION_480P), reference)
        self.adopted: dict[str, Any] = {}

    async def run(self) -> CrowdReport:
        """Watch, work and kill; return what the viewers saw."""
        ends_at = time.monotonic() + self._options.minutes * 60
        async with anyio.create_task_group() as eyes:
            eyes.start_soon(self.killer.watch)
            eyes.start_soon(self._lag.run)
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch_films)
                group.start_soon(self.uploads.run, ends_at)
                group.start_soon(self.encodes.run, ends_at)
                # The supervisor dies last: nobody restarts what would be killed after it.
                await self.killer.rounds(self._options.every, ends_at - 4 * self._options.every)
                await self._supervisor()
            eyes.cancel_scope.cancel()
        assert self._crowd is not None
        return self._crowd

    async def _watch_films(self) -> None:
        gathering = Gathering(duration_s=self._options.minutes * 60, stagger_s=min(20.0, self._options.minutes * 10))
        policy = POLICIES[self._options.player]
        self._crowd = await crowd(
            self._addresses, self._options.viewers, gathering=gathering, wishes=Wishes(), retry=policy, on_report=_tell
        )

    async def _supervisor(self) -> None:
        await anyio.sleep(self._options.every)
        before = self.killer.pids()
        if await self.killer.kill("supervisor", 0) is None:
            return
        await anyio.sleep(self._options.every)
        seconds = await anyio.to_thread.run_sync(self._region.up_again)
        await anyio.sleep(1.0)
        after = self.killer.pids()
        kept = sum(after.get(name) == pid for name, pid in before.items() if name != "supervisor")
        self.adopted = {"up_again_s": round(seconds, 2), "processes_before": len(before) - 1, "kept": kept}

    def figures(self, seen: CrowdReport, spent_s: float) -> dict[str, Any]:
        """Collect everything that was counted."""
        shown = asdict(seen)
        shown.pop("reports")
        troubled = [report for report in seen.reports if report.failed or report.stalls]
        return {
            **{f"viewers: {key.replace('_', ' ')}": _rounded(value) for key, value in shown.items()},
            "viewers: rebuffer ratio": round(seen.rebuffer_ratio, 6),
            "uploads whole": self.uploads.whole,
            "uploads lost": self.uploads.lost,
            "uploads whole but unchecked": self.uploads.unchecked,
            "encodes with the same hashes": self.encodes.same,
            "encodes different": self.encodes.different,
            "encodes unfinished": self.encodes.unfinished,
            "longest encode, s": round(self.encodes.longest_s, 1),
            **self.killer.figures(),
            "supervisor": self.adopted,
            "kill_list": [asdict(kill) for kill in self.killer.kills],
            "troubled_sessions": [asdict(report) for report in troubled[:20]],
            "emulator's own worst lag, s": round(self._lag.worst_s, 3),
            "emulator's CPU, s": round(spent_s, 1),
        }


def _tell(report: Report) -> None:
    if report.failed or report.stalls:
        print(
            f"          a session: {report.error or 'stalled'} {[asdict(stall) for stall in report.stalls]}", flush=True
        )


def _rounded(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


def prepared(region: Region, options: argparse.Namespace, folder: Path) -> tuple[list[str], list[str], dict[str, str]]:
    """Publish what will be watched and encode undisturbed; return titles, their addresses and the hashes."""
    short = find(ANIMATION_480P)
    long = repeated(short, short, options.minutes * 60 + 60, folder / "long.mp4")
    with region.api() as api:
        if options.data is None:
            clear_samples(api)
        print("encoding undisturbed, twice", flush=True)
        reference = undisturbed(region, api, short)
        print(f"encoding what will be watched: {options.minutes + 1:g} minutes, and 30 s", flush=True)
        titles = [
            region.publish_and_wait(api, film, title, timeout_s=3600)
            for film, title in ((long, "A long film"), (short, "A short film"))
        ]
        addresses = [play_link(api, title_id) for title_id in titles]
    return titles, [addresses[0], addresses[0], addresses[1]], reference


def bars(seen: CrowdReport, trial: Trial) -> list[Bar]:
    """State the promises."""
    idle = sum(not count for count in (seen.starts, trial.uploads.whole, trial.encodes.same, len(trial.killer.kills)))
    return [
        Bar("failed sessions", seen.failed, 0),
        Bar("stalls", seen.stalls, 0),
        Bar("lost uploads", len(trial.uploads.lost), 0),
        Bar(
            "encodes with other hashes, or unfinished", len(trial.encodes.different) + len(trial.encodes.unfinished), 0
        ),
        Bar("parts of the trial that did nothing", idle, 0),
    ]


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a running region's data folder [a region of its own]")
    parser.add_argument("--viewers", type=int, default=100, help="emulated viewers [100]")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long they watch [5]")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two kills [5]")
    parser.add_argument("--player", choices=sorted(POLICIES), default="shaka", help="whose retries [shaka's defaults]")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="redqueen-film-") as folder, borrowed_or_own(options.data) as region:
            titles, addresses, reference = prepared(region, options, Path(folder))
            trial = Trial(region, options, addresses, reference)
            spent_s = time.process_time()
            seen = anyio.run(trial.run)
            figures = trial.figures(seen, time.process_time() - spent_s)
            with region.api() as api:
                for title_id in titles:
                    remove(api, title_id)
    except Absent as error:
        return stop(str(error))
    claim = f"{options.viewers} viewers do not notice that any process is killed, every {options.every:g} s"
    settings = {name: getattr(options, name) for name in ("viewers", "minutes", "every", "player")}
    return publish("kill_any_node", claim, bars(seen, trial), figures, settings=settings)


if __name__ == "__main__":
    sys.exit(main())
