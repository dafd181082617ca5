"""A lean HTTP/1.1 client that behaves as one browser does, and throws segment bodies away.

Decides when a connection is used again: up to six live ones to a host are kept, and a kept one
that turns out to be closed is replaced by a fresh one without counting as a failure, as browsers
do. Refuses answers that are not HTTP/1 and heads over 64 KiB. Bodies are read in big pieces and
only kept when asked for, so that a hundred viewers cost little. Cookies are the caller's: what the
answer sets is in `Answer.cookies`. Enter at `Browser.get` and `Browser.send`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import quote, urljoin, urlsplit

import anyio
import anyio.abc

from redqueen.clock import Clock
from redqueen.errors import InvalidInput
from redqueen.testing.viewer.playlist import ByteRange
from redqueen.testing.viewer.policy import RetryPolicy

_PIECE_BYTES = 256 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_MAX_KEPT_BYTES = 16 * 1024 * 1024
_MAX_IDLE = 6


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; `body` is empty when it was thrown away, `url` is after redirects."""

    url: str
    status: int
    headers: Mapping[str, str]
    size_bytes: int
    seconds: float
    body: bytes = b""
    cookies: tuple[str, ...] = ()
    """The values of the answer's Set-Cookie headers."""


class Unreachable(Exception):
    """The request failed below HTTP: refused, reset, cut short, or not HTTP."""


class TooSlow(Exception):
    """A time limit of the policy ran out."""


class _Stale(Exception):
    """A kept connection was closed before one byte of the answer came."""


@dataclass(frozen=True, slots=True)
class _Origin:
    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class _Head:
    status: int
    headers: Mapping[str, str]
    keep: bool
    cookies: tuple[str, ...]


