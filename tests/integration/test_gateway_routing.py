"""Requests through a real Envoy to real backends: routing, retries, changes, trust."""

from __future__ import annotations

import select
import socket
import time
from pathlib import Path

import anyio
import httpx
import pytest
from gateway_rig import Endpoints, Routes, backends, free_port, gateway

from redqueen.gateway.model import EndpointStatus, Policy, Route, RouteInputs, SnapshotApplied
from redqueen.gateway.routes import default_routes

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client():
    limits = httpx.Limits(max_connections=20)
    async with httpx.AsyncClient(timeout=30, trust_env=False, limits=limits) as client:
        yield client


async def test_no_get_fails_when_one_of_two_backends_is_killed_with_requests_in_flight(tmp_path: Path, client):
    with backends("api-a-1", "api-b-1") as (one, two):
        source = Endpoints(one.endpoint("a"), two.endpoint("b"))
        async with gateway(tmp_path, source, Routes()) as running:
            statuses: list[int] = []
            names: set[str] = set()

            async def ask(path: str) -> None:
                for _ in range(20):
                    answer = await client.get(running.url + path)
                    statuses.append(answer.status_code)
                    names.add(answer.text.split()[0])

            async with anyio.create_task_group() as group:
                for number in range(16):
                    group.start_soon(ask, "/api/slow" if number < 8 else "/api/quick")
                with anyio.fail_after(30):
                    while len(names) < 2:
                        await anyio.sleep(0.02)
                one.kill()
            assert statuses.count(200) == len(statuses) == 16 * 20


async def test_the_own_zone_is_preferred_and_the_other_zone_is_used_too(tmp_path: Path, client):
    with backends("api-a-1", "api-b-1") as (one, two):
        async with gateway(tmp_path, Endpoints(one.endpoint("a"), two.endpoint("b")), Routes()) as running:
            names = [(await client.get(running.url + "/api/x")).text.split()[0] for _ in range(50)]
            assert names.count("api-a-1") > 30
            assert names.count("api-b-1") > 0


async def test_a_change_of_endpoints_is_in_effect_within_a_tenth_of_a_second(tmp_path: Path, client, record_property):
    with backends("api-a-1", "api-b-1") as (one, two):
        source = Endpoints(one.endpoint())
        async with gateway(tmp_path, source, Routes()) as running:
            await running.until_state(lambda state: state.serving)
            took_ms: list[float] = []
            for turn in range(10):
                wanted = (two, one)[turn % 2]
                began = time.monotonic()
                source.set(wanted.endpoint())
                while (await client.get(running.url + "/api/x")).text.split()[0] != wanted.name:
                    pass
                took_ms.append((time.monotonic() - began) * 1000)
            record_property("change_to_effect_ms", took_ms)
            print("change to effect, ms:", [round(value, 1) for value in sorted(took_ms)])  # noqa: T201
            # A busy machine may make any of them late; what waits for nothing is quick now and then.
            assert min(took_ms) < 100
            assert sorted(took_ms)[5] < 1000
            applied = [event for event in running.events if isinstance(event, SnapshotApplied)]
            assert applied[-1].files == ("eds-api.json",)


async def test_a_draining_endpoint_gets_no_new_requests(tmp_path: Path, client):
    with backends("api-a-1", "api-b-1") as (one, two):
        source = Endpoints(one.endpoint(), two.endpoint())
        async with gateway(tmp_path, source, Routes()) as running:
            leaving = one.endpoint()
            out = type(leaving)("api", one.name, leaving.host, leaving.port, "a", "", EndpointStatus.OUT_OF_SERVICE)
            before = await running.until_state(lambda state: state.serving)
            source.set(out, two.endpoint())
            await running.until_state(lambda state: state.serving and state.version != before.version)
            names = {(await client.get(running.url + "/api/x")).text.split()[0] for _ in range(30)}
            assert names == {"api-b-1"}


