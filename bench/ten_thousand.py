"""Ten thousand instances at two registries and one gateway: memory, CPU, and how soon a change is everywhere.

Real registry processes, a real agent with its Envoy, a hundred subscribers of the push stream; the
instances are simulated by their words only (register, heartbeat every 10 s for a lease of 30 s, some
leaving and coming). A change is timed from the moment before it is sent: to the gateway's file on
disk (looked at every millisecond), and to each subscriber. Bar: p99 100 ms to the file, nothing lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from doors import Absent, cpu_s, free_port
from record import Bar, publish, stop
from redqueen.lean import loading

LIMIT_MS = 100.0
LEASE_S, RENEWAL_S = 30, 10
CONNECTIONS = 12


@dataclass(slots=True)
class Instance:
    """A simulated one."""

    service: str
    id: str
    port: int
    born_ms: int

    @property
    def path(self) -> str:
        """Return its place at a registry."""
        return f"/eureka/apps/{self.service.upper()}/{self.id}"

    def document(self) -> bytes:
        """Write its registration, as Eureka clients do."""
        return json.dumps(
            {
                "instance": {
                    "instanceId": self.id, "app": self.service.upper(), "hostName": "127.0.0.1", "ipAddr": "127.0.0.1",
                    "status": "UP", "overriddenstatus": "UNKNOWN", "port": {"$": self.port, "@enabled": "true"},
                    "securePort": {"$": 443, "@enabled": "false"}, "vipAddress": self.service, "countryId": 1,
                    "lastDirtyTimestamp": str(self.born_ms), "metadata": {"zone": "abc"[self.port % 3], "version": "1"},
                    "dataCenterInfo": {
                        "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn"
                    },
                    "leaseInfo": {"renewalIntervalInSecs": RENEWAL_S, "durationInSecs": LEASE_S},
                }
            }
        ).encode()  # fmt: skip


class Wire:
    """Kept-alive connections to one registry, each asking one thing at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self.failures = 0
        self.took_ms: list[float] = []

    async def open(self) -> None:
        """Connect."""
        for _ in range(CONNECTIONS):
            self._free.put_nowait(await asyncio.open_connection("127.0.0.1", self._port))

    async def ask(self, method: str, path: str, body: bytes = b"") -> int:
        """Ask once; return the status, 0 when there was no answer."""
        reader, writer = await self._free.get()
        began = time.monotonic()
        try:
            head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            if length := re.search(rb"content-length: (\d+)", answer, re.IGNORECASE):
                await reader.readexactly(int(length[1]))
            status = int(answer[9:12])
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            status = 0
            with contextlib.suppress(OSError):
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.took_ms.append((time.monotonic() - began) * 1000)
        self.failures += not 200 <= status < 300
        self._free.put_nowait((reader, writer))
        return status


@dataclass
class Clients:
    """All simulated instances."""

    wires: list[Wire]
    living: dict[str, Instance] = field(default_factory=dict[str, Instance])
    beats: int = 0
    _made: int = 0

    def one(self, services: int) -> Instance:
        """Invent an instance of the next service."""
        self._made += 1
        service = f"s{self._made % services}"
        # Ports are told, never opened: no request is sent to these.
        return Instance(service, f"{service}-{self._made}", 1024 + self._made % 64_000, int(time.time() * 1000))

    def wire(self, one: Instance) -> Wire:
        """Return the registry that an instance talks to."""
        return self.wires[one.port % len(self.wires)]

    async def register(self, one: Instance) -> None:
        """Say what it is."""
        await self.wire(one).ask("POST", f"/eureka/apps/{one.service.upper()}", one.document())
        self.living[one.id] = one

    async def leave(self, one: Instance) -> None:
        """Say farewell."""
        del self.living[one.id]
        await self.wire(one).ask("DELETE", one.path)

    async def beat(self) -> None:
        """Renew all leases evenly over each interval, for ever."""
        ticks = 100
        while True:
            began, everybody = time.monotonic(), list(self.living.values())
            for tick in range(ticks):
                part = everybody[tick::ticks]
                await asyncio.gather(*(self._renew(one) for one in part))
                await asyncio.sleep(max(0.0, began + (tick + 1) * RENEWAL_S / ticks - time.monotonic()))

    async def _renew(self, one: Instance) -> None:
        if one.id in self.living:
            await self.wire(one).ask("PUT", f"{one.path}?status=UP&lastDirtyTimestamp={one.born_ms}")
            self.beats += 1

    async def churn(self, per_s: float, services: int, dice: random.Random) -> None:
        """Let instances leave and others come, for ever."""
        while True:
            await asyncio.sleep(1 / per_s)
            await self.leave(dice.choice(list(self.living.values())))
            await self.register(self.one(services))


