"""Claim: a million forged beacons from one address are all refused, cost no memory, and take nothing from a neighbour.

One api node as a region runs it, on one core. Players of one address send beacons whose tokens are
noise or signed by another region, as fast as they are answered; a viewer behind the same address
plays on meanwhile. Afterwards is counted what was acknowledged, what lies on disk, and what the
node holds.
"""

from __future__ import annotations

import argparse
import itertools
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import anyio
import msgspec

from intake import beacon, kept, node
from record import Bar, publish, stop
from redqueen.fleet.datadir import registry_key
from redqueen.telemetry.grants import secret_of, signed
from redqueen.telemetry.model import WINDOW_S, Grant

ADDRESS = "203.0.113.9"
VIEWER_EVERY_S = 0.25
SHIPPED_S = 180.0


def grant(secret: bytes) -> str:
    """Return the token of a new session."""
    arms = {"api-r7": "canary"}
    return signed(
        secret,
        Grant(
            session=secrets.randbits(64),
            viewer=secrets.randbits(64),
            title="9f2c1a7b44d0",
            device="tv",
            zone="a",
            second=int(time.time()),
            window_s=WINDOW_S,
            arms=arms,
        ),
    )


class Storm:
    """The forgers, and the viewer among them."""

    def __init__(self, port: int, count: int, token: str) -> None:
        self._port = port
        self._left = count
        self._token = token
        foreign = secret_of(secrets.token_bytes(64))
        tokens = [secrets.token_urlsafe(90) if number % 2 else grant(foreign) for number in range(2000)]
        self._forged = itertools.cycle([beacon(token, range(1, 2), ADDRESS) for token in tokens])
        self.answers: Counter[bytes] = Counter()
        self.viewer: Counter[bytes] = Counter()

    async def run(self, forgers: int) -> None:
        """Send them all."""
        async with anyio.create_task_group() as watching:
            watching.start_soon(self._watch)
            async with anyio.create_task_group() as group:
                for _ in range(forgers):
                    group.start_soon(self._forge)
            watching.cancel_scope.cancel()

    async def _forge(self) -> None:
        async with await anyio.connect_tcp("127.0.0.1", self._port) as stream:
            while self._left > 0:
                self._left -= 1
                await stream.send(next(self._forged))
                self.answers[(await stream.receive(4096))[9:12]] += 1

    async def _watch(self) -> None:
        async with await anyio.connect_tcp("127.0.0.1", self._port) as stream:
            for number in itertools.count(1):
                await stream.send(beacon(self._token, range(number, number + 1), ADDRESS))
                self.viewer[(await stream.receive(4096))[9:12]] += 1
                await anyio.sleep(VIEWER_EVERY_S)


def until_shipped(folder: Path) -> None:
    """Wait for the node's first Parquet file: what writes it is loaded then, which is no cost of forgery."""
    ends_at = time.monotonic() + SHIPPED_S
    while not any((folder / "objects").rglob("*.parquet")):
        if time.monotonic() >= ends_at:
            sys.exit(stop(f"the node wrote no Parquet file within {SHIPPED_S:g} s"))
        time.sleep(0.5)
    time.sleep(1.0)


def main() -> int:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--forgers", type=int, default=64)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="redqueen-forged-") as name:
        folder = Path(name)
        token = grant(secret_of(registry_key(folder)))
        with node(folder, sorted(os.sched_getaffinity(0))[0]) as (port, process):
            anyio.run(Storm(port, min(5000, arguments.count // 10), token).run, arguments.forgers)
            until_shipped(folder)
            before, began = process.memory_info().rss, time.monotonic()
            storm = Storm(port, arguments.count, grant(secret_of(registry_key(folder))))
            anyio.run(storm.run, arguments.forgers)
            took_s, grown = time.monotonic() - began, process.memory_info().rss - before
        spooled = sum(path.stat().st_size for path in (folder / "telemetry").glob("*/*.jsonl"))
        found = anyio.run(kept, folder)
    told = storm.viewer.total()
    bars = [
        Bar("forged beacons that were not refused", arguments.count - storm.answers[b"400"] - storm.answers[b"429"], 0),
        Bar("a neighbour's events that were refused", told - storm.viewer[b"204"], 0),
        Bar("memory that the node gained", round(grown / 2**20, 1), 32, "MiB"),
    ]
    figures = {
        "forged": arguments.count,
        "answered_a_second": round(arguments.count / took_s),
        "told_why": storm.answers[b"400"],
        "told_to_wait": storm.answers[b"429"],
        "neighbours_events": told,
        "events_on_disk": found,
        "bytes_on_disk": spooled,
    }
    claim = str(__doc__).partition("\n")[0].removeprefix("Claim: ")
    return publish("forged", claim, bars, figures, settings=msgspec.to_builtins(vars(arguments)))


if __name__ == "__main__":
    sys.exit(main())
