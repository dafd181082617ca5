"""Two real registries over real sockets: register, follow, fall over, kill, restart, stop."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM

import anyio
import httpx
import msgspec
import pytest
from registry_node import RegistryProcess, say

from redqueen.clock import SystemClock
from redqueen.errors import Unavailable
from redqueen.events import discard
from redqueen.registry import client, peering, service
from redqueen.registry.calls import Register
from redqueen.registry.client import Registrar
from redqueen.registry.drivers import http
from redqueen.registry.ledger import Ledger
from redqueen.registry.messages import SyncRequest, encode
from redqueen.registry.model import Instance, InstanceSet, Moment, Status
from redqueen.testing.region import free_port

pytestmark = pytest.mark.anyio


class Follower:
    """Keeps what a watcher yields."""

    def __init__(self) -> None:
        self.sets: list[InstanceSet] = []

    async def run(self, urls: list[str]) -> None:
        async for found in client.watch(urls):
            self.sets.append(found)

    def names(self) -> list[str]:
        return [i.instance_id for i in self.sets[-1]] if self.sets else []


async def until(true: Callable[[], bool], limit_s: float = 30.0) -> float:
    """Wait until something holds; tell how many seconds it took."""
    begin_s = time.monotonic()
    with anyio.fail_after(limit_s):
        while not true():
            await anyio.sleep(0.01)
    return time.monotonic() - begin_s


async def begin(registry: RegistryProcess) -> None:
    """Start a registry while heartbeats of this process go on."""
    await anyio.to_thread.run_sync(registry.start)


def node(name: str, port: int = 0) -> Instance:
    return Instance("API", name, "127.0.0.1", port, status=Status.UP, zone="a", version="1")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RegistryProcess, RegistryProcess]]:
    one, other = free_port(), free_port()
    first, second = RegistryProcess(one, [other], tmp_path), RegistryProcess(other, [one], tmp_path)
    try:
        first.launch()
        second.launch()
        first.wait_ready()
        second.wait_ready()
        yield first, second
    finally:
        first.kill()
        second.kill()


@contextlib.asynccontextmanager
async def running(urls: list[str], *instances: Instance) -> AsyncIterator[tuple[list[Registrar], Follower]]:
    """Keep instances registered and a watcher following, until the block ends."""
    follower = Follower()
    registrars = [Registrar(urls, instance, SystemClock()) for instance in instances]
    async with anyio.create_task_group() as group:
        for registrar in registrars:
            await group.start(lambda *, task_status, r=registrar: r.run(task_status=task_status))
        group.start_soon(follower.run, urls)
        yield registrars, follower
        group.cancel_scope.cancel()


def read(registry: RegistryProcess) -> list[str]:
    headers = {"accept": "application/json"}
    found = httpx.get(f"{registry.url}/eureka/v2/apps/", headers=headers, timeout=3, trust_env=False).json()
    return sorted(i["instanceId"] for a in found["applications"]["application"] for i in a["instance"])


async def test_what_one_registry_hears_the_other_knows_at_once(pair: tuple[RegistryProcess, RegistryProcess]) -> None:
    first, second = pair
    async with running([first.url], node("a"), node("b")) as (registrars, _):
        assert await until(lambda: read(second) == ["a", "b"]) < 10
        await registrars[0].leave()
        assert await until(lambda: read(second) == ["b"]) < 10


async def test_a_killed_registry_costs_watchers_nothing(pair: tuple[RegistryProcess, RegistryProcess]) -> None:
    first, second = pair
    async with running([first.url, second.url], node("a"), node("b")) as (registrars, follower):
        await until(lambda: follower.names() == ["a", "b"] and read(second) == ["a", "b"])
        seen = len(follower.sets)
        first.kill()
        await say(registrars[0], Status.OUT_OF_SERVICE)
        took_s = await until(lambda: follower.sets[-1][0].status is Status.OUT_OF_SERVICE)
        assert took_s < 10
        await begin(first)
        await until(lambda: read(first) == ["a", "b"])
        await anyio.sleep(3.5)
        assert read(first) == read(second) == ["a", "b"]
        assert all(len(found) == 2 for found in follower.sets[seen:])


async def test_both_registries_restarted_without_snapshots_empty_nobody(
    pair: tuple[RegistryProcess, RegistryProcess], tmp_path: Path
) -> None:
    first, second = pair
    async with running([first.url, second.url], node("a"), node("b")) as (_, follower):
        await until(lambda: follower.names() == ["a", "b"])
        seen = len(follower.sets)
        first.kill()
        second.kill()
        for snapshot in tmp_path.glob("*.json"):
            snapshot.unlink()
        await anyio.sleep(0.5)
        await begin(first)
        await begin(second)
        await until(lambda: read(first) == read(second) == ["a", "b"])
        assert all(len(found) == 2 for found in follower.sets[seen:])


async def test_a_suspended_registry_evicts_nobody_when_it_wakes(
    pair: tuple[RegistryProcess, RegistryProcess],
) -> None:
    first, second = pair
    async with running([first.url, second.url], node("a"), node("b"), node("c")) as (_, follower):
        await until(lambda: follower.names() == ["a", "b", "c"] and len(read(second)) == 3)
        first.send(SIGSTOP)
        await anyio.sleep(5)
        await until(lambda: read(second) == follower.names() == ["a", "b", "c"])
        seen = len(follower.sets)
        first.send(SIGCONT)
        for _ in range(20):
            assert read(first) == ["a", "b", "c"]
            await anyio.sleep(0.1)
        assert all(len(found) == 3 for found in follower.sets[seen:])


async def test_a_registry_that_hangs_is_left_by_who_follows_it_and_by_who_beats_to_it(
    pair: tuple[RegistryProcess, RegistryProcess],
) -> None:
    first, second = pair
    async with running([first.url, second.url], node("a")) as (_, follower):
        await until(lambda: follower.names() == ["a"] and read(second) == ["a"])
        first.send(SIGSTOP)
        try:
            await say(Registrar([second.url], node("b"), SystemClock()), Status.UP)
            assert await until(lambda: follower.names() == ["a", "b"]) < 20
            await anyio.sleep(4)
            assert "a" in read(second)
        finally:
            first.send(SIGCONT)


class _Knowing:
    """A peer that knows something, as the registry's own server serves it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def admit(self, head: http.Head) -> int | http.Answer:
        return 1 << 24

    def handle(self, head: http.Head, body: bytes) -> http.Answer | http.Stream:
        request = msgspec.json.decode(body, type=SyncRequest)
        return http.Answer(200, encode(peering.reply(self._ledger, request, Moment(1.0, 1_000))))


