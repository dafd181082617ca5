"""A tiny HLS server on a real socket that misbehaves on request; it lives in the test's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

SEGMENT_BYTES = 200_000
RESET, CLOSE, SHORT, HANG = "reset", "close", "short", "hang"

MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",DEFAULT=YES,URI="audio.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=400000,RESOLUTION=640x360,AUDIO="a"
low.m3u8
"""


def film(name: str, segments: int, segment_s: float = 1.0) -> str:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", f'#EXT-X-MAP:URI="{name}-init.mp4"']
    for number in range(segments):
        lines += [f"#EXTINF:{segment_s},", f"{name}-{number}.m4s"]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


@dataclass
class Origin:
    """Serves `texts` and, for everything else, bytes; `trouble(path, times asked)` may spoil an answer."""

    texts: dict[str, str] = field(default_factory=lambda: {"master.m3u8": MASTER})
    trouble: Callable[[str, int], str | int | None] = lambda path, times: None
    chunked: bool = False
    url: str = ""
    connections: int = 0
    asked: list[str] = field(default_factory=list)
    kept_resets: int = 0
    fresh_resets: int = 0
    """Resets of a connection's first request: nothing can have been answered on it before."""

    def __post_init__(self) -> None:
        self.texts = {"low.m3u8": film("low", 6), "audio.m3u8": film("audio", 6), **self.texts}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        fresh = True
        try:
            while await self._answer(reader, writer, fresh=fresh):
                fresh = False
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, fresh: bool) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        name = head.split(" ")[1].rpartition("/")[2]
        self.asked.append(name)
        trouble = self.trouble(name, self.asked.count(name))
        body = self.texts[name].encode() if name in self.texts else b"x" * SEGMENT_BYTES
        if trouble == RESET:
            self.fresh_resets += fresh
            self.kept_resets += not fresh
            writer.transport.abort()
            return False
        if trouble == HANG:
            await asyncio.sleep(3600)
        if isinstance(trouble, int):
            writer.write(f"HTTP/1.1 {trouble} No\r\nContent-Length: 4\r\n\r\noops".encode())
            return True
        self._write(writer, body, short=trouble == SHORT)
        return trouble is None

    def _write(self, writer: asyncio.StreamWriter, body: bytes, *, short: bool) -> None:
        if self.chunked:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(body), 70_000):
                piece = body[start : start + 70_000]
                writer.write(f"{len(piece):x};why=not\r\n".encode() + piece + b"\r\n")
            writer.write(b"0\r\nX-Trailer: 1\r\n\r\n")
            return
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        writer.write(body[: len(body) // 2] if short else body)


@asynccontextmanager
async def serving(origin: Origin) -> AsyncIterator[Origin]:
    """Serve on a free loopback port until the block ends."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await origin.handle(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    origin.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v/token/film/master.m3u8"
    try:
        yield origin
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