class Subscribers:
    """Readers of the push stream that look for a word in what they are told."""

    def __init__(self, ports: list[int], count: int) -> None:
        self._ports = [ports[number % len(ports)] for number in range(count)]
        self._word = b"\0"
        self._heard: list[float] = []
        self.ended = 0
        self.ready = 0

    def run(self) -> None:
        """Read until the process ends (in a thread of its own, so that nothing else delays it)."""
        asyncio.run(self._all())

    async def _all(self) -> None:
        await asyncio.gather(*(self._one(port) for port in self._ports))

    async def _one(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=64 << 20)
        writer.write(b"GET /registry/v1/stream HTTP/1.1\r\nhost: x\r\n\r\n")
        self.ready += 1
        tail = b""
        while piece := await reader.read(1 << 20):
            seen = tail + piece
            if self._word in seen:
                self._heard.append(time.monotonic())
                seen = b""
            tail = seen[-100:]
        self.ended += 1

    def listen_for(self, word: str) -> list[float]:
        """Begin to note when each subscriber hears a word; return the list that fills."""
        self._heard, self._word = [], word.encode()
        return self._heard


@dataclass
class Watch:
    """What one change took: to the file, and to the subscribers (milliseconds)."""

    to_own_file: list[float] = field(default_factory=list)
    """Of a service whose endpoints are a file of their own."""
    to_shared_file: list[float] = field(default_factory=list)
    """Of one whose endpoints are in the clusters' file with others'."""
    to_subscribers: list[float] = field(default_factory=list)
    lost: int = 0

    @property
    def to_file(self) -> list[float]:
        """Return all times to a file."""
        return [*self.to_own_file, *self.to_shared_file]


async def changes(clients: Clients, subscribers: Subscribers, envoy: Path, options: argparse.Namespace) -> Watch:
    """Let one instance come and go again and again, and time each change."""
    watch, ends_at = Watch(), time.monotonic() + options.seconds
    while time.monotonic() < ends_at:
        one = clients.one(options.services)
        word = re.compile(rf'"port_value":\s*{one.port}\b'.encode())
        path = _file_of(envoy, one.service)
        for comes in (True, False):
            heard = subscribers.listen_for(f'"{one.id}"')
            began = time.monotonic()
            looking = asyncio.get_running_loop().run_in_executor(None, _until, path, word, comes, began)
            await (clients.register(one) if comes else clients.leave(one))
            took_s = await looking
            if took_s is None:
                watch.lost += 1
                print(f"{one.id} was not {'in' if comes else 'out of'} {path.name} within 10 s", flush=True)
            else:
                own = path.name.startswith("eds-")
                (watch.to_own_file if own else watch.to_shared_file).append(took_s * 1000)
            await asyncio.sleep(0.25)
            watch.to_subscribers += [(at - began) * 1000 for at in heard]
            watch.lost += max(0, options.subscribers - len(heard))
    return watch


def _file_of(envoy: Path, service: str) -> Path:
    """Return where a gateway keeps a service's endpoints: in a file of their own, or among the clusters."""
    own = envoy / f"eds-{service}.json"
    return own if own.exists() else envoy / "cds.json"


def _until(path: Path, word: re.Pattern[bytes], comes: bool, began: float) -> float | None:
    """Look at a file each millisecond until it holds the word (or no longer); return the seconds since `began`."""
    known = None
    while time.monotonic() - began < 10:
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            if (found.st_ino, found.st_mtime_ns) != known:
                known = (found.st_ino, found.st_mtime_ns)
                if bool(word.search(path.read_bytes())) is comes:
                    return time.monotonic() - began
        time.sleep(0.001)
    return None