async def test_a_registry_that_comes_back_empty_knows_what_its_peer_knows_before_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, made, known = Ledger("peer", Moment(1.0, 1_000)), list[Ledger](), list[int]()
    for n in range(1500):
        peer.apply(Register(replace(node(f"n{n:04}"), lease_s=90, dirty_at_ms=1)), Moment(1.0, 1_000))
    monkeypatch.setattr(service, "Ledger", lambda *told: made.append(Ledger(*told)) or made[0])
    monkeypatch.setattr(service, "_LEARN_S", 10)
    reserved = http.reserve("127.0.0.1", 0)
    url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
    async with http.serving(_Knowing(peer), reserved, linger_s=0.1), anyio.create_task_group() as group:
        listening = anyio.Event()

        def ready(_: int) -> None:
            known.append(len(made[0].living()))
            listening.set()

        async def run() -> None:
            await service.serve("127.0.0.1", 0, [url], tmp_path / "s.json", SystemClock(), discard, ready)

        group.start_soon(run)
        await listening.wait()
        group.cancel_scope.cancel()
    assert known == [1500]


async def test_a_silent_instance_is_gone_within_its_lease_and_a_reported_one_at_once(
    pair: tuple[RegistryProcess, RegistryProcess],
) -> None:
    first, second = pair
    urls = [first.url, second.url]
    async with running(urls, node("lives")) as (_, follower):
        for one in (replace(node("silent"), lease_s=15), node("reported")):
            await say(Registrar(urls, one, SystemClock()), Status.UP)
        await until(lambda: follower.names() == ["lives", "reported", "silent"])
        assert await client.report_exit(urls, "api", "reported", "killed by signal 9")
        assert await until(lambda: follower.names() == ["lives", "silent"] and read(second) == follower.names()) < 8
        assert 1 < await until(lambda: follower.names() == ["lives"], 60) < 40


