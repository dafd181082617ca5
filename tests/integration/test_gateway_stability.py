"""What a region's Envoys do when nobody else is left, and how evidence of gateways ends a dead foreign instance."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from gateway_load import load
from gateway_rig import Backend, answers, backends
from node_rig import Nodes, nodes, ports_of
from registry_node import say

from redqueen import processes
from redqueen.accounts.keys import MediaKeys
from redqueen.clock import SystemClock
from redqueen.fleet.datadir import registry_key
from redqueen.fleet.model import Role
from redqueen.registry.client import Registrar, watch
from redqueen.registry.model import Instance, Status
from redqueen.registry.rights import REGION, mint
from redqueen.roles.gateway_note import gateway_state, warning
from redqueen.roles.stores import open_records

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

FOREIGN_LEASE_S = 90


async def until(holds: Any, *, within_s: float = 40) -> float:
    began = time.monotonic()
    with anyio.fail_after(within_s):
        while not holds():
            await anyio.sleep(0.02)
    return time.monotonic() - began


def instance(name: str, port: int, *, lease_s: int) -> Instance:
    return Instance(
        "API", name, "127.0.0.1", port, ip="127.0.0.1", status=Status.UP, zone="a", version="1", lease_s=lease_s,
        renewal_s=1,
    )  # fmt: skip


@asynccontextmanager
async def registered(region: Nodes, *instances: Instance) -> AsyncIterator[dict[str, set[str]]]:
    """Keep instances registered as their own clients would, and follow who is there."""
    token, seen = mint(registry_key(region.data_dir), REGION), {"names": set[str]()}
    registrars = [Registrar(region.registry_urls, one, SystemClock(), token=token) for one in instances]

    async def follow() -> None:
        async for found in watch(region.registry_urls):
            seen["names"] = {one.instance_id for one in found}

    async with anyio.create_task_group() as group:
        for registrar in registrars:
            await group.start(registrar.run)
        group.start_soon(follow)
        yield seen
        group.cancel_scope.cancel()


async def begin(region: Nodes, *, gateways: str) -> list[str]:
    await region.prepare()
    started = [
        region.start(Role.REGISTRY, zone, port) for zone, port in zip("ab", ports_of(region.registry_urls), strict=True)
    ]
    started += [region.start(Role.GATEWAY, zone) for zone in gateways]
    await until(lambda: all(region.is_ready(node_id) for node_id in started), within_s=60)
    return started


async def media_token(region: Nodes) -> str:
    records = open_records(region.data_dir, SystemClock())
    try:
        return (await MediaKeys(records, SystemClock()).sign(["t1"], 600)).token
    finally:
        await records.close()


def put_film(region: Nodes) -> None:
    folder = region.data_dir / "objects" / "media" / "t1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1.m4s").write_bytes(b"film" * 1000)


async def test_with_everything_else_dead_envoys_serve_and_a_gateway_that_restarts_serves_too(tmp_path: Path):
    with nodes(tmp_path / "data") as region, backends("api-a-1") as (one,):
        started = await begin(region, gateways="ac")
        put_film(region)
        film = f"{region.url}/v/{await media_token(region)}/t1/1.m4s"
        client = httpx.AsyncClient(trust_env=False, timeout=30)
        async with client, registered(region, instance("api-a-1", one.port, lease_s=3)):
            await served_by_all(region, client, film)
            for node_id in started:
                region.kill(node_id)
        # Nobody heartbeats, nobody evicts, nobody follows any more: longer than the lease.
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            await anyio.sleep(4)
            await served_by_all(region, client, film)
            await a_gateway_returns(region, client, film, "gateway-a-1")
            await until(lambda: "the registries cannot be read" in told(region, "gateway-a-1"))
            # Not even the store can be read.
            for path in region.data_dir.glob("store.sqlite3*"):
                path.write_bytes(b"no database" * 1000)
            await a_gateway_returns(region, client, film, "gateway-c-1")
            await until(lambda: "the registries and the store cannot be read" in told(region, "gateway-c-1"))
            (region.data_dir / "store.sqlite3").unlink()
            await a_gateway_returns(region, client, film, "gateway-a-1")


def told(region: Nodes, node_id: str) -> str:
    state = gateway_state(region.data_dir, node_id)
    return "" if state is None else warning(state)


async def served_by_all(region: Nodes, client: httpx.AsyncClient, film: str) -> None:
    """See each Envoy answer film and service; which one takes a new connection is the kernel's choice."""
    logs = [region.data_dir / "logs" / f"gateway-{zone}-1.log" for zone in "ac"]
    before = [log.read_text().count('"path":"/api/x"') for log in logs]
    with anyio.fail_after(30):
        while any(log.read_text().count('"path":"/api/x"') <= had for log, had in zip(logs, before, strict=True)):
            async with httpx.AsyncClient(trust_env=False, timeout=30) as fresh:
                assert (await fresh.get(film)).content == b"film" * 1000
                answer = await fresh.get(f"{region.url}/api/x")
                # The route and the instance may be a moment away at the very start.
                if answer.status_code == 503:
                    assert before == [0, 0]
                await anyio.sleep(0.01)


async def a_gateway_returns(region: Nodes, client: httpx.AsyncClient, film: str, node_id: str) -> None:
    """Kill an Envoy and its agent (if any), start the node anew, and see the new Envoy serve."""
    if node_id in region.running:
        region.kill(node_id)
    old = region.envoy(node_id)
    assert old is not None
    processes.send_signal(old, signal.SIGKILL)
    region.start(Role.GATEWAY, node_id.split("-")[1])
    took_s = await until(lambda: (now := region.envoy(node_id)) not in (None, old) and now is not None)
    print(f"{node_id}: a new Envoy after {took_s:.1f} s")  # noqa: T201
    await until(lambda: (state := gateway_state(region.data_dir, node_id)) is not None and state.serving)
    await served_by_all(region, client, film)


