"""A small HTTP/1.1 server on the event loop, for calls that are answered without waiting.

A heartbeat is one read, one step, one write: no thread and no task stands between the socket and
the rules (llhttp parses, strictly). Decides limits: of heads, bodies, time, connections and calls
sent ahead; refuses whatever breaks one and hangs up. Streams are the one thing that waits: each
has a task, and a reader that does not read is let go. Enter at `serving`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import resource
import socket
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol, cast

import anyio
import anyio.abc
import httptools

MOST_HEAD_BYTES = 32 << 10
MOST_HEADERS = 100
MOST_AHEAD = 64
"""Calls that a connection may send before it has read the answers."""
CALL_S = 10.0
"""Seconds within which a call must have been sent, from its first byte (or the connection's begin)."""
IDLE_S = 120.0
UNREAD_S = 5.0
"""Seconds that an answer may lie unread before the reader is let go."""
_BUFFERED_BYTES = 256 << 10
_FILES = 65_536


@dataclass(slots=True)
class Head:
    """A call without its body; header names in lower case, repeated ones joined by commas."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    here: bool
    """Whether it comes from this machine."""
    caller: object = None
    """What `Handler.admit` found out about who calls, for `handle`."""


@dataclass(slots=True)
class Answer:
    """What goes back at once."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Outlet(Protocol):
    """Where a stream writes."""

    async def send(self, data: bytes) -> bool:
        """Send some bytes; False when nobody reads them (any more)."""
        ...


@dataclass(slots=True)
class Stream:
    """An answer that goes on until `feed` returns; it is cancelled when the reader hangs up."""

    feed: Callable[[Outlet], Awaitable[None]]
    kind: str


class Handler(Protocol):
    """What answers calls."""

    def admit(self, head: Head) -> int | Answer:
        """Say how many bytes of body are read for a call, or refuse it before they are."""
        ...

    def handle(self, head: Head, body: bytes) -> Answer | Stream:
        """Answer a call."""
        ...


def reserve(host: str, port: int) -> socket.socket:
    """Bind an address for `serving`; 0 takes a free port. Raises OSError when it is taken."""
    reserved = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((host, port))
        reserved.listen(1024)
    except OSError:
        reserved.close()
        raise
    return reserved


@contextlib.asynccontextmanager
async def serving(handler: Handler, reserved: socket.socket, *, linger_s: float) -> AsyncGenerator[None]:
    """Answer calls while the block runs; then streams have `linger_s` seconds to end."""
    loop = asyncio.get_running_loop()
    async with anyio.create_task_group() as group:
        house = _House(handler, group, _raise_file_limit() - 64)
        server = await loop.create_server(lambda: _Connection(house, loop), sock=reserved, backlog=1024)
        group.start_soon(_watch, house, loop)
        try:
            yield
        finally:
            server.close()
            with anyio.CancelScope(shield=True), anyio.move_on_after(linger_s):
                if house.streams:
                    await house.quiet.wait()
            for connection in list(house.connections):
                connection.leave()
            group.cancel_scope.cancel()


def _raise_file_limit() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, _FILES) if hard != resource.RLIM_INFINITY else _FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


async def _watch(house: _House, loop: asyncio.AbstractEventLoop) -> None:
    while True:
        await anyio.sleep(0.5)
        now_s = loop.time()
        for connection in [c for c in house.connections if c.until_s < now_s]:
            connection.hang_up()


class _House:
    """What the connections of one server share."""

    def __init__(self, handler: Handler, group: anyio.abc.TaskGroup, most: int) -> None:
        self.handler = handler
        self.group = group
        self.most = most
        self.connections: set[_Connection] = set()
        self.streams = 0
        self.quiet = anyio.Event()

    def begin(self, feed: Callable[[], Awaitable[None]]) -> None:
        """Run a stream, and tell when none is left."""
        self.streams += 1
        self.quiet = anyio.Event()
        self.group.start_soon(self._run, feed)

    async def _run(self, feed: Callable[[], Awaitable[None]]) -> None:
        try:
            await feed()
        finally:
            self.streams -= 1
            if not self.streams:
                self.quiet.set()


