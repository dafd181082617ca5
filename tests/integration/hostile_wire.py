"""Wire tools for hostile tests: a backend that writes down all it is asked, raw HTTP/1.1, HTTP/2 frames by hand."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_QUIET_S = 0.3


@dataclass(frozen=True)
class Seen:
    """One request as it reached the backend."""

    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]


@dataclass
class Recorder:
    """An HTTP/1.1 server that believes exactly what the bytes say, and remembers it."""

    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    broken: list[bytes] = field(default_factory=list)

    def about(self, mark: str) -> list[Seen]:
        return [seen for seen in list(self.seen) if mark in seen.line]

    def serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
            connection.settimeout(30)
            while (seen := self._read(stream)) is not None:
                self.seen.append(seen)
                body = f"seen {seen.line}".encode("latin-1")
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    def _read(self, stream: object) -> Seen | None:
        line = stream.readline(1 << 20)
        if not line:
            return None
        headers: list[tuple[str, str]] = []
        while (row := stream.readline(1 << 20)) not in (b"\r\n", b""):
            name, colon, value = row.decode("latin-1").partition(":")
            if not colon or not row.endswith(b"\r\n"):
                self.broken.append(row)
            headers.append((name, value.strip()))
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        if any(name.lower() == "transfer-encoding" for name, _ in headers):
            body = self._chunks(stream)
        else:
            body = stream.read(int(lengths[-1])) if lengths else b""
        return Seen(line.decode("latin-1").strip(), tuple(headers), body)

    def _chunks(self, stream: object) -> bytes:
        body = b""
        while True:
            size = int(stream.readline().split(b";")[0], 16)
            piece = stream.read(size + 2)
            if not size:
                return body
            body += piece[:-2]


@contextmanager
def recording() -> Iterator[Recorder]:
    """Run a recorder in threads of this process."""
    recorder = Recorder()
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        recorder.port = listener.getsockname()[1]
        open_ones: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    open_ones.append(connection)
                    threading.Thread(target=recorder.serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield recorder
        finally:
            for connection in open_ones:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            listener.shutdown(socket.SHUT_RDWR)


def send_raw(port: int, payload: bytes | Iterable[bytes], *, quiet_s: float = _QUIET_S, limit_s: float = 10.0) -> bytes:
    """Send bytes as they are; return all that comes back until it is quiet or closed."""
    pieces = [payload] if isinstance(payload, bytes) else payload
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
        ends_at = time.monotonic() + limit_s
        with contextlib.suppress(OSError):
            for piece in pieces:
                raw.sendall(piece)
        with contextlib.suppress(OSError):
            raw.settimeout(limit_s)
            while time.monotonic() < ends_at:
                piece = raw.recv(65536)
                if not piece:
                    break
                answer += piece
                raw.settimeout(quiet_s)
    return answer


def statuses(answer: bytes) -> list[int]:
    """List the statuses of the HTTP/1.1 answers in some bytes."""
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3})", answer)]


DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """Build one HTTP/2 frame; `length` may lie."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def hpack(*fields: tuple[str, str]) -> bytes:
    """Write headers as literals, without an index and without Huffman."""
    block = b""
    for name, value in fields:
        block += b"\0"
        for raw in (name.encode("latin-1"), value.encode("latin-1")):
            block += _prefixed(len(raw)) + raw
    return block


def _prefixed(number: int) -> bytes:
    if number < 127:
        return bytes([number])
    number, out = number - 127, b"\x7f"
    while number >= 128:
        out, number = out + bytes([number % 128 + 128]), number // 128
    return out + bytes([number])


def request(path: str, *more: tuple[str, str], method: str = "GET") -> bytes:
    """Give a request's header block."""
    return hpack((":method", method), (":scheme", "http"), (":authority", "x"), (":path", path), *more)


class H2:
    """A connection that speaks HTTP/2 as badly as it is told to."""

    def __init__(self, port: int, settings: bytes = b"") -> None:
        self.raw = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.raw.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))
        self._rest = b""

    def send(self, payload: bytes) -> bool:
        """Send; False when the other side has hung up."""
        try:
            self.raw.sendall(payload)
        except OSError:
            return False
        return True

    def frames(self, *, quiet_s: float = 1.0, until: int | None = None) -> list[tuple[int, int, int, bytes]]:
        """Read (kind, flags, stream, payload) until it is quiet, closed, or a frame of kind `until` came.

        A last element of kind -1 says that the connection ended.
        """
        self.raw.settimeout(quiet_s)
        found: list[tuple[int, int, int, bytes]] = []
        while True:
            while len(self._rest) >= 9 and len(self._rest) >= 9 + int.from_bytes(self._rest[:3], "big"):
                size = int.from_bytes(self._rest[:3], "big")
                head, payload = self._rest[:9], self._rest[9 : 9 + size]
                self._rest = self._rest[9 + size :]
                found.append((head[3], head[4], int.from_bytes(head[5:9], "big"), payload))
                if head[3] == until:
                    return found
            try:
                piece = self.raw.recv(65536)
            except TimeoutError:
                return found
            except OSError:
                piece = b""
            if not piece:
                return [*found, (-1, 0, 0, b"")]
            self._rest += piece

    def ended(self, *, within_s: float = 30.0) -> bool:
        """Tell whether the connection is closed, or said that it will be."""
        ends_at = time.monotonic() + within_s
        while time.monotonic() < ends_at:
            if any(kind in (-1, GOAWAY) for kind, _, _, _ in self.frames(quiet_s=0.5)):
                return True
        return False

    def close(self) -> None:
        self.raw.close()

    def __enter__(self) -> H2:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
