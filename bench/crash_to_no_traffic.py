"""How long a killed instance still gets traffic: 200 kills at load, own nodes and foreign Eureka clients.

A region of its own runs a declared service (own nodes) and small HTTP processes that only speak
Eureka, with leases of 90 s (foreign). Load goes to both through the gateways while one instance
after the other is killed with SIGKILL and comes back. The end of traffic is the later of two: the
last time a gateway tried the dead address (its log), and the moment the address left every
gateway's file. Bars: p99 1 s for own nodes, and no failed GET.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from doors import Absent
from foreign import Herd, registries_of
from gateway_beside_nginx import built
from record import Bar, publish, stop
from redqueen.cli.client import ApiClient
from redqueen.errors import RedQueenError
from redqueen.testing.region import Region, clear_samples, free_port, temporary

OWN, FOREIGN = "quick", "stranger"
LIMIT_S = 1.0
_PATIENCE_S = 60.0
HERE = Path(__file__).resolve().parent


_EARLIER_S = 0.25
"""Seconds for which a request may have been under way when its instance was killed."""


@dataclass(slots=True)
class Kill:
    """One instance killed (wall clock): who, how, where it listened, and when traffic to it ended."""

    kind: str
    node: str
    how: str
    address: str
    at: float
    left_s: float | None = None
    """Seconds until the address had left every gateway's file."""
    tried_s: float = 0.0
    """Seconds until the last try that failed at the address."""
    tries: int = 0

    @property
    def quiet_s(self) -> float | None:
        """Seconds until it got no traffic any more."""
        return None if self.left_s is None else max(self.left_s, self.tried_s)