async def measured(
    ports: list[int], folder: Path, processes: dict[str, psutil.Process], options: argparse.Namespace
) -> tuple[dict[str, Any], Watch, Clients]:
    """Bring everybody up, then measure; return figures by name, the changes, the clients."""
    clients = Clients([Wire(port) for port in ports])
    for wire in clients.wires:
        await wire.open()
    empty = {name: process.memory_info().rss for name, process in processes.items()}
    began = time.monotonic()
    everybody = [clients.one(options.services) for _ in range(options.instances)]
    for start in range(0, len(everybody), 200):
        await asyncio.gather(*(clients.register(one) for one in everybody[start : start + 200]))
    registered_s = time.monotonic() - began
    print(f"{options.instances} registered in {registered_s:.1f} s", flush=True)
    subscribers = Subscribers(ports, options.subscribers)
    threading.Thread(target=subscribers.run, daemon=True).start()
    beating = asyncio.create_task(clients.beat())
    await asyncio.sleep(options.settle)
    await _in_effect(folder / "envoy", clients)
    processes |= {"Envoy": _envoy_of(folder)}
    for wire in clients.wires:
        wire.took_ms.clear()
    used = {name: cpu_s([process.pid]) for name, process in processes.items()}
    beats, began = clients.beats, time.monotonic()
    churning = asyncio.create_task(clients.churn(options.churn, options.services, random.Random(1)))  # noqa: S311
    watch = await changes(clients, subscribers, folder / "envoy", options)
    lasted_s = time.monotonic() - began
    churning.cancel()
    found: dict[str, Any] = {
        "registrations, per second (both registries)": round(options.instances / registered_s),
        "heartbeats, per second": round((clients.beats - beats) / lasted_s),
        "answers_ms": percentiles([took for wire in clients.wires for took in wire.took_ms]),
        "subscribers that ended": subscribers.ended,
    }
    for name, process in processes.items():
        found[f"{name}: memory, MiB"] = round(process.memory_info().rss / (1 << 20), 1)
        if name in empty:
            found[f"{name}: memory before, MiB"] = round(empty[name] / (1 << 20), 1)
        found[f"{name}: CPU, share of a core"] = round((cpu_s([process.pid]) - used[name]) / lasted_s, 3)
    beating.cancel()
    return found, watch, clients


async def _in_effect(envoy: Path, clients: Clients) -> None:
    """Wait until the last instance registered is in the gateway's file. Raises Absent after two minutes."""
    last = list(clients.living.values())[-1]
    word = re.compile(rf'"port_value":\s*{last.port}\b'.encode())
    for _ in range(1200):
        with contextlib.suppress(FileNotFoundError):
            if word.search(_file_of(envoy, last.service).read_bytes()):
                return
        await asyncio.sleep(0.1)
    raise Absent("the gateway does not know the instances after two minutes")


def percentiles(values: list[float]) -> dict[str, float]:
    """Sum up milliseconds."""
    ordered = sorted(values) or [float("nan")]
    at = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    return {
        **{name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) for name, share in at.items()},
        "max": round(ordered[-1], 2),
    }


def serve_registry(port: int, peer: int, snapshot: Path) -> None:
    """Be one registry, until killed."""
    with loading():
        import anyio

        from redqueen.clock import SystemClock
        from redqueen.events import discard
        from redqueen.registry import service

    async def run() -> None:
        peers = [f"http://127.0.0.1:{peer}"]
        await service.serve("127.0.0.1", port, peers, snapshot, SystemClock(), discard, lambda _: None)

    anyio.run(run, backend_options={"use_uvloop": True})


def serve_gateway(folder: Path, services: int, ports: list[int]) -> None:
    """Be one gateway's agent, fed by the registries, until killed."""
    with loading():
        import anyio

        from redqueen.clock import SystemClock
        from redqueen.events import LogLines
        from redqueen.gateway import agent
        from redqueen.gateway.model import Endpoint, GatewaySettings, Route, RouteInputs
        from redqueen.gateway.routes import default_routes
        from redqueen.registry import client
        from redqueen.roles.gateway import Translation

    class Endpoints:
        async def watch(self) -> AsyncGenerator[tuple[Endpoint, ...]]:
            known = Translation()
            async for found in client.watch([f"http://127.0.0.1:{port}" for port in ports]):
                yield known.endpoints(found)

    class Routes:
        async def read(self) -> RouteInputs:
            return RouteInputs((*default_routes(), *(Route(f"/s{n}", f"s{n}") for n in range(services))))

    settings = GatewaySettings(
        envoy_id="envoy-a-1",
        zone="a",
        listen_host="127.0.0.1",
        listen_port=free_port(),
        admin_host="127.0.0.1",
        media_root=folder / "objects" / "media",
        folder=folder,
        log=folder / "gateway.log",
    )

    async def run() -> None:
        await agent.run(settings, Endpoints(), Routes(), SystemClock(), LogLines("gateway"), drain=anyio.Event())

    anyio.run(run)


