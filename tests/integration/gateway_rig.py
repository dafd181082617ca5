"""A gateway for tests: real Envoy, tiny HTTP backends of their own processes, keys and tokens.

Run as a script it is an agent in a process of its own, which a test can kill: its endpoints are a
JSON file that the test rewrites.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from redqueen import processes
from redqueen.clock import SystemClock
from redqueen.events import Event
from redqueen.gateway import agent
from redqueen.gateway.figures import Kept
from redqueen.gateway.model import Endpoint, GatewaySettings, GatewayState, MediaKeys, RouteInputs
from redqueen.gateway.ports import PlayerSink
from redqueen.gateway.routes import default_routes
from redqueen.gateway.transport import TlsEdge
from redqueen.processes import ProcessId
from redqueen.telemetry.model import LATENCY_BOUNDS_MS
from redqueen.testing.region import free_port

SECRET = "the-secret-beside-the-media-folder"
KEY = Ed25519PrivateKey.from_private_bytes(b"redqueen gateway tests, key one.")
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"redqueen gateway tests, key two.")

_BACKEND = """
import sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
name = sys.argv[1]
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536
    def answer(self):
        size = int(self.headers.get("content-length") or 0)
        got = len(self.rfile.read(size))
        if self.path.startswith("/api/slow"):
            time.sleep(0.1)
        heads = "\\n".join(f"{key.lower()}: {value}" for key, value in self.headers.items())
        body = f"{name} {self.path} {got}\\n{heads}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
    do_GET = do_HEAD = do_POST = do_PATCH = do_OPTIONS = answer
    def log_message(self, *args): pass
