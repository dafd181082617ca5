"""A bounded load on a gateway: connections that are kept and connections that are new each time, every failure counted.

Run as a script it is a process of its own, so that it does not wait for the test's loop.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Load:
    """What a load saw; complete once its block has ended."""

    answered: int = 0
    failures: dict[str, int] = field(default_factory=dict)


@contextmanager
def load(port: int, seconds: float, *, path: str = "/api/x", kept: int = 4, fresh: int = 4) -> Iterator[Load]:
    """Ask for `path` until `seconds` are over; the block's end waits for that."""
    seen = Load()
    argv = [sys.executable, str(Path(__file__)), str(port), str(seconds), path, str(kept), str(fresh)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield seen
            out, _ = process.communicate(timeout=seconds + 30)
        finally:
            process.kill()
    result = json.loads(out)
    seen.answered, seen.failures = result["answered"], result["failures"]


class _Asking:
    def __init__(self, port: int, until: float, path: str) -> None:
        self._port, self._until, self._path = port, until, path
        self.answered: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    async def kept(self) -> None:
        while time.monotonic() < self._until:
            await self._connection("kept", closing=False)

    async def fresh(self) -> None:
        while time.monotonic() < self._until:
            await self._connection("new", closing=True)

    async def _connection(self, kind: str, *, closing: bool) -> None:
        writer = None
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            going = True
            while going and time.monotonic() < self._until:
                async with asyncio.timeout(10):
                    status, going = await self._exchange(reader, writer, closing=closing)
                (self.answered if status == 200 else self.failures)[f"{kind} {status}"] += 1
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.failures[f"{kind} {type(error).__name__}"] += 1
        finally:
            if writer is not None:
                writer.close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, closing: bool
    ) -> tuple[int, bool]:
        ask = "connection: close\r\n" if closing else ""
        writer.write(f"GET {self._path} HTTP/1.1\r\nhost: load\r\n{ask}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        await reader.readexactly(int(fields.get(b"content-length", b"0")))
        return int(head[9:12]), not closing and fields.get(b"connection") != b"close"


async def _main(port: int, seconds: float, path: str, kept: int, fresh: int) -> None:
    asking = _Asking(port, time.monotonic() + seconds, path)
    async with asyncio.TaskGroup() as group:
        for _ in range(kept):
            group.create_task(asking.kept())
        for _ in range(fresh):
            group.create_task(asking.fresh())
    print(json.dumps({"answered": asking.answered.total(), "failures": asking.failures}))  # noqa: T201


if __name__ == "__main__":
    port, seconds, path, kept, fresh = sys.argv[1:]
    asyncio.run(_main(int(port), float(seconds), path, int(kept), int(fresh)))