async def test_without_any_endpoint_the_answer_says_so_as_json(tmp_path: Path, client):
    async with gateway(tmp_path, Endpoints(), Routes()) as running:
        answer = await client.get(running.url + "/api/x")
        assert answer.status_code == 503
        assert set(answer.json()) == {"code", "what", "why", "hint"}
        assert answer.json()["code"] == "gateway.unavailable"


async def test_a_post_goes_to_another_node_when_the_first_refuses_the_connection(tmp_path: Path, client):
    with backends("api-b-1") as (two,):
        dead = type(two.endpoint())("api", "api-a-1", "127.0.0.1", free_port(), "a")
        async with gateway(tmp_path, Endpoints(dead, two.endpoint("b")), Routes()) as running:
            for _ in range(30):
                answer = await client.post(running.url + "/api/x", content=b"x" * 1000)
                assert answer.status_code == 200
                assert answer.text.startswith("api-b-1 /api/x 1000")


async def test_headers_from_outside_cannot_steer_envoy_or_pose_as_a_request_id(tmp_path: Path, client):
    with backends("api-a-1") as (one,):
        async with gateway(tmp_path, Endpoints(one.endpoint()), Routes()) as running:
            headers = {
                "x-envoy-upstream-rq-timeout-ms": "1",
                "x-envoy-original-path": "/admin",
                "x-rq-media-token": "mine",
                "x_rq_media_token": "mine",
                "x-request-id": "mine",
                "x-forwarded-for": "10.1.1.1",
            }
            answer = await client.get(running.url + "/api/slow", headers=headers)
            assert answer.status_code == 200
            assert "mine" not in answer.text
            assert "/admin" not in answer.text
            assert answer.headers["x-request-id"] != "mine"
            assert answer.headers["x-request-id"] in answer.text


async def test_large_bodies_stream_on_the_upload_route_and_are_refused_elsewhere(tmp_path: Path, client):
    with backends("api-a-1") as (one,):
        async with gateway(tmp_path, Endpoints(one.endpoint()), Routes()) as running:
            body = b"x" * (9 << 20)
            answer = await client.patch(running.url + "/api/v1/uploads/u1", content=body)
            assert answer.text.startswith(f"api-a-1 /api/v1/uploads/u1 {len(body)}")
            refused = await anyio.to_thread.run_sync(_send_until_answered, running.settings.listen_port, len(body))
            assert refused.startswith("HTTP/1.1 413")
            assert "gateway.too_large" in refused


def _send_until_answered(port: int, size_bytes: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
        raw.sendall(f"POST /api/v1/titles HTTP/1.1\r\nhost: x\r\ncontent-length: {size_bytes}\r\n\r\n".encode())
        sent = 0
        while sent < size_bytes and not select.select([raw], [], [], 0.001)[0]:
            sent += raw.send(b"x" * 65_536)
        return raw.recv(65_536).decode()


async def test_a_route_can_be_added_while_running(tmp_path: Path, client):
    with backends("api-a-1", "shop-a-1") as (one, two):
        routes = Routes()
        shop = type(one.endpoint())("shop", two.name, "127.0.0.1", two.port, "a")
        async with gateway(tmp_path, Endpoints(one.endpoint(), shop), routes) as running:
            assert (await client.get(running.url + "/shop/1")).text.startswith("api-a-1")
            before = await running.until_state(lambda state: state.serving)
            added = (*default_routes(), Route("/shop", "shop", Policy(timeout_s=5)))
            routes.now = RouteInputs(added, routes.now.media)
            await running.until_state(lambda state: state.serving and state.version != before.version)
            assert (await client.get(running.url + "/shop/1")).text.startswith("shop-a-1")
            assert (await client.get(running.url + "/shopping")).text.startswith("api-a-1")


async def test_http2_without_tls_is_spoken(tmp_path: Path):
    with backends("api-a-1") as (one,):
        async with gateway(tmp_path, Endpoints(one.endpoint()), Routes()) as running:
            with socket.create_connection(("127.0.0.1", running.settings.listen_port), timeout=30) as raw:
                raw.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
                header = raw.recv(9)
                assert header[3] == 4  # a SETTINGS frame: the server took up HTTP/2