@dataclass
class Files:
    """Follows the gateways' endpoint files: when which address was in which."""

    folders: list[Path]
    seen: dict[tuple[str, str], list[tuple[float, frozenset[str]]]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def _watch(self) -> None:
        known: dict[Path, tuple[int, int]] = {}
        while not self._ended.wait(0.002):
            for folder in self.folders:
                for service in (OWN, FOREIGN):
                    self._look(folder / f"eds-{service}.json", (folder.parent.name, service), known)

    def _look(self, path: Path, key: tuple[str, str], known: dict[Path, tuple[int, int]]) -> None:
        try:
            found = path.stat()
            if known.get(path) != (found.st_ino, found.st_mtime_ns):
                self.seen[key].append((time.time(), addresses(path.read_bytes())))
                known[path] = (found.st_ino, found.st_mtime_ns)
        except (OSError, ValueError):
            return

    def left(self, service: str, address: str, since: float) -> float | None:
        """Return when (wall) the address had left all gateways' files after `since`; None if it has not."""
        moments = []
        for folder in self.folders:
            history = list(self.seen[(folder.parent.name, service)])
            before = [known for at, known in history if at <= since]
            if before and address not in before[-1]:
                continue  # this gateway had let go of it already
            gone = [at for at, known in history if at > since and address not in known]
            if not gone:
                return None
            moments.append(gone[0])
        return max(moments, default=since)

    def holds(self, service: str, address: str) -> bool:
        """Tell whether every gateway has the address now."""
        histories = [self.seen[(folder.parent.name, service)] for folder in self.folders]
        return all(history and address in history[-1][1] for history in histories)

    def close(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join(5)


def addresses(document: bytes) -> frozenset[str]:
    """List the endpoints that a gateway's file gives requests to."""
    found: list[str] = []
    for resource in json.loads(document)["resources"]:
        for group in resource.get("endpoints", ()):
            for host in group["lb_endpoints"]:
                where = host["endpoint"]["address"]["socket_address"]
                if host.get("health_status", "HEALTHY") != "DRAINING":
                    found.append(f"{where['address']}:{where['port_value']}")
    return frozenset(found)


class Trial:
    """One run over a region that is ready."""

    def __init__(self, region: Region, options: argparse.Namespace) -> None:
        self.region = region
        self.options = options
        self.kills: list[Kill] = []
        self.unready = 0
        folders = sorted(region.data.glob("nodes/gateway-*/envoy"))
        self.files = Files(folders)
        self.herd = Herd(FOREIGN, registries_of(region.data))
        self._dice = random.Random(5)  # noqa: S311 - the same order on every run

    def declare(self, api: ApiClient) -> None:
        """Declare the own service and wait until all of both kinds are in every gateway."""
        api.put(f"/services/{OWN}", declaration(self.options))
        for _ in range(self.options.foreigners):
            self.herd.add()
        ends_at = time.monotonic() + _PATIENCE_S
        while time.monotonic() < ends_at:
            wanted = [one["address"] for one in self.instances(api)]
            strangers = [f"127.0.0.1:{one.port}" for one in self.herd.members]
            if (
                len(wanted) >= self.options.instances
                and all(self.files.holds(OWN, address) for address in wanted)
                and all(self.files.holds(FOREIGN, address) for address in strangers)
            ):
                return
            time.sleep(0.2)
        raise Absent("the services were not in the gateways within a minute")

    def instances(self, api: ApiClient) -> list[dict[str, Any]]:
        """List the own service's instances that are up."""
        return [one for one in api.get(f"/services/{OWN}")["instances"] if one["state"] == "up" and one["pid"]]

    def run(self, api: ApiClient) -> None:
        """Kill in turn, own and foreign, evenly over the time."""
        plan = [OWN] * self.options.own + [FOREIGN] * self.options.foreign
        self._dice.shuffle(plan)
        due = time.monotonic()
        for number, kind in enumerate(plan):
            time.sleep(max(0.0, due - time.monotonic()))
            kill = self._kill_own(api) if kind == OWN else self._kill_foreign()
            if kill is None:
                self.unready += 1
            elif number % 10 == 0:
                print(f"{number:4}/{len(plan)} killed {kill.node} ({kill.how}) at {kill.address}", flush=True)
            due = max(due + self.options.every, time.monotonic())
        time.sleep(3.0)

    def _kill_own(self, api: ApiClient) -> Kill | None:
        """Kill the instance that has lived longest: its own process, or each third time the node beside it."""
        latest = {kill.node: kill.at for kill in self.kills}
        for _ in range(50):
            try:
                ready = [one for one in self.instances(api) if self.files.holds(OWN, one["address"])]
            except RedQueenError:
                ready = []
            ready = [one for one in ready if time.time() - latest.get(one["id"], 0.0) > 2.0]
            if len(ready) > 1:
                chosen = min(ready, key=lambda one: latest.get(one["id"], 0.0))
                children = psutil.Process(chosen["pid"]).children()
                whole = not children or len(self.kills) % 3 == 2
                pid = chosen["pid"] if whole else children[0].pid
                how = "the node" if whole else "its process"
                os.kill(pid, signal.SIGKILL)
                self.kills.append(Kill(OWN, chosen["id"], how, chosen["address"], time.time()))
                return self.kills[-1]
            time.sleep(0.1)
        return None

    def _kill_foreign(self) -> Kill | None:
        """Kill the foreign instance that has lived longest, and start another."""
        for _ in range(50):
            living = [one for one in self.herd.members if not one.killed_at]
            ready = [one for one in living if self.files.holds(FOREIGN, f"127.0.0.1:{one.port}")]
            if len(ready) > 1:
                at = time.time()
                self.herd.kill(ready[0])
                self.kills.append(Kill(FOREIGN, ready[0].id, "its process", f"127.0.0.1:{ready[0].port}", at))
                self.herd.add()
                return self.kills[-1]
            time.sleep(0.1)
        return None

    def judge(self) -> None:
        """Work out from files and logs when each killed instance was left alone."""
        tried = failed_tries(self.region.data / "logs")
        for kill in self.kills:
            left = self.files.left(kill.kind, kill.address, kill.at)
            kill.left_s = None if left is None else round(left - kill.at, 4)
            # The address may serve again: only tries before its next life's end count. A line bears the moment
            # at which its request began, which is a little before the kill that it met.
            until = min((k.at for k in self.kills if k.address == kill.address and k.at > kill.at), default=1e12)
            moments = [at for at in tried.get(kill.address, ()) if kill.at - _EARLIER_S <= at < until - _EARLIER_S]
            kill.tries = len(moments)
            kill.tried_s = round(max(0.0, max(moments, default=kill.at) - kill.at), 4)


def declaration(options: argparse.Namespace) -> dict[str, Any]:
    """Say what the own service is; its second route leads to the foreign ones."""
    return {
        "name": OWN,
        "owner": "bench",
        "command": [sys.executable, "-I", "-S", str(HERE / "small_node.py")],
        "directory": str(HERE),
        "count": options.instances,
        "timings": {"start_s": 20.0, "drain_s": 1.0, "stop_s": 2.0},
        "routes": [{"path": f"/{OWN}"}, {"path": f"/{FOREIGN}", "service": FOREIGN}],
    }


def failed_tries(logs: Path) -> dict[str, list[float]]:
    """Read from the gateways' logs when tries at an address failed (wall clock)."""
    found: dict[str, list[float]] = defaultdict(list)
    for path in logs.glob("gateway-*.log*"):
        for line in path.read_bytes().splitlines():
            if b'"Attempt"' not in line:
                continue
            try:
                told = json.loads(line)
                if told["event"] == "Attempt" and told.get("upstream"):
                    moment = datetime.fromisoformat(told["time"].replace("Z", "+00:00")).timestamp()
                    found[told["upstream"]].append(moment)
            except (ValueError, KeyError):
                continue
    return found


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Sum up durations."""
    ordered = sorted(values)
    if not ordered:
        return {}
    at = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    return {
        **{name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4) for name, share in at.items()},
        "max": round(ordered[-1], 4),
    }


def loads(generator: str, port: int, options: argparse.Namespace, lasts_s: float) -> list[subprocess.Popen[str]]:
    """Begin asking both services at a constant rate."""
    found = []
    for path in (f"/{OWN}/x", f"/{FOREIGN}/x"):
        command = [generator, "-port", str(port), "-path", path, "-rate", str(options.rate), "-connections", "8"]
        command += ["-warm", "0s", "-for", f"{lasts_s}s"]
        found.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    return found


def figures(trial: Trial, seen: dict[str, Any]) -> dict[str, Any]:
    """Put together what was found for each kind."""
    found: dict[str, Any] = {}
    for kind, name in ((OWN, "own"), (FOREIGN, "foreign")):
        kills = [kill for kill in trial.kills if kill.kind == kind]
        quiet = percentiles([kill.quiet_s for kill in kills if kill.quiet_s is not None])
        found[f"{name}: kills"] = len(kills)
        for key, value in quiet.items():
            found[f"{name}: crash to no traffic, {key}, s"] = value
        found[f"{name}: never left"] = sum(kill.quiet_s is None for kill in kills)
        found[f"{name}: tries at dead instances"] = sum(kill.tries for kill in kills)
        found[f"{name}_left_the_files_s"] = percentiles([kill.left_s for kill in kills if kill.left_s is not None])
        found[f"{name}_last_failed_try_s"] = percentiles([kill.tried_s for kill in kills])
        found[f"{name}: GETs answered"] = seen[kind]["answers"]
        found[f"{name}: GETs failed"] = sum(seen[kind]["failures"].values())
        found[f"{name}_failures"] = seen[kind]["failures"]
        found[f"{name}_latency_ms"] = seen[kind]["due_ms"]
    by_how: dict[str, list[float]] = defaultdict(list)
    for kill in trial.kills:
        if kill.quiet_s is not None:
            by_how[f"{kill.kind}: {kill.how}"].append(kill.quiet_s)
    found["by_what_was_killed_s"] = {how: percentiles(values) for how, values in by_how.items()}
    found["kills that found nobody ready"] = trial.unready
    found["kill_list"] = [{**asdict(kill), "quiet_s": kill.quiet_s} for kill in trial.kills]
    return found


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--own", type=int, default=140, help="kills of own nodes [140]")
    parser.add_argument("--foreign", type=int, default=60, help="kills of foreign Eureka clients [60]")
    parser.add_argument("--every", type=float, default=1.4, help="seconds between two kills [1.4]")
    parser.add_argument("--instances", type=int, default=6, help="instances of the own service [6]")
    parser.add_argument("--foreigners", type=int, default=4, help="foreign instances [4]")
    parser.add_argument("--rate", type=float, default=100, help="GETs a second to each service [100]")
    options = parser.parse_args()
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="redqueen-crash-"))
            generator = built(Path(folder))
            region = stack.enter_context(temporary())
            port = free_port()
            region.up("--port", str(port))
            api = stack.enter_context(region.api())
            clear_samples(api)
            trial = Trial(region, options)
            stack.callback(trial.herd.close)
            trial.files.start()
            stack.callback(trial.files.close)
            trial.declare(api)
        except Absent as error:
            return stop(str(error))
        lasts_s = (options.own + options.foreign) * options.every + 8
        print(f"{options.own} + {options.foreign} kills in about {lasts_s:.0f} s", flush=True)
        running = loads(generator, port, options, lasts_s)
        stack.callback(lambda: [process.kill() for process in running])
        time.sleep(2.0)
        trial.run(api)
        outputs = [process.communicate(timeout=lasts_s + 60)[0] for process in running]
        seen = dict(zip((OWN, FOREIGN), map(json.loads, outputs), strict=True))
        time.sleep(1.5)  # the gateways' logs are flushed each second
        trial.judge()
    found = figures(trial, seen)
    bars = [
        Bar("own nodes: crash to no traffic, p99", found.get("own: crash to no traffic, p99, s", 1e9), LIMIT_S, "s"),
        Bar("failed GETs, own nodes", found["own: GETs failed"], 0),
        Bar("failed GETs, foreign clients", found["foreign: GETs failed"], 0),
        Bar("killed instances that never left", found["own: never left"] + found["foreign: never left"], 0),
        Bar("kills that could not be made", trial.unready, 0),
    ]
    claim = f"a killed instance gets no traffic after {LIMIT_S:g} s (p99), and no GET fails"
    settings = {name: getattr(options, name) for name in ("own", "foreign", "every", "instances", "foreigners", "rate")}
    return publish("crash_to_no_traffic", claim, bars, found, settings=settings)


if __name__ == "__main__":
    sys.exit(main())
