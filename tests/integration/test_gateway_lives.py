"""Deaths and handovers: the agent's, Envoy's, a bad snapshot, two gateways on one port, a drain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import anyio
import gateway_rig
import httpx
import msgspec
import pytest
from gateway_rig import Endpoints, Routes, answers, backends, end_envoy, envoy_of, free_port, gateway, jwks, settings_in

from redqueen import processes
from redqueen.errors import Unavailable
from redqueen.gateway.model import EnvoyAdopted, MediaKeys, RouteInputs, SnapshotRejected, SourceSilent
from redqueen.gateway.routes import default_routes

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client():
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        yield client


@contextmanager
def agent_process(folder: Path, port: int):
    script = Path(gateway_rig.__file__)
    started = subprocess.Popen([sys.executable, str(script), str(folder), str(port)])
    try:
        yield started
    finally:
        started.kill()
        started.wait()


async def test_envoy_serves_on_while_the_agent_is_dead_and_the_next_agent_adopts_it(tmp_path: Path, client):
    port = free_port()
    folder = settings_in(tmp_path, port).folder
    url = f"http://127.0.0.1:{port}/api/x"
    with backends("api-a-1", "api-b-1") as (one, two):
        (tmp_path / "endpoints.json").write_bytes(msgspec.json.encode((one.endpoint(),)))
        try:
            with agent_process(tmp_path, port) as first:
                assert (await answers(client, url, within_s=30)).text.startswith("api-a-1")
                first.kill()
                first.wait()
                envoy = envoy_of(folder)
                for _ in range(50):
                    assert (await client.get(url)).status_code == 200
                assert processes.is_alive(envoy)
            async with gateway(tmp_path, Endpoints(two.endpoint()), Routes(), port=port) as second:
                assert envoy_of(folder) == envoy
                assert EnvoyAdopted(envoy.pid) in second.events
                assert second.envoys[0] == envoy
                with anyio.fail_after(30):
                    while not (await client.get(url)).text.startswith("api-b-1"):
                        await anyio.sleep(0.01)
        finally:
            end_envoy(folder)


async def test_a_killed_envoy_is_back_at_once(tmp_path: Path, client, record_property):
    with backends("api-a-1") as (one,):
        async with gateway(tmp_path, Endpoints(one.endpoint()), Routes()) as running:
            gaps_ms: list[float] = []
            for _ in range(2):
                await running.until_state(lambda state: state.serving)
                old = envoy_of(running.settings.folder)
                killed = time.monotonic()
                assert processes.send_signal(old, signal.SIGKILL)
                await anyio.sleep(0.01)
                assert (await answers(client, running.url + "/api/x")).status_code == 200
                gaps_ms.append((time.monotonic() - killed) * 1000)
                assert envoy_of(running.settings.folder) != old
            record_property("gap_ms", gaps_ms)
            print("killed to serving, ms:", [round(gap) for gap in gaps_ms])  # noqa: T201
            assert min(gaps_ms) < 2000


async def test_two_gateways_share_one_port_and_one_may_die(tmp_path: Path):
    port = free_port()
    with backends("api-a-1") as (one,):
        source = Endpoints(one.endpoint())
        async with (
            gateway(tmp_path, source, Routes(), port=port, zone="a") as first,
            gateway(tmp_path, Endpoints(one.endpoint()), Routes(), port=port, zone="b") as second,
        ):
            for _ in range(40):
                async with httpx.AsyncClient(trust_env=False, timeout=30) as fresh:
                    assert (await fresh.get(first.url + "/api/x")).status_code == 200
            for log in (first.settings.log, second.settings.log):
                with anyio.fail_after(30):
                    while '"event":"Request"' not in log.read_text():
                        await anyio.sleep(0.05)
            first.drain.set()
            failed = 0
            until = time.monotonic() + 2.5
            while time.monotonic() < until:
                async with httpx.AsyncClient(trust_env=False, timeout=30) as fresh:
                    try:
                        assert (await fresh.get(second.url + "/api/x")).status_code == 200
                    except httpx.TransportError:
                        failed += 1
            assert failed == 0
            assert not processes.is_alive(envoy_of(first.settings.folder))


async def test_a_drain_lets_requests_in_flight_finish_and_then_ends_envoy(tmp_path: Path, client):
    with backends("api-a-1") as (one,):
        async with gateway(tmp_path, Endpoints(one.endpoint()), Routes()) as running:
            slow: list[int] = []

            async def ask() -> None:
                slow.append((await client.get(running.url + "/api/slow")).status_code)

            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await anyio.sleep(0.03)
                running.drain.set()
            assert slow == [200]
            with anyio.fail_after(30):
                while processes.is_alive(envoy_of(running.settings.folder)):
                    await anyio.sleep(0.02)


async def test_what_envoy_refuses_is_taken_back_and_told(tmp_path: Path, client):
    with backends("api-a-1") as (one,):
        routes = Routes()
        async with gateway(tmp_path, Endpoints(one.endpoint()), routes) as running:
            good = await running.until_state(lambda state: state.serving)
            files = {path.name: path.read_bytes() for path in (running.settings.folder / "envoy").glob("*.json")}
            # Forty-two bytes are no Ed25519 key: the compiler cannot see that, Envoy can.
            bad = jwks().replace('"x": "', '"x": "AAAAAAAAAAAAA')
            routes.now = RouteInputs(default_routes(), MediaKeys(bad))
            state = await running.until_state(lambda state: state.rejected != "" and state.serving)
            assert state.version == good.version
            assert "jwks" in state.because.lower()
            assert any(isinstance(event, SnapshotRejected) for event in running.events)
            now = {path.name: path.read_bytes() for path in (running.settings.folder / "envoy").glob("*.json")}
            assert now == files
            assert (await client.get(running.url + "/api/x")).status_code == 200
            os.kill(envoy_of(running.settings.folder).pid, signal.SIGKILL)
            await anyio.sleep(0.05)
            assert (await answers(client, running.url + "/api/x")).status_code == 200
            routes.now = Routes().now
            await running.until_state(lambda state: state.serving and not state.rejected, within_s=30)


async def test_an_agent_without_any_answer_serves_from_its_last_good_files(tmp_path: Path, client):
    class Silent:
        async def watch(self):
            raise Unavailable("registry.silent", "No registry answers")
            yield ()

        async def read(self):
            raise Unavailable("store.silent", "The store does not answer")

    port = free_port()
    with backends("api-a-1") as (one,):
        async with gateway(tmp_path, Endpoints(one.endpoint()), Routes(), port=port) as running:
            await running.until_state(lambda state: state.serving)
        # The worst moment: a file was torn when the machine went down.
        torn = running.settings.folder / "envoy" / "lds.json"
        torn.write_bytes(torn.read_bytes()[:100])
        async with gateway(tmp_path, Silent(), Silent(), port=port) as again:
            assert (await answers(client, again.url + "/api/x")).text.startswith("api-a-1")
            assert (await client.get(again.url + "/media/t1/a.m4s")).status_code == 401
            assert {event.source for event in again.events if isinstance(event, SourceSilent)} == {
                "endpoints",
                "routes",
            }
            assert again.states[-1].silent == ("endpoints", "routes")


async def test_an_envoy_that_hangs_is_replaced(tmp_path: Path, client):
    with backends("api-a-1") as (one,):
        async with gateway(tmp_path, Endpoints(one.endpoint()), Routes()) as running:
            old = envoy_of(running.settings.folder)
            assert processes.send_signal(old, signal.SIGSTOP)
            with anyio.fail_after(30):
                while envoy_of(running.settings.folder) == old:
                    await anyio.sleep(0.05)
            assert (await answers(client, running.url + "/api/x")).status_code == 200


async def test_a_taken_port_is_told_and_the_listener_comes_up_when_it_is_free(tmp_path: Path, client):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with backends("api-a-1") as (one,):
            async with gateway(tmp_path, Endpoints(one.endpoint()), Routes(), port=port) as running:
                state = await running.until_state(lambda state: state.because != "")
                assert not state.serving
                assert "in use" in state.because
                taken.close()
                await running.until_state(lambda state: state.serving, within_s=30)
                assert (await client.get(running.url + "/api/x")).status_code == 200