async def test_a_gateway_that_is_replaced_leaves_its_envoy_to_its_successor_under_load(tmp_path: Path):
    with nodes(tmp_path / "data") as region, backends("api-a-1") as (one,):
        await begin(region, gateways="a")
        async with registered(region, instance("api-a-1", one.port, lease_s=30)):
            await until_used(region, one)
            envoy = region.envoy("gateway-a-1")
            with load(region.public_port, 6) as asked:
                await anyio.sleep(1)
                leaving = region.running["gateway-a-1"]
                leaving.send_signal(signal.SIGHUP)
                assert await anyio.to_thread.run_sync(lambda: leaving.wait(15)) == 0
                region.start(Role.GATEWAY, "a")
                await until(lambda: region.is_ready("gateway-a-1"))
            assert asked.failures == {}
            assert asked.answered > 100
            assert region.envoy("gateway-a-1") == envoy


async def test_nothing_in_the_files_of_a_gateway_runs_out(tmp_path: Path):
    with nodes(tmp_path / "data") as region, backends("api-a-1") as (one,):
        await begin(region, gateways="a")
        async with registered(region, instance("api-a-1", one.port, lease_s=3)) as seen:
            await until(lambda: "api-a-1" in seen["names"])
            folder = region.data_dir / "nodes" / "gateway-a-1" / "envoy"
            await until(lambda: b'"127.0.0.1"' in (folder / "eds-api.json").read_bytes())
        keys = {key for path in folder.glob("*.json") for key in _keys(json.loads(path.read_bytes()))}
        # What Envoy empties by a timer of its own: stale endpoints, resources with a life, keys fetched from others.
        assert not keys & {"endpoint_stale_after", "ttl", "remote_jwks", "cache_duration", "api_config_source", "ads"}
        assert "local_jwks" in keys


def _keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return {str(key) for key in value} | {key for inner in value.values() for key in _keys(inner)}
    if isinstance(value, list):
        return {key for inner in value for key in _keys(inner)}
    return set()


class HangsUp:
    """A service that accepts and hangs up in the middle of every request: ill, but alive."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.hung_up = 0

    async def run(self) -> None:
        self._listener.setblocking(False)
        with self._listener:
            while True:
                await anyio.wait_readable(self._listener)
                connection, _ = self._listener.accept()
                with connection, anyio.move_on_after(5):
                    connection.setblocking(False)
                    await anyio.wait_readable(connection)
                    connection.recv(65536)
                self.hung_up += 1


async def test_a_dead_foreign_instance_is_gone_within_moments_and_an_ill_one_stays(tmp_path: Path, record_property):
    with nodes(tmp_path / "data") as region, backends("api-a-1", "api-b-1") as (one, two):
        await begin(region, gateways="a")
        ill = HangsUp()
        async with (
            anyio.create_task_group() as group,
            registered(
                region,
                instance("api-a-1", one.port, lease_s=FOREIGN_LEASE_S),
                instance("api-b-1", two.port, lease_s=FOREIGN_LEASE_S),
                instance("ill-b-1", ill.port, lease_s=FOREIGN_LEASE_S),
            ) as seen,
        ):
            group.start_soon(ill.run)
            await until(lambda: {"api-a-1", "api-b-1", "ill-b-1"} <= seen["names"])
            await until_used(region, one, two)
            with load(region.public_port, 6, path="/api/slow", kept=8, fresh=0) as asked:
                await anyio.sleep(2)
                await anyio.to_thread.run_sync(two.kill)
                gone_s = await until(lambda: "api-b-1" not in seen["names"], within_s=30)
            print(f"a dead instance with a lease of {FOREIGN_LEASE_S} s was gone after {gone_s:.2f} s")  # noqa: T201
            record_property("gone_s", gone_s)
            assert gone_s < FOREIGN_LEASE_S / 4
            assert ill.hung_up > 0
            assert {"api-a-1", "ill-b-1"} <= seen["names"]
            assert asked.failures == {}
            assert asked.answered > 100
            group.cancel_scope.cancel()


async def until_used(region: Nodes, *all_of: Backend) -> None:
    """Ask until each of these has answered."""
    left = {one.name for one in all_of}
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        with anyio.fail_after(30):
            while left:
                left.discard((await answers(client, f"{region.url}/api/x")).text.split(" ")[0])


async def test_a_change_is_in_the_gateways_file_within_moments(tmp_path: Path, record_property):
    with nodes(tmp_path / "data") as region, backends("api-a-1") as (one,):
        await begin(region, gateways="a")
        token, times_ms = mint(registry_key(region.data_dir), REGION), list[float]()
        file = region.data_dir / "nodes" / "gateway-a-1" / "envoy" / "eds-api.json"
        changing = Registrar(
            region.registry_urls, instance("api-a-1", one.port, lease_s=30), SystemClock(), token=token
        )
        async with anyio.create_task_group() as group:
            await group.start(changing.run)
            await until(lambda: b'"HEALTHY"' in file.read_bytes())
            for status, word in [(Status.OUT_OF_SERVICE, b'"DRAINING"'), (Status.UP, b'"HEALTHY"')] * 10:
                began = time.monotonic()
                await say(changing, status)
                while word not in file.read_bytes():
                    await anyio.sleep(0.001)
                times_ms.append((time.monotonic() - began) * 1000)
            group.cancel_scope.cancel()
        times_ms.sort()
        record_property("change_ms", times_ms)
        print(f"changed to written at the gateway, ms: median {times_ms[10]:.0f}, worst {times_ms[-1]:.0f}")  # noqa: T201
        assert times_ms[10] < 1000
