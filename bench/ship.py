"""Ships versions of seven services at once to a running region while emulated viewers watch; counts whom each harmed.

Every play passes all seven. Of one service a version doubles failed starts, of one it delays plays by a fifth,
of one it answers 500 to 2% of requests, of one it is slow on televisions only; of three it is harmless, and
of all once their bad versions are through.
Each is shipped again and again as a maker ships it, without regard to the others, tried on viewers
who pass the gateways, judged by their players' events. Beside it: what a roll-out by steps of 5%
and fixed thresholds does to plays of the same kind that pass this one service
(`threshold_rollout.py`). Bars: no bad version is promoted, no harmless one rolled back, and at most a
third as many viewers are harmed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import imageio_ffmpeg

import onlookers
from record import Bar, publish, stop
from redqueen.cli.client import read_credentials
from redqueen.testing.audience import Attendance, Audience, Tally, attending
from redqueen.testing.region import NO_SAMPLES, Region, borrowed_or_own
from shipped.door import FAULTS
from threshold_rollout import RolledOut, rolled_out

DOOR = Path(__file__).resolve().parent / "shipped" / "door.py"
HARMLESS = "none"
VERDICT_S = 2400.0
SETTLE_S = 5.0
APART_S = 10.0


@dataclass(frozen=True, slots=True)
class Shipped:
    """What became of one version; times in seconds from the command's start."""

    fault: str
    verdict: str
    because: str
    first_viewer_s: float
    verdict_s: float
    plays: int
    """On the canary."""
    harmed: float
    """Plays that the version made worse until it was gone: beyond the share that went as badly without it."""
    guilty: list[str]


@dataclass(frozen=True, slots=True)
class Door:
    """One of the services that every play passes: its place among them, and what is wrong with its new versions."""

    place: int
    fault: str

    @property
    def service(self) -> str:
        """Return the service's name."""
        return f"door-{self.place}"


BAD = tuple(fault for fault in FAULTS if fault != HARMLESS)
SOUND = 3
"""So many services have harmless versions only."""


@dataclass(slots=True)
class Harmless:
    """How many harmless versions are still to be shipped, by whichever maker has nothing else."""

    left: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def taken(self) -> bool:
        """Take one; False when none is left."""
        with self.lock:
            self.left -= 1
            return self.left >= 0


DOORS = tuple(Door(place, fault) for place, fault in enumerate((*BAD, *[HARMLESS] * SOUND)))


def main(argv: Sequence[str]) -> int:
    """Ship every version so often; return 0 when every bar was met."""
    options = _options(argv)
    if not DOOR.is_file():
        return stop("bench/shipped/door.py is missing")
    attendance = Attendance(
        viewers=options.viewers,
        starts_per_minute=options.rate,
        paths=tuple(f"/{door.service}/{{title}}" for door in DOORS),
        telemetry=True,
    )
    with borrowed_or_own(options.data, settings=NO_SAMPLES) as region, tempfile.TemporaryDirectory() as scratch:
        done = _all(region, attendance, Path(scratch), options)
    beside = {
        fault: [rolled_out(fault, attendance, options.seed + k) for k in range(options.times)] for fault in FAULTS
    }
    return _publish(done, beside, options)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="a region that runs already [one of its own]")
    parser.add_argument("--times", type=int, default=10, help="how often each bad version is shipped [10]")
    parser.add_argument("--rate", type=float, default=900.0, help="plays a minute [900]")
    parser.add_argument("--viewers", type=int, default=20_000, help="how many different viewers there are")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e9, help="ship nothing new after so many minutes")
    parser.add_argument("--step-s", type=float, default=45.0, help="shortest time at a step")
    return parser.parse_args(list(argv))


def _all(region: Region, attendance: Attendance, scratch: Path, options: argparse.Namespace) -> list[Shipped]:
    credentials = read_credentials(region.data)
    headers = {"Authorization": f"Bearer {credentials.token}"}
    title = _title(region, scratch)
    for door in DOORS:
        first = region.run("ship", str(_folder(scratch, door, HARMLESS, options)), "--json", timeout_s=120.0)
        if first.returncode:
            raise SystemExit(f"the first release failed: {first.stdout[-400:]} {first.stderr[-400:]}")
    audience = Audience(credentials.address.rstrip("/"), (title,), attendance, headers=headers, seed=options.seed)
    makers, harmless = ThreadPoolExecutor(len(DOORS)), Harmless(2 * options.times)
    try:
        with attending(audience) as tally:
            time.sleep(SETTLE_S)
            work = [makers.submit(_again_and_again, region, door, scratch, tally, options, harmless) for door in DOORS]
            return [shipped for one in work for shipped in one.result()]
    finally:
        # Who is stopped waits for nobody: the ships end with their region.
        makers.shutdown(wait=False, cancel_futures=True)


def _again_and_again(
    region: Region, door: Door, scratch: Path, tally: Tally, options: argparse.Namespace, harmless: Harmless
) -> list[Shipped]:
    """Be the maker of one service; each begins a little later than the one before."""
    done: list[Shipped] = []
    time.sleep(door.place * APART_S)
    until = time.monotonic() + options.minutes * 60.0
    for fault in _versions(door, options.times, harmless):
        done.append(_ship(region, _folder(scratch, door, fault, options), door, fault, tally))
        print(json.dumps(asdict(done[-1])), flush=True)
        # What was promoted is the service from now on: the next version must meet a sound one.
        if done[-1].verdict == "promoted" and fault != HARMLESS:
            region.run("rollback", door.service, timeout_s=120.0)
        if time.monotonic() > until:
            break
    return done


