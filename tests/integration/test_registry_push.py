"""The push stream under load: many subscribers, one that never reads, resumption by version."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path

import anyio
import pytest
from registry_node import RegistryProcess, say

from redqueen.clock import SystemClock
from redqueen.registry.client import Registrar
from redqueen.registry.model import Instance, Status
from redqueen.testing.region import free_port

pytestmark = pytest.mark.anyio
_MANY = 200


def node(name: str) -> Instance:
    return Instance("API", name, "127.0.0.1", 0, status=Status.UP, lease_s=90, metadata={"padding": "x" * 200})


class Subscriber:
    """Reads the stream by hand, and notes when it saw what."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}
        self.lines: list[dict[str, object]] = []

    async def run(self, port: int, query: str = "") -> None:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(f"GET /registry/v1/stream{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            left = b""
            with contextlib.suppress(anyio.EndOfStream):
                while True:
                    *lines, left = (left + await stream.receive()).split(b"\n")
                    self._take([line for line in lines if line.startswith(b"{")])

    def _take(self, lines: list[bytes]) -> None:
        for line in lines:
            told = json.loads(line)
            self.lines.append(told)
            for instance in told.get("instances", ()):
                self.seen.setdefault(instance["instance_id"], time.monotonic())


async def until(true: object, limit_s: float = 30.0) -> None:
    assert callable(true)
    with anyio.fail_after(limit_s):
        while not true():
            await anyio.sleep(0.005)


@contextlib.asynccontextmanager
async def registry(folder: Path):
    port = free_port()
    process = RegistryProcess(port, [], folder)
    try:
        await anyio.to_thread.run_sync(process.start)
        yield process, port
    finally:
        process.kill()


async def test_a_change_reaches_two_hundred_subscribers_at_once_though_some_never_read(tmp_path: Path) -> None:
    async with registry(tmp_path) as (process, port), anyio.create_task_group() as group:
        subscribers = [Subscriber() for _ in range(_MANY)]
        for subscriber in subscribers:
            group.start_soon(subscriber.run, port)
        await until(lambda: all(s.lines for s in subscribers))
        with contextlib.ExitStack() as deaf:
            for _ in range(5):
                sock = deaf.enter_context(socket.socket())
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.connect(("127.0.0.1", port))
                sock.sendall(b"GET /registry/v1/stream HTTP/1.1\r\nHost: x\r\n\r\n")
            took_s: list[float] = []
            for n in range(20):
                sent_s = time.monotonic()
                await say(Registrar([process.url], node(f"n{n}"), SystemClock()), Status.UP)
                await until(lambda n=n: all(f"n{n}" in s.seen for s in subscribers))
                took_s.append(max(s.seen[f"n{n}"] for s in subscribers) - sent_s)
            # The bar is 100 ms; here one busy process is registrar and all subscribers at once.
            assert sorted(took_s)[len(took_s) // 2] < 1.0, took_s
        group.cancel_scope.cancel()


async def test_a_subscriber_that_comes_back_is_told_only_what_it_missed(tmp_path: Path) -> None:
    async with registry(tmp_path) as (process, port), anyio.create_task_group() as group:
        for name in "ab":
            await say(Registrar([process.url], node(name), SystemClock()), Status.UP)
        first, again, stranger = Subscriber(), Subscriber(), Subscriber()
        group.start_soon(first.run, port)
        await until(lambda: first.lines)
        known = first.lines[-1]
        await say(Registrar([process.url], node("c"), SystemClock()), Status.UP)
        group.start_soon(again.run, port, f"?epoch={known['epoch']}&version={known['version']}")
        group.start_soon(stranger.run, port, f"?epoch=another&version={known['version']}")
        await until(lambda: again.lines and stranger.lines)
        assert (again.lines[0]["kind"], list(again.seen)) == ("changed", ["c"])
        assert (stranger.lines[0]["kind"], sorted(stranger.seen)) == ("full", ["a", "b", "c"])
        group.cancel_scope.cancel()