class _Connection(asyncio.Protocol):
    """One connection: parses calls, answers them in order, and holds one stream at most."""

    def __init__(self, house: _House, loop: asyncio.AbstractEventLoop) -> None:
        self._house = house
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_left = 0
        self._head_bytes = 0
        self._in_body = False
        self._head: Head | None = None
        self._ahead: deque[tuple[Head, bytes, bool]] = deque()
        self._closed = False
        self._drained = anyio.Event()
        self._paused = False
        self._scope: anyio.CancelScope | None = None
        self._here = False
        self.streaming = False
        self.until_s = loop.time() + CALL_S

    # What the event loop says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._house.connections) >= self._house.most:
            self._transport.abort()
            return
        self._house.connections.add(self)
        self._transport.set_write_buffer_limits(high=_BUFFERED_BYTES)
        peer = cast("tuple[str, int] | None", self._transport.get_extra_info("peername"))
        with contextlib.suppress(ValueError):
            self._here = peer is not None and ipaddress.ip_address(peer[0]).is_loopback

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._house.connections.discard(self)
        self._drained.set()
        if self._scope is not None:
            self._scope.cancel()

    def pause_writing(self) -> None:
        self._paused, self._drained = True, anyio.Event()
        self.until_s = self._loop.time() + UNREAD_S
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self.until_s = float("inf") if self.streaming else self._loop.time() + IDLE_S
        self._drained.set()
        if not self._closed:
            self._transport.resume_reading()
            self._answer_ahead()

    def data_received(self, data: bytes) -> None:
        if self._closed or self.streaming:
            return
        if not self._in_body:
            if not self._head_bytes and self._parsing_nothing():
                self.until_s = self._loop.time() + CALL_S
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(HTTPStatus.BAD_REQUEST)
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)
        if self._head_bytes > MOST_HEAD_BYTES and not self._in_body:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self._answer_ahead()

    def eof_received(self) -> bool:
        return False

    # What the parser says.

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = text if known is None else f"{known}, {text}"
        if len(self._headers) > MOST_HEADERS:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._head_bytes, self._in_body = 0, True
        if self._closed:
            return
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode("latin-1")
        self._head = Head(method, path, query, self._headers, self._here)
        admitted = self._house.handler.admit(self._head)
        if isinstance(admitted, Answer):
            self._refuse(admitted.status, admitted.body, admitted.headers)
            return
        self._body_left = admitted
        if "expect" in self._headers and not self._ahead:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._closed:
            return
        self._body_left -= len(body)
        if self._body_left < 0:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        head, body = self._head, b"".join(self._body) if self._body else b""
        keep = self._parser.should_keep_alive()
        self._url, self._headers, self._head, self._in_body = b"", {}, None, False
        if self._body:
            self._body = []
        if self._closed or head is None:
            return
        self._ahead.append((head, body, keep))
        if len(self._ahead) > MOST_AHEAD:
            self._refuse(HTTPStatus.TOO_MANY_REQUESTS)

    # What goes back.

    def _parsing_nothing(self) -> bool:
        return not self._url and not self._paused

    def _answer_ahead(self) -> None:
        while self._ahead and not self._paused and not self._closed and not self.streaming:
            head, body, keep = self._ahead.popleft()
            answer = self._house.handler.handle(head, body)
            if isinstance(answer, Stream):
                self._begin(answer, chunked=self._parser.get_http_version() == "1.1")
                return
            bare = head.method == "HEAD"
            self._transport.write(_written(answer.status, answer.body, answer.headers, keep=keep, bare=bare))
            if not keep:
                self._end()
                return
            self.until_s = self._loop.time() + (UNREAD_S if self._paused else CALL_S if self._url else IDLE_S)

    def _refuse(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        if not self._closed:
            self._transport.write(_written(status, body, headers or {}, keep=False))
            self._end()

    def _end(self) -> None:
        """Hang up once what was written has been read."""
        self._closed = True
        self._ahead.clear()
        self.until_s = min(self.until_s, self._loop.time() + UNREAD_S)
        self._transport.close()

    def leave(self) -> None:
        """Hang up once what was written is on its way; nothing is read any more."""
        if not self._closed:
            self._end()

    def hang_up(self) -> None:
        """Hang up at once."""
        self._closed = True
        self._transport.abort()

    def _begin(self, stream: Stream, *, chunked: bool) -> None:
        self.streaming = True
        self.until_s = float("inf")
        self._ahead.clear()
        framing = "transfer-encoding: chunked" if chunked else "connection: close"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {stream.kind}\r\ncache-control: no-store\r\n{framing}\r\n\r\n"
        self._transport.write(head.encode())
        self._house.begin(lambda: self._feed(stream, chunked))

    async def _feed(self, stream: Stream, chunked: bool) -> None:
        with anyio.CancelScope() as self._scope:
            if not self._closed:
                await stream.feed(_Outlet(self, chunked=chunked))
        self.streaming = False
        if not self._closed:
            self._transport.write(b"0\r\n\r\n" if chunked else b"")
            self._end()

    async def send(self, data: bytes) -> bool:
        """Write a piece of a stream; False when its reader has gone or does not read."""
        if self._closed:
            return False
        self._transport.write(data)
        if self._paused:
            with anyio.move_on_after(UNREAD_S):
                await self._drained.wait()
            if self._paused:
                self.hang_up()
        return not self._closed


@dataclass(slots=True)
class _Outlet:
    connection: _Connection
    chunked: bool

    async def send(self, data: bytes) -> bool:
        """Send some bytes as one chunk."""
        framed = b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data
        return await self.connection.send(framed)


_REASONS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_EMPTY = {status: f"{line}content-length: 0\r\n\r\n".encode() for status, line in _REASONS.items()}
_NO_CONTENT = _REASONS[204].encode() + b"\r\n"


def _written(status: int, body: bytes, headers: Mapping[str, str], *, keep: bool, bare: bool = False) -> bytes:
    """Write an answer; `bare` leaves out its body, which would be taken for the next answer after HEAD."""
    if keep and not body and not headers:
        return _NO_CONTENT if status == HTTPStatus.NO_CONTENT else _EMPTY[status]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    length = "" if status == HTTPStatus.NO_CONTENT else f"content-length: {len(body)}\r\n"
    end = "\r\n" if keep else "connection: close\r\n\r\n"
    return f"{_REASONS[status]}{lines}{length}{end}".encode() + (b"" if bare else body)