async def test_a_snapshot_serves_reads_after_a_restart_before_any_heartbeat(tmp_path: Path) -> None:
    port = free_port()
    registry = RegistryProcess(port, [], tmp_path)
    try:
        await begin(registry)
        await say(Registrar([registry.url], node("a"), SystemClock()), Status.UP)
        await anyio.sleep(1.3)
        registry.kill()
        await begin(registry)
        assert read(registry) == ["a"]
        assert 1 < await until(lambda: read(registry) == []) < 20
    finally:
        registry.kill()


async def test_sigterm_ends_a_registry_quickly_though_streams_are_open(tmp_path: Path) -> None:
    port = free_port()
    registry = RegistryProcess(port, [], tmp_path)
    try:
        await begin(registry)
        async with running([registry.url], node("a")) as (_, follower):
            await until(lambda: follower.names() == ["a"])
            registry.send(SIGTERM)
            assert await anyio.to_thread.run_sync(registry.wait, 15) == 0
            assert follower.names() == ["a"]
    finally:
        registry.kill()


@contextlib.asynccontextmanager
async def served(path: Path) -> AsyncIterator[str]:
    """Run one registry in this process."""
    ports: list[int] = []
    listening = anyio.Event()

    def ready(port: int) -> None:
        ports.append(port)
        listening.set()

    async def run() -> None:
        await service.serve("127.0.0.1", 0, [], path, SystemClock(), discard, ready)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await listening.wait()
        yield f"http://127.0.0.1:{ports[0]}"
        group.cancel_scope.cancel()


async def test_a_slow_subscriber_holds_nobody_up(tmp_path: Path) -> None:
    async with served(tmp_path / "snapshot.json") as url, running([url], node("a")) as (registrars, follower):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"GET /registry/v1/stream HTTP/1.1\r\nHost: x\r\n\r\n")

            def shown() -> Status | None:
                return follower.sets[-1][0].status if follower.sets and follower.sets[-1] else None

            for status in (Status.OUT_OF_SERVICE, Status.UP) * 10:
                await say(registrars[0], status)
                assert await until(lambda s=status: shown() is s) < 10


async def test_a_taken_port_is_refused_plainly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(Unavailable, match="Cannot listen"):
            port = taken.getsockname()[1]
            await service.serve("127.0.0.1", port, [], tmp_path / "s.json", SystemClock(), discard, lambda _: None)


async def test_paths_ids_and_bodies_that_foreign_clients_send(tmp_path: Path) -> None:
    fields = {
        "instanceId": "host:orders:1",
        "app": "ORDERS",
        "hostName": "host",
        "ipAddr": "127.0.0.1",
        "dataCenterInfo": {"name": "MyOwn"},
    }
    async with served(tmp_path / "s.json") as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        for number, prefix in enumerate(("/eureka/apps/", "/eureka/v2/apps/")):
            body = {"instance": {**fields, "instanceId": f"host:orders/{number}"}}
            assert (await http.post(f"{prefix}orders", json=body)).status_code == 204
            answer = await http.put(f"{prefix}ORDERS/host%3Aorders%2F{number}", params={"status": "UP"})
            assert (answer.status_code, answer.content) == (200, b"")
        for path in ("/eureka/apps", "/eureka/apps/", "/eureka/v2/apps/", "/eureka/apps/delta", "/eureka/apps/ORDERS/"):
            assert b"<instanceId>host:orders/1</instanceId>" in (await http.get(path)).content, path
        unknown = await http.put("/eureka/apps/ORDERS/x", headers={"accept": "application/json"})
        assert (unknown.status_code, unknown.content) == (404, b"")
        assert (await http.post("/eureka/apps/ORDERS", content=b"{" * 10)).status_code == 400
        with contextlib.suppress(httpx.NetworkError):  # the server may hang up before it has read all of it
            assert (await http.post("/eureka/apps/ORDERS", content=b" " * (1 << 21))).status_code == 413
        page = {"origin": "http://evil.example"}
        assert (await http.delete("/eureka/apps/ORDERS/x", headers=page)).status_code == 403
        for path in ("/registry/v1/sync", "/registry/v1/exits"):
            assert (await http.post(path, content=b"nonsense")).status_code == 400
        assert (await http.get("/registry/v1/health")).json()["instances"] == 2
