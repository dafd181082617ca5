"""How long a region takes to start: `redqueen up` until it serves, warm, N times.

Serving means more than that `up` came back: the public address answers a health request through
a gateway, and the front page. The first start makes the data folder and is reported by itself.
Bar: 15 s on two cores.
"""

from __future__ import annotations

import argparse
import sys
import time

import httpx

from record import Bar, publish, spread
from redqueen.testing.region import Region, RegionFailed, clear_samples, free_port, temporary

LIMIT_S = 15.0


def started(region: Region, *arguments: str) -> float:
    """Start the region; return the seconds until it answers at its public address."""
    began = time.monotonic()
    region.up(*arguments)
    with region.api() as api:
        address = api.address
        api.get("/fleet")
    for path in ("/api/v1/health", "/"):
        answer = httpx.get(f"{address}{path}", timeout=10, trust_env=False)
        if answer.status_code != 200:
            raise RegionFailed(f"{address}{path} was answered {answer.status_code}")
    return time.monotonic() - began


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="warm starts to measure [5]")
    options = parser.parse_args()
    starts: list[float] = []
    stops: list[float] = []
    with temporary() as region:
        port = str(free_port())
        first = started(region, "--port", port)
        with region.api() as api:
            clear_samples(api)
        stops.append(region.down())
        for number in range(options.runs):
            starts.append(started(region, "--port", port))
            stops.append(region.down())
            print(f"start {number + 1} of {options.runs}: {starts[-1]:.2f} s, stop {stops[-1]:.2f} s", flush=True)
    figures = {
        "start_s": spread(starts),
        "stop_s": spread(stops),
        "first start (new data folder), s": round(first, 3),
        "median start, s": round(spread(starts)["median"], 3),
        "starts": [round(value, 3) for value in starts],
    }
    claim = f"`redqueen up` serves within {LIMIT_S:g} s, warm"
    bars = [Bar("slowest warm start", round(max(starts), 3), LIMIT_S, "s")]
    return publish("start", claim, bars, figures, settings={"runs": options.runs})


if __name__ == "__main__":
    sys.exit(main())
