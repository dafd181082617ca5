"""What the gateway adds to a request, beside nginx and Zuul 2 in the same run: latency and throughput.

One tiny native backend; the measured proxy has a core to itself, generator and backend share
the other. Rounds in turn: straight to the backend, then each proxy, so that a drift of the machine
meets all of them. Latency at a constant rate (open loop, counted from the moment a request was
due), throughput as fast as answers come. Bar: the gateway's p99 is less than 1 ms above the backend's own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from doors import HERE, PATH, Absent, Cores, Door, backend, cpu_s, nginx, ours, tool, zuul
from record import Bar, publish, stop

LIMIT_MS = 1.0


def built(folder: Path) -> str:
    """Build the constant-rate generator (Go). Raises Absent."""
    go = tool("go", "golang-go")
    target = str(folder / "constantrate")
    done = subprocess.run(
        [go, "build", "-o", target, "."], cwd=HERE / "constant_rate", capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Absent(f"the load generator could not be built: {done.stderr.strip()[-400:]}")
    return target


def asked(generator: str, cores: Cores, door: Door, options: argparse.Namespace, rate: float, lasts_s: float) -> Any:
    """Load a door once; return what the generator saw, and the CPU time the proxy took for each request."""
    command = ["taskset", "-c", str(cores.others), generator, "-port", str(door.port), "-path", PATH]
    command += ["-rate", str(rate), "-connections", str(options.connections), "-for", f"{lasts_s}s", "-warm", "0.5s"]
    before = cpu_s(list(door.pids))
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=lasts_s + 60)
    found = json.loads(done.stdout)
    found["cpu_us"] = (cpu_s(list(door.pids)) - before) / max(1, found["answers"]) * 1e6
    return found


def measured(
    generator: str, cores: Cores, doors: list[Door], options: argparse.Namespace
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Run all rounds; return by name what was seen at the constant rate, and at full speed."""
    steady: dict[str, list[Any]] = defaultdict(list)
    full: dict[str, list[Any]] = defaultdict(list)
    for door in doors:
        if door.name == "zuul":
            print("warming up the Java virtual machine", flush=True)
            asked(generator, cores, door, options, 0, options.warm)
        asked(generator, cores, door, options, options.rate, 1.0)
    for number in range(options.rounds):
        for door in doors:
            steady[door.name].append(asked(generator, cores, door, options, options.rate, options.seconds))
            full[door.name].append(asked(generator, cores, door, options, 0, options.seconds / 2))
            shown, fast = steady[door.name][-1]["sent_ms"], full[door.name][-1]["per_second"]
            print(f"round {number + 1}: {door.name:<9} p50 {_ms(shown, 'p50')} p99 {_ms(shown, 'p99')} {fast:8.0f}/s")
            sys.stdout.flush()
    return steady, full


def _ms(shown: dict[str, float] | None, key: str) -> str:
    return f"{shown[key]:7.3f} ms" if shown else "     none"


def summed(rounds: list[Any], kind: str) -> dict[str, float]:
    """Return the median over rounds of each percentile."""
    seen = [found[kind] for found in rounds if found[kind]]
    return {key: round(statistics.median(one[key] for one in seen), 4) for key in seen[0]} if seen else {}


def figures(steady: dict[str, list[Any]], full: dict[str, list[Any]]) -> dict[str, Any]:
    """Put the proxies side by side; `added` is above the backend asked straight."""
    straight = summed(steady["direct"], "sent_ms")
    table: dict[str, Any] = {}
    for name in steady:
        seen = summed(steady[name], "sent_ms")
        added = {key: round(value - straight[key], 4) for key, value in seen.items()}
        table[name] = {
            "latency_ms": seen,
            "latency_from_due_ms": summed(steady[name], "due_ms"),
            "added_ms": added if name != "direct" else {},
            "per_second": round(statistics.median(found["per_second"] for found in full[name])),
            "full_speed_latency_ms": summed(full[name], "sent_ms"),
            "cpu_us_a_request": round(statistics.median(found["cpu_us"] for found in full[name]), 1),
            "failures": [found["failures"] for found in (*steady[name], *full[name]) if found["failures"]],
            "generator_late_ms": summed(steady[name], "generator_late_ms"),
        }
    return table


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1000, help="requests per second of the constant load [1000]")
    parser.add_argument("--connections", type=int, default=16, help="kept-alive connections [16]")
    parser.add_argument("--rounds", type=int, default=5, help="rounds through all proxies [5]")
    parser.add_argument("--seconds", type=float, default=6.0, help="seconds of constant load in each round [6]")
    parser.add_argument("--warm", type=float, default=20.0, help="seconds of full load before Zuul is measured [20]")
    parser.add_argument("--without-zuul", action="store_true", help="leave Zuul out")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started ends
    cores, absent = Cores.here(), ""
    with tempfile.TemporaryDirectory(prefix="redqueen-doors-") as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        try:
            generator = built(folder)
            behind = stack.enter_context(backend(folder, cores))
            doors = [behind, stack.enter_context(ours(folder, cores, behind))]
            doors.append(stack.enter_context(nginx(folder, cores, behind)))
        except Absent as error:
            return stop(str(error))
        try:
            if not options.without_zuul:
                doors.append(stack.enter_context(zuul(folder, cores, behind)))
        except (Absent, subprocess.TimeoutExpired) as error:
            absent = str(error)
            print(f"without Zuul: {absent}", file=sys.stderr)
        steady, full = measured(generator, cores, doors, options)
    table = figures(steady, full)
    shown: dict[str, Any] = {}
    for name in steady:
        shown[f"{name}: p50 at {options.rate:g}/s, ms"] = table[name]["latency_ms"].get("p50")
        shown[f"{name}: p99 at {options.rate:g}/s, ms"] = table[name]["latency_ms"].get("p99")
        shown[f"{name}: requests/s on one core"] = table[name]["per_second"]
        shown[f"{name}: CPU a request, us"] = table[name]["cpu_us_a_request"]
    if absent:
        shown["without Zuul"] = absent
    failed = sum(sum(one.values()) for one in table["redqueen"]["failures"])
    bars = [
        Bar("gateway's added latency, p99", table["redqueen"]["added_ms"]["p99"], LIMIT_MS, "ms"),
        Bar("gateway's added latency, p50", table["redqueen"]["added_ms"]["p50"], LIMIT_MS, "ms"),
        Bar("failed requests through the gateway", failed, 0),
    ]
    claim = f"the gateway adds less than {LIMIT_MS:g} ms to a request at p99, beside nginx and Zuul 2"
    settings = {name: getattr(options, name) for name in ("rate", "connections", "rounds", "seconds")}
    return publish("gateway_beside_nginx", claim, bars, {**shown, "doors": table}, settings=settings)


if __name__ == "__main__":
    sys.exit(main())