@contextmanager
def process(*arguments: object) -> Generator[psutil.Process]:
    """Run this file as one of its parts until the block ends."""
    command = [sys.executable, __file__, *map(str, arguments)]
    with subprocess.Popen(command) as started:
        try:
            yield psutil.Process(started.pid)
        finally:
            started.kill()


def _until_open(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise Absent(f"nothing listens on port {port} after 30 s")


def _envoy_of(folder: Path) -> psutil.Process:
    for _ in range(600):
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            return psutil.Process(json.loads((folder / "envoy.json").read_bytes())["pid"])
        time.sleep(0.1)
    raise Absent("the gateway's Envoy did not start within a minute")


def _end_envoy(folder: Path) -> None:
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        psutil.Process(json.loads((folder / "envoy.json").read_bytes())["pid"]).kill()


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=10_000, help="simulated instances [10000]")
    parser.add_argument(
        "--services", type=int, default=19, help="services they belong to; of more, the rest share a file [19]"
    )
    parser.add_argument("--subscribers", type=int, default=100, help="readers of the push stream [100]")
    parser.add_argument("--churn", type=float, default=5.0, help="instances that are replaced each second [5]")
    parser.add_argument("--settle", type=float, default=15.0, help="seconds before measuring [15]")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of measuring [60]")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started ends
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="redqueen-many-"))).resolve()
        folder = scratch / "gateway"
        folder.mkdir()
        ports = [free_port(), free_port()]
        try:
            first = stack.enter_context(process("registry", ports[0], ports[1], scratch / "one.json"))
            second = stack.enter_context(process("registry", ports[1], ports[0], scratch / "two.json"))
            for port in ports:
                _until_open(port)
            stack.callback(_end_envoy, folder)
            agent = stack.enter_context(process("gateway", folder, options.services, *ports))
            _envoy_of(folder)
        except Absent as error:
            return stop(str(error))
        running = {"first registry": first, "second registry": second, "agent": agent}
        try:
            found, watch, clients = asyncio.run(measured(ports, folder, running, options))
        except (psutil.Error, FileNotFoundError, Absent) as error:
            return stop(f"a measured process ended: {error}")
    to_file, to_subscribers = percentiles(watch.to_file), percentiles(watch.to_subscribers)
    figures: dict[str, Any] = {
        **found,
        "changes timed": len(watch.to_file),
        **{f"change to the gateway's file, {key}, ms": value for key, value in to_file.items()},
        "to_a_file_of_its_own_ms": percentiles(watch.to_own_file),
        "to_the_clusters_file_ms": percentiles(watch.to_shared_file),
        **{f"change to a subscriber, {key}, ms": value for key, value in to_subscribers.items()},
    }
    failures = sum(wire.failures for wire in clients.wires)
    bars = [
        Bar("change to the gateway's file, p99", to_file["p99"], LIMIT_MS, "ms"),
        Bar(f"change to each of {options.subscribers} subscribers, p99", to_subscribers["p99"], LIMIT_MS, "ms"),
        Bar("changes that did not arrive", watch.lost, 0),
        Bar("calls that failed", failures, 0),
    ]
    claim = f"with {options.instances} instances a change is at gateways and subscribers within {LIMIT_MS:g} ms (p99)"
    names = ("instances", "services", "subscribers", "churn", "seconds")
    return publish("ten_thousand", claim, bars, figures, settings={name: getattr(options, name) for name in names})


if __name__ == "__main__":
    if sys.argv[1:2] == ["registry"]:
        serve_registry(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    elif sys.argv[1:2] == ["gateway"]:
        serve_gateway(Path(sys.argv[2]), int(sys.argv[3]), [int(port) for port in sys.argv[4:]])
    else:
        sys.exit(main())