class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
server = Server(("127.0.0.1", int(sys.argv[2])), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def jwks(key: Ed25519PrivateKey = KEY) -> str:
    public = json.loads(OKPAlgorithm.to_jwk(key.public_key()))
    return json.dumps({"keys": [{**public, "kid": "k1", "alg": "EdDSA"}]})


def token(*titles: str, key: Ed25519PrivateKey = KEY, ttl_s: float = 21_600, **claims: Any) -> str:
    """Sign a token; modules make theirs when they are collected, and a suite may be long."""
    payload = {"iss": "redqueen", "exp": int(time.time() + ttl_s), "titles": list(titles), **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, key, algorithm="EdDSA", headers={"kid": "k1"})


@dataclass
class Backend:
    """An HTTP server in a process of its own that tells who it is."""

    name: str
    process: subprocess.Popen[str]
    port: int

    def endpoint(self, zone: str = "a") -> Endpoint:
        return Endpoint("api", self.name, "127.0.0.1", self.port, zone)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def backends(*names: str) -> Iterator[list[Backend]]:
    started: list[Backend] = []
    try:
        for name in names:
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", _BACKEND, name, "0"], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            started.append(Backend(name, process, int(process.stdout.readline())))
        yield started
    finally:
        for backend in started:
            backend.kill()
            assert backend.process.stdout is not None
            backend.process.stdout.close()


class Endpoints:
    """An endpoint source that a test changes."""

    def __init__(self, *endpoints: Endpoint) -> None:
        self.now = endpoints
        self._changed = anyio.Event()

    def set(self, *endpoints: Endpoint) -> None:
        self.now = endpoints
        self._changed.set()

    async def watch(self) -> AsyncIterator[tuple[Endpoint, ...]]:
        while True:
            self._changed = anyio.Event()
            yield self.now
            await self._changed.wait()


@dataclass
class Routes:
    """A route source that a test changes."""

    now: RouteInputs = field(default_factory=lambda: RouteInputs(default_routes(), MediaKeys(jwks())))

    async def read(self) -> RouteInputs:
        return self.now


@dataclass
class Gateway:
    """A running gateway and everything it said."""

    settings: GatewaySettings
    url: str
    drain: anyio.Event
    events: list[Event] = field(default_factory=list)
    states: list[GatewayState] = field(default_factory=list)
    envoys: list[ProcessId | None] = field(default_factory=list)

    async def until_state(self, wanted: Any, *, within_s: float = 30) -> GatewayState:
        with anyio.fail_after(within_s):
            while not (self.states and wanted(self.states[-1])):
                await anyio.sleep(0.002)
        return self.states[-1]


def settings_in(
    folder: Path, port: int, *, zone: str = "a", number: int = 1, tls: TlsEdge | None = None
) -> GatewaySettings:
    return GatewaySettings(
        envoy_id=f"envoy-{zone}-{number}",
        zone=zone,
        listen_host="127.0.0.1",
        listen_port=port,
        admin_host="127.0.0.1",
        media_root=folder / "objects" / "media",
        folder=folder / "nodes" / f"gateway-{zone}-{number}",
        log=folder / "logs" / f"gateway-{zone}-{number}.log",
        drain_s=1.0,
        handover_s=2.0,
        tls=tls,
        latency_bounds_ms=LATENCY_BOUNDS_MS,
    )


def put_media(folder: Path) -> Path:
    root = folder / "objects" / "media"
    (root / "t1" / "v").mkdir(parents=True)
    (root / "t2").mkdir()
    (root / "t1" / "master.m3u8").write_text("#EXTM3U\nv/1.m4s\n")
    (root / "t1" / "v" / "1.m4s").write_bytes(bytes(range(256)) * 40)
    (root / "t1" / "poster.jpg").write_bytes(b"jpeg")
    (root / "t1" / "v" / "2.m4s#1").write_text(SECRET)
    (root / "t1" / ".hidden.m4s").write_text(SECRET)
    (root / "t1" / "notes.txt").write_text(SECRET)
    (root / "t2" / "master.m3u8").write_text(SECRET)
    for place in (folder / "secret.m4s", root.parent / "secret.m4s", root.parent / "secret.m3u8"):
        place.write_text(SECRET)
    return root


@asynccontextmanager
async def gateway(
    folder: Path,
    endpoints: Any,
    routes: Any,
    *,
    port: int | None = None,
    zone: str = "a",
    number: int = 1,
    tls: TlsEdge | None = None,
    figures: Kept | None = None,
    players: PlayerSink | None = None,
    otlp_url: str = "",
) -> AsyncIterator[Gateway]:
    """Run an agent in this process; its Envoy is ended with the block."""
    port = port or free_port()
    settings = replace(settings_in(folder, port, zone=zone, number=number, tls=tls), otlp_url=otlp_url)
    running = Gateway(settings, f"http://127.0.0.1:{port}", anyio.Event())
    async with anyio.create_task_group() as group:

        async def run(task_status: anyio.abc.TaskStatus[None]) -> None:
            await agent.run(
                settings,
                endpoints,
                routes,
                SystemClock(),
                running.events.append,
                drain=running.drain,
                report=running.states.append,
                on_envoy=running.envoys.append,
                figures=figures,
                players=players,
                task_status=task_status,
            )

        try:
            with anyio.fail_after(30):
                await group.start(run)
            yield running
        finally:
            group.cancel_scope.cancel()
            end_envoy(settings.folder)


def envoy_of(folder: Path) -> ProcessId:
    record = json.loads((folder / "envoy.json").read_bytes())
    return ProcessId(record["pid"], record["started_s"])


def end_envoy(folder: Path) -> None:
    with suppress(FileNotFoundError):
        process = envoy_of(folder)
        processes.send_signal(process, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(process.pid, 0)
        base_id = json.loads((folder / "envoy.json").read_bytes())["base_id"]
        Path(f"/dev/shm/envoy_shared_memory_{base_id * 10}").unlink(missing_ok=True)


async def answers(client: httpx.AsyncClient, url: str, *, within_s: float = 30) -> httpx.Response:
    """Ask until something answers at all."""
    with anyio.fail_after(within_s):
        while True:
            with suppress(httpx.TransportError):
                return await client.get(url)
            await anyio.sleep(0.002)


class _FileEndpoints:
    def __init__(self, path: Path) -> None:
        self._path = path

    async def watch(self) -> AsyncIterator[tuple[Endpoint, ...]]:
        known = b""
        while True:
            now = self._path.read_bytes()
            if now != known:
                known = now
                yield msgspec.json.decode(now, type=tuple[Endpoint, ...])
            await anyio.sleep(0.01)


async def _main(folder: Path, port: int) -> None:
    settings = settings_in(folder, port)
    endpoints = _FileEndpoints(folder / "endpoints.json")
    await agent.run(settings, endpoints, Routes(), SystemClock(), lambda event: None, drain=anyio.Event())


if __name__ == "__main__":
    anyio.run(_main, Path(sys.argv[1]), int(sys.argv[2]))