class Browser:
    """One viewer's connections; use as an async context manager."""

    def __init__(
        self,
        policy: RetryPolicy,
        clock: Clock,
        *,
        headers: Mapping[str, str] | None = None,
        local_host: str | None = None,
    ) -> None:
        """Set `headers` on every request; connect from the address `local_host` (None: the system chooses)."""
        self._policy = policy
        self._local_host = local_host
        self._clock = clock
        self._headers = dict(headers or {})
        self._idle: dict[_Origin, list[_Connection]] = {}
        self.connections = 0
        """How many connections were opened so far."""

    async def __aenter__(self) -> Browser:
        """Start with no connection."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every kept connection."""
        with anyio.CancelScope(shield=True):
            for connection in [c for kept in self._idle.values() for c in kept]:
                await connection.close()
        self._idle.clear()

    async def get(self, url: str, *, part: ByteRange | None = None, keep_body: bool = False) -> Answer:
        """Fetch `url`, following up to five redirects. Raises Unreachable, TooSlow, InvalidInput."""
        started = self._clock.monotonic()
        try:
            with anyio.fail_after(self._policy.timeout_s):
                for _ in range(6):
                    answer = await self._once(url, part, keep_body, started)
                    target = answer.headers.get("location")
                    if answer.status not in (301, 302, 303, 307, 308) or not target:
                        return answer
                    url = urljoin(url, target)
        except TimeoutError as error:
            raise TooSlow(f"no complete answer within {self._policy.timeout_s:g} s") from error
        raise Unreachable("more than five redirects")

    async def send(
        self, method: str, url: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask `method url` once and keep the answer's body. Raises Unreachable, TooSlow, InvalidInput."""
        origin, request = _request(url, None, {**self._headers, **(headers or {})}, method, body)
        try:
            with anyio.fail_after(self._policy.timeout_s):
                return await self._asked(origin, request, url, True, self._clock.monotonic())
        except TimeoutError as error:
            raise TooSlow(f"no complete answer within {self._policy.timeout_s:g} s") from error

    async def _once(self, url: str, part: ByteRange | None, keep_body: bool, started: float) -> Answer:
        origin, request = _request(url, part, self._headers)
        return await self._asked(origin, request, url, keep_body, started)

    async def _asked(self, origin: _Origin, request: bytes, url: str, keep_body: bool, started: float) -> Answer:
        while True:
            connection = await self._connection(origin)
            try:
                answer, keep = await self._exchange(connection, request, url, keep_body, started)
            except _Stale:
                await connection.close()
                continue
            except (OSError, anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead, ValueError) as error:
                await connection.close()
                raise Unreachable(str(error) or type(error).__name__) from error
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await connection.close()
                raise
            await self._give_back(origin, connection, keep)
            return answer

    async def _connection(self, origin: _Origin) -> _Connection:
        kept = self._idle.get(origin)
        if kept:
            return kept.pop()
        try:
            stream = await self._connect(origin)
        except (OSError, ssl.SSLError) as error:
            raise Unreachable(f"cannot connect to {origin.host}:{origin.port}: {error}") from error
        self.connections += 1
        return _Connection(stream)

    async def _connect(self, origin: _Origin) -> anyio.abc.ByteStream:
        try:
            with anyio.fail_after(self._policy.connection_timeout_s):
                if origin.scheme == "https":
                    return await anyio.connect_tcp(
                        origin.host, origin.port, local_host=self._local_host, tls=True, tls_standard_compatible=False
                    )
                return await anyio.connect_tcp(origin.host, origin.port, local_host=self._local_host)
        except TimeoutError as error:
            raise TooSlow(f"{origin.host}:{origin.port} did not accept a connection") from error

    async def _exchange(
        self, connection: _Connection, request: bytes, url: str, keep_body: bool, started: float
    ) -> tuple[Answer, bool]:
        try:
            with anyio.fail_after(self._policy.connection_timeout_s):
                head = await connection.head(request)
        except TimeoutError as error:
            raise TooSlow("no answer began") from error
        keep_body = keep_body or head.status >= 300
        try:
            size, body = await connection.body(head, keep_body, self._policy.stall_timeout_s)
        except TimeoutError as error:
            raise TooSlow("the answer stopped coming") from error
        seconds = self._clock.monotonic() - started
        return Answer(url, head.status, head.headers, size, seconds, body, head.cookies), head.keep

    async def _give_back(self, origin: _Origin, connection: _Connection, keep: bool) -> None:
        kept = self._idle.setdefault(origin, [])
        if keep and len(kept) < _MAX_IDLE:
            kept.append(connection)
        else:
            await connection.close()


class _Connection:
    """One TCP connection and the bytes read ahead on it."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self._stream = stream
        self._ahead = bytearray()
        self._used = False

    async def close(self) -> None:
        await anyio.aclose_forcefully(self._stream)

    async def head(self, request: bytes) -> _Head:
        fresh, self._used = not self._used, True
        try:
            await self._stream.send(request)
            while b"\r\n\r\n" not in self._ahead:
                if len(self._ahead) > _MAX_HEAD_BYTES:
                    raise ValueError("the answer's head is over 64 KiB")
                self._ahead += await self._stream.receive(_PIECE_BYTES)
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            if fresh or self._ahead:
                raise
            raise _Stale from error
        head, _, rest = bytes(self._ahead).partition(b"\r\n\r\n")
        self._ahead = bytearray(rest)
        return _parsed(head)

    async def body(self, head: _Head, keep: bool, stall_s: float) -> tuple[int, bytes]:
        into = bytearray() if keep else None
        if head.status in (204, 304) or head.status < 200:
            return 0, b""
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            size = await self._chunks(into, stall_s)
        elif (length := head.headers.get("content-length")) is not None:
            size = await self._exactly(int(length), into, stall_s)
        else:
            size = await self._to_the_end(into, stall_s)
        return size, bytes(into or b"")

    async def _more(self, stall_s: float) -> bytes:
        if self._ahead:
            piece, self._ahead = bytes(self._ahead), bytearray()
            return piece
        with anyio.fail_after(stall_s):
            return await self._stream.receive(_PIECE_BYTES)

    async def _exactly(self, count: int, into: bytearray | None, stall_s: float) -> int:
        left = count
        while left > 0:
            piece = await self._more(stall_s)
            if len(piece) > left:
                self._ahead = bytearray(piece[left:])
                piece = piece[:left]
            left -= len(piece)
            _keep(into, piece)
        return count

    async def _chunks(self, into: bytearray | None, stall_s: float) -> int:
        total = 0
        while True:
            size = int((await self._line(stall_s)).partition(b";")[0], 16)
            if size == 0:
                while await self._line(stall_s):
                    pass
                return total
            total += await self._exactly(size, into, stall_s)
            await self._line(stall_s)

    async def _line(self, stall_s: float) -> bytes:
        while b"\n" not in self._ahead:
            if len(self._ahead) > _MAX_HEAD_BYTES:
                raise ValueError("a chunk's length is over 64 KiB long")
            with anyio.fail_after(stall_s):
                self._ahead += await self._stream.receive(_PIECE_BYTES)
        line, _, rest = bytes(self._ahead).partition(b"\n")
        self._ahead = bytearray(rest)
        return line.strip()

    async def _to_the_end(self, into: bytearray | None, stall_s: float) -> int:
        total = 0
        try:
            while True:
                piece = await self._more(stall_s)
                total += len(piece)
                _keep(into, piece)
        except anyio.EndOfStream:
            return total


def _keep(into: bytearray | None, piece: bytes) -> None:
    if into is None:
        return
    if len(into) + len(piece) > _MAX_KEPT_BYTES:
        raise ValueError("the answer is over 16 MiB")
    into += piece


def _request(
    url: str, part: ByteRange | None, headers: Mapping[str, str], method: str = "GET", content: bytes = b""
) -> tuple[_Origin, bytes]:
    pieces = urlsplit(url)
    try:
        port = pieces.port or (443 if pieces.scheme == "https" else 80)
    except ValueError:
        port = 0
    if pieces.scheme not in ("http", "https") or not pieces.hostname or not port:
        raise InvalidInput(
            "viewer.address",
            f"{url!r} cannot be fetched",
            why="it is not an http or https address",
            hint="Give the address of a master playlist, such as `redqueen play-link` prints",
        )
    path = quote(pieces.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{pieces.query}" if pieces.query else "")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {pieces.netloc.rpartition('@')[2]}", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if part is not None:
        lines.append(f"Range: bytes={part.start}-{part.start + part.length - 1}")
    if content or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(content)}")
    text = "\r\n".join(lines)
    return _Origin(pieces.scheme, pieces.hostname, port), text.encode("latin-1", "replace") + b"\r\n\r\n" + content


def _parsed(head: bytes) -> _Head:
    first, *rest = head.decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    if not version.startswith("HTTP/1.") or not status[:3].isdigit():
        raise ValueError(f"not an HTTP/1 answer: {first[:60]!r}")
    pairs = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in rest)]
    headers = dict(pairs)
    cookies = tuple(value for name, value in pairs if name == "set-cookie")
    delimited = "content-length" in headers or "transfer-encoding" in headers or status[:3] in ("204", "304")
    wish = headers.get("connection", "").lower()
    keep = delimited and "close" not in wish and (version != "HTTP/1.0" or "keep-alive" in wish)
    return _Head(int(status[:3]), headers, keep, cookies)
