"""The registry beside Netflix's Eureka server in one run: what a core does, and how soon readers know.

Both servers have the same core to themselves in turn, the same generator (wrk, with the words of
Netflix's Java client) has the other. Then instances come and go at both while one reader of each
looks on: a subscriber of our push stream, and Netflix's own client; all of Netflix's settings are
their defaults. Bars: at least twice the heartbeats and registrations per core, a hundredth of the delay.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx

from doors import HERE, Absent, Cores, cpu_s, free_port, tool
from record import Bar, publish, stop
from redqueen.registry import client

KINDS = ("heartbeat", "register", "read", "delta")
JAVA = HERE / "eureka_server"
OPENED = ["--add-opens", "java.base/java.util=ALL-UNNAMED", "--add-opens", "java.base/java.lang=ALL-UNNAMED"]
"""Netflix's code looks into java.base, which Java closed after it was written."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running registry."""

    name: str
    port: int
    pid: int

    @property
    def url(self) -> str:
        """Return its base address."""
        return f"http://127.0.0.1:{self.port}"


def built() -> list[str]:
    """Build Netflix's server from Maven where that was not done yet; return its classes. Raises Absent."""
    tool("java", "default-jdk-headless")
    mvn = tool("mvn", "maven")
    done = JAVA / "target" / "done"
    sources = [JAVA / "pom.xml", *JAVA.rglob("*.java")]
    if not done.exists() or done.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        print("building Netflix's server from Maven", flush=True)
        made = subprocess.run(
            [mvn, "-B", "-q", "-ntp", "process-classes"], cwd=JAVA, capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise Absent(f"Netflix's server could not be built: {made.stdout.strip()[-400:]}")
        done.touch()
    return ["-cp", f"{JAVA / 'target' / 'classes'}:{JAVA / 'target' / 'lib'}/*"]


@contextlib.contextmanager
def running(command: Sequence[str], core: int, log: Path) -> Generator[subprocess.Popen[str]]:
    """Run a program on one core until the block ends; it has printed "ready" by then. Raises Absent."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "ready":
                break
        else:
            raise Absent(f"{command[0]} ended before it was ready: {log.read_text()[-400:]}")
        yield process
    finally:
        process.kill()
        process.wait(10)


@contextlib.contextmanager
def both(classes: list[str], cores: Cores, folder: Path) -> Generator[list[Server]]:
    """Run ours and theirs."""
    ours, theirs = free_port(), free_port()
    own = [sys.executable, str(HERE / "registry_alone.py"), str(ours), str(folder)]
    netflix = ["java", *OPENED, *classes, "redqueen.bench.EurekaServer", str(theirs)]
    with (
        running(own, cores.measured, folder / "ours.log") as first,
        running(netflix, cores.measured, folder / "netflix.log") as second,
    ):
        yield [Server("ours", ours, first.pid), Server("netflix", theirs, second.pid)]


def asked(server: Server, kind: str, cores: Cores, options: argparse.Namespace, lasts_s: float) -> dict[str, Any]:
    """Load a server with one kind of call; return what was answered, and by how much of the core."""
    command = ["taskset", "-c", str(cores.others), tool("wrk", "wrk"), "-t1", f"-c{options.connections}"]
    command += [f"-d{max(1, round(lasts_s))}s", "-s", str(HERE / "eureka_calls.lua"), server.url, "--", kind]
    before_s, generator_s = cpu_s([server.pid]), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, str(options.instances)], capture_output=True, text=True, check=True, timeout=lasts_s + 60
    )
    used_s = cpu_s([server.pid]) - before_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    found["per_second"] = found["answers"] / found["lasted_s"]
    found["per_core_second"] = found["answers"] / max(used_s, 0.01)
    generator_used_s = after.ru_utime + after.ru_stime - generator_s.ru_utime - generator_s.ru_stime
    found["generator_busy"] = round(generator_used_s / found["lasted_s"], 2)
    return found


def warm(server: Server, cores: Cores, options: argparse.Namespace) -> None:
    """Register everybody; then give the Java virtual machine time to compile what it is about to do."""
    print(f"warming up {server.name}", flush=True)
    lasts_s = 2.0
    while asked(server, "register", cores, options, lasts_s)["answers"] < 1.2 * options.instances:
        lasts_s *= 2
    for kind, share in (("register", 0.4), ("heartbeat", 0.4), ("read", 0.1), ("delta", 0.1)):
        asked(server, kind, cores, options, share * options.warm if server.name == "netflix" else 1.0)


def throughput(servers: list[Server], cores: Cores, options: argparse.Namespace) -> dict[str, dict[str, list[Any]]]:
    """Measure every kind of call in turn at both; by kind and server."""
    for server in servers:
        warm(server, cores, options)
    seen: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for number in range(options.rounds):
        for kind in KINDS:
            for server in servers:
                found = asked(server, kind, cores, options, options.seconds)
                seen[kind][server.name].append(found)
                refused = found["refused"] + found["broken"]
                told = f"{found['per_core_second']:8.0f} per core second, p99 {found['p99_ms']:6.1f} ms"
                print(f"round {number + 1}: {kind:<9} {server.name:<8} {told}, refused {refused}", flush=True)
                if refused > found["answers"] / 1000:
                    raise Absent(f"{server.name} refused {refused} of {found['answers']} calls ({kind})")
    return seen


@dataclass(slots=True)
class Watched:
    """When one reader came to know of what: wall seconds by (sign, instance)."""

    known: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])

    def saw(self, sign: str, name: str, at_s: float) -> None:
        """Note the first time."""
        self.known.setdefault((sign, name), at_s)


def follow_ours(server: Server, watched: Watched, ended: threading.Event) -> None:
    """Subscribe as a gateway does."""

    async def follow() -> None:
        before: set[str] = set()
        async for instances in client.watch([server.url]):
            at_s, now = time.time(), {instance.instance_id for instance in instances}
            for name in now - before:
                watched.saw("+", name, at_s)
            for name in before - now:
                watched.saw("-", name, at_s)
            before = now

    async def until_ended() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            await anyio.to_thread.run_sync(ended.wait)
            group.cancel_scope.cancel()

    anyio.run(until_ended)


def follow_netflix(reader: subprocess.Popen[str], watched: Watched) -> None:
    """Listen to what Netflix's client knows."""
    assert reader.stdout is not None
    for line in reader.stdout:
        sign, name, wall_ms = line.split()
        watched.saw(sign, name, int(wall_ms) / 1000)


def instance(name: str) -> dict[str, Any]:
    """Make a registration."""
    kind = "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo"
    return {
        "instance": {
            "app": "COMERS",
            "instanceId": name,
            "hostName": name,
            "ipAddr": "127.0.0.1",
            "vipAddress": "comers",
            "status": "UP",
            "port": {"$": 8080, "@enabled": "true"},
            "securePort": {"$": 443, "@enabled": "false"},
            "dataCenterInfo": {"@class": kind, "name": "MyOwn"},
            "leaseInfo": {"renewalIntervalInSecs": 30, "durationInSecs": 900},
        }
    }


def named_leavers(options: argparse.Namespace) -> list[str]:
    """Name those who will leave."""
    return [f"leaver-{number}" for number in range(options.events)]


def settle(servers: list[Server], options: argparse.Namespace) -> None:
    """Register those who will leave long before that, so that Netflix's caches have them."""
    with httpx.Client(trust_env=False, timeout=30) as http:
        for server in servers:
            for name in named_leavers(options):
                http.post(f"{server.url}/eureka/v2/apps/COMERS", json=instance(name)).raise_for_status()


def propagation(
    servers: list[Server], classes: list[str], cores: Cores, folder: Path, options: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    """Let instances come and go at both; return by server the seconds until its reader knew, by sign."""
    ours, theirs = Watched(), Watched()
    ended = threading.Event()
    leavers = named_leavers(options)
    with httpx.Client(trust_env=False, timeout=10) as http:
        reader = ["java", *OPENED, *classes, "redqueen.bench.EurekaReader", f"{servers[1].url}/eureka/v2/"]
        with running(reader, cores.others, folder / "reader.log") as process:
            threads = [
                threading.Thread(target=follow_ours, args=(servers[0], ours, ended)),
                threading.Thread(target=follow_netflix, args=(process, theirs)),
            ]
            for thread in threads:
                thread.start()
            try:
                wait_until(lambda: all(("+", n) in w.known for n in leavers for w in (ours, theirs)), 40)
                done = disturb(http, servers, leavers, options.over)
                wanted = set(done["ours"])
                wait_until(lambda: wanted <= set(theirs.known) and wanted <= set(ours.known), 75)
            finally:
                ended.set()
                process.kill()
                for thread in threads:
                    thread.join(10)
    return {name: delays(done[name], watched) for name, watched in (("ours", ours), ("netflix", theirs))}


def disturb(
    http: httpx.Client, servers: list[Server], leavers: list[str], over_s: float
) -> dict[str, dict[tuple[str, str], float]]:
    """Register newcomers and remove leavers, each at a random moment; return when each was begun."""
    events = [("-", name) for name in leavers] + [("+", f"comer-{number}") for number in range(len(leavers))]
    random.shuffle(events)
    begun: dict[str, dict[tuple[str, str], float]] = {server.name: {} for server in servers}
    starts_s = sorted(random.uniform(0, over_s) for _ in events)  # noqa: S311 - not a secret
    began_s = time.monotonic()
    for at_s, (sign, name) in zip(starts_s, events, strict=True):
        time.sleep(max(0.0, began_s + at_s - time.monotonic()))
        for server in servers:
            begun[server.name][sign, name] = time.time()
            path = f"{server.url}/eureka/v2/apps/COMERS"
            answer = http.post(path, json=instance(name)) if sign == "+" else http.delete(f"{path}/{name}")
            answer.raise_for_status()
    return begun


def delays(begun: dict[tuple[str, str], float], watched: Watched) -> dict[str, list[float]]:
    """Return the seconds from each event to the reader's knowledge; infinite for what it never learnt."""
    found: dict[str, list[float]] = {"+": [], "-": []}
    for (sign, name), at_s in begun.items():
        found[sign].append(watched.known.get((sign, name), math.inf) - at_s)
    return found


def wait_until(true: Callable[[], bool], limit_s: float) -> None:
    """Wait, for so long at most; what never happened shows in the figures."""
    ends_s = time.monotonic() + limit_s
    while not true() and time.monotonic() < ends_s:
        time.sleep(0.1)


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile by rank."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, math.ceil(share * len(ranked)) - 1)]


def figures(
    seen: dict[str, dict[str, list[Any]]], delayed: dict[str, dict[str, list[float]]]
) -> tuple[list[Bar], dict[str, Any]]:
    """Make the bars and what is shown."""
    told: dict[str, Any] = {}
    shares: dict[str, float] = {}
    for kind, by_server in seen.items():
        # The best round of each: a Java virtual machine compiles for long, and neighbours only ever cost.
        rates = {name: max(one["per_core_second"] for one in found) for name, found in by_server.items()}
        told |= {f"{kind}, {name}, per core second": round(rate) for name, rate in rates.items()}
        shares[kind] = round(rates["netflix"] / rates["ours"], 4)
        told[f"{kind}, ours to netflix"] = round(rates["ours"] / rates["netflix"], 2)
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        known = {name: percentile(found["+"] + found["-"], share) for name, found in delayed.items()}
        told |= {f"known after, {name}, {label}, s": round(delay_s, 4) for name, delay_s in known.items()}
        shares[label] = round(known["ours"] / known["netflix"], 6)
        told[f"known after, netflix to ours, {label}"] = round(known["netflix"] / known["ours"], 1)
    bars = [
        Bar("Netflix's heartbeats per core, of ours", shares["heartbeat"], 0.5),
        Bar("Netflix's registrations per core, of ours", shares["register"], 0.5),
        Bar("our median delay, of Netflix's", shares["p50"], 0.01),
        Bar("our p99 delay, of Netflix's", shares["p99"], 0.01),
    ]
    rounds = {kind: {name: found for name, found in by_server.items()} for kind, by_server in seen.items()}
    return bars, {**told, "rounds": rounds, "delays_s": delayed}


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="rounds of every kind of call [2]")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of one kind at one server [3]")
    parser.add_argument("--warm", type=float, default=32.0, help="seconds to warm up Netflix's server [32]")
    parser.add_argument("--instances", type=int, default=1000, help="instances that the calls go round [1000]")
    parser.add_argument("--connections", type=int, default=32, help="connections of the generator [32]")
    parser.add_argument("--events", type=int, default=40, help="instances that come, and as many that go [40]")
    parser.add_argument("--over", type=float, default=30.0, help="seconds over which they come and go [30]")
    options = parser.parse_args()
    cores = Cores.here()
    os.sched_setaffinity(0, {cores.others})
    try:
        tool("taskset", "util-linux")
        tool("wrk", "wrk")
        classes = built()
        with tempfile.TemporaryDirectory() as name, both(classes, cores, Path(name)) as servers:
            settle(servers, options)
            seen = throughput(servers, cores, options)
            print("watching instances come and go (a minute and a half)", flush=True)
            delayed = propagation(servers, classes, cores, Path(name), options)
    except Absent as reason:
        return stop(str(reason))
    bars, told = figures(seen, delayed)
    claim = "twice Eureka's heartbeats and registrations per core; readers know a hundred times sooner"
    return publish("registry_beside_eureka", claim, bars, told, settings=vars(options))


if __name__ == "__main__":
    sys.exit(main())
