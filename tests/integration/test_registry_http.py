"""The registry's HTTP server under bad callers: floods, dawdlers, smugglers, readers that do not read."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

import anyio
import pytest

from redqueen.registry.drivers import http
from redqueen.registry.drivers.http import Answer, Head, Outlet, Stream

pytestmark = pytest.mark.anyio


class Echo:
    """Answers with what was asked; streams megabytes to `/flood`; refuses `/secret` before its body."""

    def __init__(self) -> None:
        self.ended: list[bool] = []
        self.bodies: list[bytes] = []

    def admit(self, head: Head) -> int | Answer:
        return Answer(403) if head.path == "/secret" else 1000

    def handle(self, head: Head, body: bytes) -> Answer | Stream:
        if head.path == "/flood":
            return Stream(self._flood, "text/plain")
        self.bodies.append(body)
        return Answer(200, f"{head.method} {head.path} {head.query}".encode() + b" " + body, {"x-here": str(head.here)})

    async def _flood(self, outlet: Outlet) -> None:
        while await outlet.send(b"x" * (1 << 20)):
            pass
        self.ended.append(True)


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[tuple[Echo, int]]:
    handler, reserved = Echo(), http.reserve("127.0.0.1", 0)
    port = reserved.getsockname()[1]
    async with http.serving(handler, reserved, linger_s=0.2):
        yield handler, port


async def ask(port: int, *pieces: bytes) -> bytes:
    """Send pieces, and give what came back until the server hung up or was silent for a second."""
    found = b""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            for piece in pieces:
                await stream.send(piece)
            silent = False
            while not silent:
                silent = True
                with anyio.move_on_after(1.0):
                    found += await stream.receive()
                    silent = False
    return found


async def test_calls_in_pieces_in_a_row_and_in_chunks_are_answered_in_order() -> None:
    async with served() as (handler, port):
        row = b"GET /a?q=1 HTTP/1.1\r\nHost: x\r\n\r\nPUT /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
        found = await ask(port, *(row[n : n + 7] for n in range(0, len(row), 7)))
        assert found.index(b"GET /a q=1") < found.index(b"PUT /b  hi") and found.count(b"200 OK") == 2
        chunks = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        assert b"POST /c  abcde" in await ask(port, chunks)
        assert b"connection: close" in await ask(port, b"GET / HTTP/1.0\r\n\r\n")
        expects = b"POST /e HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        assert (await ask(port, expects, b"ok")).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
        assert handler.bodies[2] == b"abcde"


HOSTILE = {
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x",
    "chunks are not last": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a length with a sign": b"POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello",
    "a folded header": b"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\nX y: z\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\nhello",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
    "a null in a header": b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
    "an upgrade": b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_two_servers_could_read_differently_is_never_answered_twice(name: str) -> None:
    async with served() as (handler, port):
        found = await ask(port, HOSTILE[name])
        assert found.count(b"HTTP/1.1") <= 1
        assert b"200 OK" not in found or name in ("a folded header", "an upgrade"), found
        assert len(handler.bodies) <= 1


async def test_floods_are_cut_off_with_the_right_word() -> None:
    async with served() as (handler, port):
        endless = b"GET / HTTP/1.1\r\nX: " + b"a" * (http.MOST_HEAD_BYTES + 100)
        assert b" 431 " in await ask(port, endless)
        many = b"".join(b"X-%d: y\r\n" % n for n in range(http.MOST_HEADERS + 5))
        assert b" 431 " in await ask(port, b"GET / HTTP/1.1\r\n" + many + b"\r\n")
        large = b"POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n" + b"b" * 5000
        assert b" 413 " in await ask(port, large)
        assert b" 403 " in await ask(port, b"POST /secret HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n")
        ahead = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * (http.MOST_AHEAD + 1)
        assert b" 429 " in await ask(port, ahead)
        assert handler.bodies == []


async def test_who_dawdles_or_says_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CALL_S", 0.5)
    async with served() as (_, port):
        for first in (b"", b"GET /", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab"):
            begin_s = time.monotonic()
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                with anyio.fail_after(30), contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                    if first:
                        await stream.send(first)
                    for _ in range(100):
                        with anyio.move_on_after(0.2):
                            await stream.receive()
                        if first:
                            await stream.send(b"x")
            assert time.monotonic() - begin_s < 30, first


async def test_a_stream_that_nobody_reads_ends_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "UNREAD_S", 0.5)
    async with served() as (handler, port):
        async with await anyio.connect_tcp("127.0.0.1", port) as deaf:
            await deaf.send(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
            with anyio.fail_after(30):
                while not handler.ended:
                    assert b"200 OK" in await ask(port, b"GET /other HTTP/1.0\r\n\r\n")


async def test_answers_that_nobody_reads_are_not_piled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "UNREAD_S", 0.5)
    large = Answer(200, b"y" * (8 << 20))
    monkeypatch.setattr(Echo, "handle", lambda self, head, body: self.bodies.append(body) or large)
    async with served() as (handler, port):
        async with await anyio.connect_tcp("127.0.0.1", port) as deaf:
            await deaf.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 30)
            await anyio.sleep(0.3)
            assert len(handler.bodies) <= 2


async def test_a_reader_that_hangs_up_ends_its_stream() -> None:
    async with served() as (handler, port):
        stream = await anyio.connect_tcp("127.0.0.1", port)
        await stream.send(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
        await stream.receive()
        await stream.aclose()
        await anyio.sleep(0.3)
        assert b"200 OK" in await ask(port, b"GET /other HTTP/1.0\r\n\r\n")
        assert handler.ended in ([], [True])