def _versions(door: Door, times: int, harmless: Harmless) -> Iterator[str]:
    """Give what is wrong with a maker's versions: first with the bad ones, then nothing while any is left to ship."""
    if door.fault != HARMLESS:
        yield from [door.fault] * times
    while harmless.taken():
        yield HARMLESS


def _ship(region: Region, folder: Path, door: Door, fault: str, tally: Tally) -> Shipped:
    over = threading.Event()
    with ThreadPoolExecutor(1) as onlooking:
        base = read_credentials(region.data).address
        first = onlooking.submit(onlookers.first_answer, base, f"/{door.service}/onlooker", over.is_set)
        began, at = time.monotonic(), time.time()
        try:
            shipped = region.run("ship", str(folder), "--json", timeout_s=VERDICT_S)
        finally:
            over.set()
        verdict_s = time.monotonic() - began
    time.sleep(SETTLE_S)
    told = _release(shipped.stdout)
    trial = _json(region, "trial", "show", told["trial"], "--json")
    drawn = [play for play in tally.plays.copy() if told["trial"] in play.arms]
    canary = [play for play in drawn if play.arms[told["trial"]] == "canary"]
    others = [play.by(door.place).harmed for play in drawn if play.arms[told["trial"]] != "canary"]
    usual = sum(others) / max(1, len(others))
    return Shipped(
        fault=fault,
        verdict=told["phase"],
        because=told["because"],
        first_viewer_s=round((first.result() or float("nan")) - at, 2),
        verdict_s=round(verdict_s, 1),
        plays=len(canary),
        harmed=round(max(0.0, sum(play.by(door.place).harmed for play in canary) - usual * len(canary)), 1),
        guilty=list(trial.get("guilty", ())),
    )


def _release(lines: str) -> Any:
    """Return the release as its last line tells it."""
    told = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    return next(one for one in reversed(told) if one["kind"] == "release")


def _folder(scratch: Path, door: Door, fault: str, options: argparse.Namespace) -> Path:
    folder = scratch / f"{door.service}-{fault}-{time.time_ns()}"
    folder.mkdir()
    shutil.copy(DOOR, folder)
    (folder / "redqueen.toml").write_text(
        f'''service = "{door.service}"
owner = "bench"
command = ["python3", "door.py"]
count = 1
steps = [0.05, 0.25, 0.5]
step_s = {options.step_s}
horizon_s = {VERDICT_S - 300.0}
warm_s = 20.0
config = {{ FAULT = "{fault}" }}
routes = [{{ path = "/{door.service}" }}]
metrics = [
  {{ name = "start_failures" }},
  {{ name = "play_delay" }},
  {{ name = "request_errors" }},
  {{ name = "request_latency" }},
]
''',
        encoding="utf-8",
    )
    return folder


def _title(region: Region, scratch: Path) -> str:
    """Publish a film of a few seconds, so that encoding disturbs no figure; return its id."""
    film = scratch / "film.mp4"
    drawn = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=24:duration=4", "-c:v", "libx264", str(film)]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", *drawn], check=True, timeout=60)
    region.run("publish", str(film), "--title", "Doors", "--wait", "complete", timeout_s=120.0)
    return str(_json(region, "titles", "--json")[0]["id"])


def _json(region: Region, *arguments: str) -> Any:
    done = region.run(*arguments, timeout_s=60.0)
    return json.loads(done.stdout)


def _publish(rounds: list[Shipped], beside: dict[str, list[RolledOut]], options: argparse.Namespace) -> int:
    bad = [one for one in rounds if one.fault != HARMLESS]
    good = [one for one in rounds if one.fault == HARMLESS]
    faults = sorted({one.fault for one in bad})
    ours = sum(statistics.fmean(one.harmed for one in bad if one.fault == fault) for fault in faults)
    theirs = sum(statistics.fmean(one.harmed for one in beside[fault]) for fault in faults)
    bars = [
        Bar("bad versions promoted", sum(one.verdict == "promoted" for one in bad), 0),
        Bar("harmless versions rolled back", sum(one.verdict == "rolled back" for one in good), 0),
        Bar("harmed, as a share of the threshold roll-out's", ours / theirs if theirs else float("nan"), 1 / 3),
        Bar("ship to first viewer, worst", max(one.first_viewer_s for one in rounds), 10.0, "s"),
    ]
    first = sorted(one.first_viewer_s for one in rounds)
    figures: dict[str, Any] = {
        "ship to first viewer, median s": statistics.median(first),
        "ship to first viewer, nine of ten s": first[int(0.9 * (len(first) - 1))],
    }
    for fault in (*faults, HARMLESS):
        mine = [one for one in rounds if one.fault == fault]
        if mine:
            figures[f"{fault}: verdicts"] = ", ".join(one.verdict for one in mine)
            figures[f"{fault}: time to verdict, median s"] = statistics.median(one.verdict_s for one in mine)
            figures[f"{fault}: harmed, mean"] = statistics.fmean(one.harmed for one in mine)
            figures[f"{fault}: harmed by thresholds, mean"] = statistics.fmean(one.harmed for one in beside[fault])
            figures[f"{fault}: promoted by thresholds"] = sum(one.promoted for one in beside[fault])
    figures["rounds"] = [asdict(one) for one in rounds]
    claim = "a bad version is gone before a third of the viewers are harmed that fixed thresholds would harm"
    return publish("ship", claim, bars, figures, settings=vars(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
