"""What a client that asks and does not read costs a real Envoy: at most 256 KiB each, whatever it asked for."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import anyio
import h2.connection
import pytest
from gateway_rig import Endpoints, Gateway, Routes, envoy_of, gateway, put_media, token

from redqueen.gateway.model import Endpoint

pytestmark = pytest.mark.anyio

BAR_BYTES = 256 << 10
READERS = 300
BIG_BYTES = 64 << 20
COOKIE = f"rq_media={token('t1')}"
FILM, SERVICE = "/media/t1/big.m4s", "/api/endless"
Ask = Callable[[int, str], socket.socket]


@asynccontextmanager
async def endless() -> AsyncIterator[int]:
    """Serve a body that never ends, as fast as it is taken."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with suppress(anyio.BrokenResourceError):
                await stream.receive()
                await stream.send(b"HTTP/1.1 200 OK\r\ncontent-type: video/mp4\r\ntransfer-encoding: chunked\r\n\r\n")
                while True:
                    await stream.send(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield int(listener.extra(anyio.abc.SocketAttribute.local_port))  # noqa: S610 - not Django's
        group.cancel_scope.cancel()


@pytest.fixture
async def running(tmp_path: Path):
    root = put_media(tmp_path)
    with (root / "t1" / "big.m4s").open("wb") as film:
        film.truncate(BIG_BYTES)
    async with endless() as port:
        endpoint = Endpoint("api", "endless", "127.0.0.1", port, "a")
        async with gateway(tmp_path, Endpoints(endpoint), Routes()) as running:
            await running.until_state(lambda state: state.serving)
            yield running


def by_http1(port: int, path: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\ncookie: {COOKIE}\r\n\r\n".encode())
    return connection


def by_http2(port: int, path: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    http = h2.connection.H2Connection()
    http.initiate_connection()
    head = {":method": "GET", ":scheme": "http", ":authority": "x", ":path": path, "cookie": COOKIE}
    http.send_headers(1, list(head.items()), end_stream=True)
    connection.sendall(http.data_to_send())
    return connection


def resident_bytes(running: Gateway) -> int:
    pid = envoy_of(running.settings.folder).pid
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Rss:"))


async def settled(running: Gateway) -> int:
    """Return Envoy's memory when it grows no more."""
    known = -1
    with anyio.fail_after(60):
        while (now := resident_bytes(running)) > known + (1 << 20):
            known = now
            await anyio.sleep(1)
    return max(known, now)


@pytest.mark.parametrize("path", [FILM, SERVICE])
@pytest.mark.parametrize("ask", [by_http1, by_http2])
async def test_a_client_that_does_not_read_costs_little(running: Gateway, ask: Ask, path: str):
    port = running.settings.listen_port
    with ExitStack() as readers:
        # The first ones pay for what is made once.
        for _ in range(10):
            readers.enter_context(ask(port, path))
        before = await settled(running)
        for number in range(READERS):
            readers.enter_context(ask(port, path))
            if number % 20 == 0:
                await anyio.sleep(0.01)
        each = (await settled(running) - before) / READERS
    assert 16 << 10 < each <= BAR_BYTES, f"{each / 1024:.0f} KiB"
