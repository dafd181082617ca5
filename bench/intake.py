"""Claim: one core takes 20,000 player events a second over HTTP, each on disk before it is acknowledged.

One api node as a region runs it, all its threads on one core; players on the others send beacons
over kept-alive connections, each waiting for its answer. Every event is checked (token, limits,
form), synced, folded into its session, and becomes Parquet by the node itself meanwhile. Afterwards
what was acknowledged is counted in the spool and in Parquet: nothing may be missing.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.abc
import psutil

from record import Bar, publish
from redqueen.fleet.datadir import registry_key
from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.telemetry.grants import secret_of, signed
from redqueen.telemetry.model import WINDOW_S, Grant
from redqueen.telemetry.parquet import Lake
from redqueen.testing.region import free_port

NODE = Path(__file__).with_name("intake_node.py")
NEEDED = 20_000.0
EVENTS_A_SESSION = 40
SIZES = (10, 1, 4, 40)
"""Events a request; the first is what the claim is about: a player that gathers for some seconds, or was offline."""


@dataclass(slots=True)
class Told:
    """What players sent and what was answered."""

    acknowledged: int = 0
    requests: int = 0
    refused: int = 0
    waits_s: list[float] = field(default_factory=list[float])


@contextmanager
def node(folder: Path, core: int) -> Iterator[tuple[int, psutil.Process]]:
    """Run the api node on one core."""
    port = free_port()
    with (folder / "node.log").open("wb") as log:
        command = [sys.executable, str(NODE), str(core), str(port), str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None and process.stdout.readline().strip() == b"ready"
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def requests_of(secret: bytes, size: int) -> Iterator[bytes]:
    """Make beacons without end: new sessions of new viewers, each telling EVENTS_A_SESSION events."""
    while True:
        arms = {"aa-even": secrets.choice(("a", "b")), "api-r7": secrets.choice(("control", "canary"))}
        grant = Grant(
            session=secrets.randbits(64),
            viewer=secrets.randbits(64),
            title="9f2c1a7b44d0",
            device="desktop",
            zone="a",
            second=int(time.time()),
            window_s=WINDOW_S,
            arms=arms,
            first=("aa-even",),
            release="0.4.0",
        )
        token = signed(secret, grant)
        for start in range(1, EVENTS_A_SESSION + 1, size):
            yield beacon(token, range(start, min(start + size, EVENTS_A_SESSION + 1)))


def beacon(token: str, numbers: range, address: str = "") -> bytes:
    """Return a request that tells of these events, from an address of its own or the one that is named."""
    events = [
        {
            "seq": number,
            "kind": "heartbeat",
            "at_ms": 400 * number,
            "delay_ms": 380,
            "played_ms": 350 * (number - 1),
            "stalled_ms": 0,
            "stalls": 0,
            "errors": 0,
            "bitrate_bps": 4_200_000,
            "mean_bitrate_bps": 3_900_000,
            "detail": "",
        }
        for number in numbers
    ]
    body = json.dumps({"token": token, "events": events}).encode()
    head = (
        "POST /telemetry/v1/events HTTP/1.1\r\nhost: tv\r\ncontent-type: application/json\r\n"
        f"x-forwarded-for: {address or f'203.0.113.{numbers.start % 250 + 1}'}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _player(port: int, size: int, beacons: list[bytes], told: Told, ends_at: float) -> None:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        while beacons and time.monotonic() < ends_at:
            beacon = beacons.pop()
            began = time.perf_counter()
            await stream.send(beacon)
            answer = await stream.receive(4096)
            told.requests += 1
            if answer.startswith(b"HTTP/1.1 204"):
                told.acknowledged += size
                told.waits_s.append(time.perf_counter() - began)
            else:
                told.refused += 1


async def _load(port: int, size: int, players: int, beacons: list[bytes], seconds: float) -> Told:
    told = Told()
    ends_at = time.monotonic() + seconds
    async with anyio.create_task_group() as group:
        for _ in range(players):
            group.start_soon(_player, port, size, beacons, told, ends_at)
    return told


def measured(folder: Path, size: int, seconds: float, players: int) -> dict[str, float]:
    """Load a node of its own with beacons of `size` events; return what was acknowledged a second, and how."""
    source = requests_of(secret_of(registry_key(folder)), size)
    beacons = [next(source) for _ in range(int(60_000 * (seconds + 3) / (size + 4)))]
    with node(folder, sorted(os.sched_getaffinity(0))[0]) as (port, process):
        warm = anyio.run(_load, port, size, players, [next(source) for _ in range(300)], 2.0)
        before, began = process.cpu_times(), time.monotonic()
        told = anyio.run(_load, port, size, players, beacons, seconds)
        took_s, after = time.monotonic() - began, process.cpu_times()
        memory_mib = process.memory_info().rss / 2**20
    cpu_s = after.user + after.system - before.user - before.system
    waits = sorted(told.waits_s)
    return {
        "events_a_request": size,
        "events_per_s": round(told.acknowledged / took_s),
        "requests_per_s": round(told.requests / took_s),
        "refused": told.refused,
        "acknowledged": told.acknowledged + warm.acknowledged,
        "median_ms": round(1000 * waits[len(waits) // 2], 2),
        "p99_ms": round(1000 * waits[int(len(waits) * 0.99)], 2),
        "cores_used": round(cpu_s / took_s, 2),
        "events_per_cpu_s": round(told.acknowledged / cpu_s),
        "memory_mib": round(memory_mib),
    }


async def kept(folder: Path) -> int:
    """Count the events that are in Parquet or still in the spool."""
    lake = Lake(ObstoreObjects.folder(folder / "objects"), folder / "scratch")
    now = time.time()
    for number, path in enumerate(sorted((folder / "telemetry").glob("*/*.jsonl"))):
        await lake.ship(path, f"rest-{number}")
    (found,) = await lake.query(now - 7200, now + 60, "SELECT count(*) FROM events WHERE kind <> 'grant'")
    return int(found[0])


def main() -> int:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--players", type=int, default=64)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--folder", type=Path, help="a folder on the disk to be measured (default: a temporary one)")
    arguments = parser.parse_args()
    found: list[dict[str, float]] = []
    missing = 0
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="redqueen-intake-", dir=arguments.folder) as name:
            folder = Path(name)
            found.append(measured(folder, size, arguments.seconds, arguments.players))
            missing += max(0, int(found[-1]["acknowledged"]) - anyio.run(kept, folder))
        print(found[-1], flush=True)
    first = found[0]
    bars = [
        Bar("events a second short of 20,000", max(0.0, NEEDED - first["events_per_s"]), 0.0),
        Bar("acknowledged events that are not kept", missing, 0),
        Bar("refused", sum(one["refused"] for one in found), 0),
    ]
    figures = {"events_per_s": first["events_per_s"], "p99_ms": first["p99_ms"], "by_events_a_request": found}
    settings = {"seconds": arguments.seconds, "players": arguments.players}
    return publish("intake", str(__doc__).partition("\n")[0].removeprefix("Claim: "), bars, figures, settings=settings)


if __name__ == "__main__":
    sys.exit(main())
