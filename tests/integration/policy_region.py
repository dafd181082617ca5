"""A gateway with a service for each policy, for tests that only look: real Envoy, backends in this process.

Everything runs in one thread of its own with its own event loop, so that a whole file of tests
shares one gateway and asks it over plain sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from anyio.from_thread import start_blocking_portal
from gateway_rig import Endpoints, Gateway, Routes, free_port, gateway, jwks

from redqueen.gateway.model import Endpoint, MediaKeys, Route, RouteInputs, Service
from redqueen.gateway.routes import default_routes


@dataclass
class Asked:
    """A request as a backend saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Node:
    """One backend: what it does is in the path it is asked for, or set by a test."""

    name: str
    service: str
    zone: str = "a"
    port: int = 0
    capacity: int = 10_000
    asked: list[Asked] = field(default_factory=list)
    fails: bool = False
    slow_s: float = 0.0

    def endpoint(self) -> Endpoint:
        return Endpoint(self.service, self.name, "127.0.0.1", self.port, self.zone)

    async def start(self) -> asyncio.Server:
        self._free = asyncio.Semaphore(self.capacity)
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 20, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = await _read(reader)
                self.asked.append(asked)
                if not await self._answer(asked, reader, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        kind = asked.path.partition("?")[0].rsplit("/", 1)[-1]
        if asked.headers.get("upgrade", "").lower() == "websocket":
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
            while said := await reader.read(4096):
                writer.write(said)
                await writer.drain()
            return False
        if kind == "cut":
            return False
        if kind == "events":
            return await _send_events(writer)
        async with self._free:
            await asyncio.sleep({"slow": 0.4, "stuck": 20.0}.get(kind, self.slow_s))
        await _send(writer, *self._content(kind, asked))
        return True

    def _content(self, kind: str, asked: Asked) -> tuple[int, str, bytes]:
        if self.fails:
            return 503, "text/plain", b"not now"
        if kind == "page":
            return 200, "text/html; charset=utf-8", b"<p>the same again</p>" * 400
        if kind == "segment":
            return 200, "video/mp4", b"the same again" * 400
        return 200, "text/plain", f"{self.name} {asked.method} {asked.path}".encode()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, path, headers, body)


async def _send(writer: asyncio.StreamWriter, status: int, kind: str, body: bytes) -> None:
    head = f'HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\netag: "1"\r\ncontent-length: {len(body)}\r\n\r\n'
    writer.write(head.encode() + body)
    await writer.drain()


async def _send_events(writer: asyncio.StreamWriter) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
    for number in range(6):
        writer.write(b"data: event %d %s\n\n" % (number, b"x" * 600))
        await writer.drain()
        await asyncio.sleep(0.15)
    return False


@dataclass
class PolicyRegion:
    """A running gateway, its nodes by name, and the endpoint source that a test may change."""

    running: Gateway
    nodes: dict[str, Node]
    endpoints: Endpoints

    @property
    def port(self) -> int:
        return self.running.settings.listen_port

    @property
    def url(self) -> str:
        return self.running.url

    def asked(self, service: str, path: str = "") -> list[Asked]:
        """Return what the nodes of a service were asked under a path."""
        nodes = (node for node in self.nodes.values() if node.service == service)
        return [asked for node in nodes for asked in node.asked if asked.path.startswith(path)]


@contextmanager
def policy_region(
    folder: Path, nodes: list[Node], routes: tuple[Route, ...], services: tuple[Service, ...]
) -> Iterator[PolicyRegion]:
    """Run a gateway over these nodes, and over one dead address for each service named `half-…`."""
    with start_blocking_portal("asyncio") as portal:
        opened = _opened(folder, nodes, routes, services)
        with portal.wrap_async_context_manager(opened) as region:
            yield region


@asynccontextmanager
async def _opened(
    folder: Path, nodes: list[Node], routes: tuple[Route, ...], services: tuple[Service, ...]
) -> AsyncIterator[PolicyRegion]:
    async with AsyncExitStack() as stack:
        for node in nodes:
            server = await node.start()
            stack.callback(server.close)
        dead = [
            Endpoint(service, f"{service}-dead", "127.0.0.1", free_port(), "a")
            for service in sorted({node.service for node in nodes if node.service.startswith("half-")})
        ]
        endpoints = Endpoints(*(node.endpoint() for node in nodes), *dead)
        told = Routes(RouteInputs((*default_routes(), *routes), MediaKeys(jwks()), services=services))
        running = await stack.enter_async_context(gateway(folder, endpoints, told))
        await running.until_state(lambda state: state.serving)
        yield PolicyRegion(running, {node.name: node for node in nodes}, endpoints)
