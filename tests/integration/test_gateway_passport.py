"""Each request's line in a real Envoy's log: where it went, its tries, whose fault it was, and never a token."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from gateway_rig import Backend, Endpoints, Gateway, Routes, backends, free_port, gateway, put_media, token

from redqueen.gateway.model import Endpoint
from redqueen.gateway.passport import explained, fault_of, joined

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def served(folder: Path, *dead: str) -> AsyncIterator[tuple[Gateway, Backend, httpx.AsyncClient]]:
    put_media(folder)
    with backends("api-a-1") as (one,):
        gone = [Endpoint("api", name, "127.0.0.1", free_port(), "b", "v7") for name in dead]
        async with (
            gateway(folder, Endpoints(one.endpoint(), *gone), Routes()) as running,
            httpx.AsyncClient(base_url=running.url, trust_env=False, timeout=30) as client,
        ):
            await running.until_state(lambda state: state.serving)
            yield running, one, client


async def passport_of(running: Gateway, request_id: str) -> dict[str, Any]:
    with anyio.fail_after(30):
        while True:
            lines = [line for line in running.settings.log.read_text().splitlines() if request_id in line]
            found = joined(lines)
            if found:
                return found[0]
            await anyio.sleep(0.05)


async def test_a_quick_answer_tells_where_it_came_from_and_where_the_time_went(tmp_path: Path):
    async with served(tmp_path) as (running, _, client):
        answer = await client.get("/api/slow?secret=1")
        line = await passport_of(running, answer.headers["x-request-id"])
        assert (line["method"], line["path"], line["status"], line["fault"]) == ("GET", "/api/slow", 200, "none")
        assert (line["route"], line["service"], line["priority"]) == ("/api/", "api", "browsing")
        assert (line["upstream_node"], line["upstream_zone"], line["tries"]) == ("api-a-1", "a", 1)
        assert line["think_us"] >= 90_000
        assert 0 <= line["read_us"] <= line["reach_us"]
        assert line["send_us"] >= 0
        assert line["attempts"] == []
        assert "secret" not in running.settings.log.read_text()


async def test_tries_that_failed_stand_beside_the_one_that_answered(tmp_path: Path):
    async with served(tmp_path, "api-b-1", "api-b-2") as (running, _, client):
        with anyio.fail_after(30):
            while True:
                answer = await client.get("/api/x")
                assert answer.status_code == 200
                line = await passport_of(running, answer.headers["x-request-id"])
                if line["tries"] > 1:
                    break
        assert line["upstream_node"] == "api-a-1"
        assert line["fault"] == "none"
        assert len(line["attempts"]) == line["tries"] - 1
        for attempt in line["attempts"]:
            assert attempt["node"] in ("api-b-1", "api-b-2")
            assert attempt["outcome"] == "no connection"
            assert attempt["upstream_version"] == "v7"
            assert "refused" in attempt["failure"].lower()


async def test_a_request_that_no_node_answers_is_the_services_fault(tmp_path: Path):
    async with served(tmp_path) as (running, one, client):
        one.kill()
        answer = await client.get("/api/x")
        assert answer.status_code == 503
        line = await passport_of(running, answer.headers["x-request-id"])
        assert line["fault"] == "service"
        assert "the service's fault" in explained(line)
        assert {attempt["outcome"] for attempt in line["attempts"]} <= {"no connection", "connection lost"}


async def test_whatever_goes_wrong_before_a_service_is_the_clients_fault_and_shows_no_token(tmp_path: Path):
    async with served(tmp_path) as (running, _, client):
        right = token("t1")
        assert (await client.get(f"/v/{right}/t1/master.m3u8")).status_code == 200
        wrong = [
            f"/v/{right}/t2/master.m3u8",
            f"/v/{right}/t1/none.m4s",
            f"/v/{right}/t1/a%2fb.m4s",
            f"/v/{right}/t1//x.m4s",
            f"/v/{right}",
            f"/media/{right}/x",
            f"/%76/{right}/x.m4s",
            f"/api/../v/{right}/",
        ]
        for path in wrong:
            with socket.create_connection(("127.0.0.1", running.settings.listen_port), 5) as raw:
                raw.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
                # No media path, but one the api may know: it comes to a service, and its line says no more.
                assert raw.recv(100).split()[1].startswith(b"2" if path.startswith("/%76") else b"4")
        with socket.create_connection(("127.0.0.1", running.settings.listen_port), 5) as raw:
            raw.sendall(b"GET /api/slow HTTP/1.1\r\nhost: x\r\n\r\n")
            time.sleep(0.03)
        with anyio.fail_after(30):
            while (text := running.settings.log.read_text()).count('"event":"Request"') < len(wrong) + 1:
                await anyio.sleep(0.05)
        for part in right.split("."):
            assert part not in text
        requests = [line for line in joined(text.splitlines()) if line["status"] != 200]
        assert {line["fault"] for line in requests} == {"client"}


async def test_the_verdict_in_the_line_is_the_rules(tmp_path: Path):
    async with served(tmp_path, "api-b-1") as (running, one, client):
        for path in ("/api/x", "/media/t1/x.m4s", "/media/t1/nothing", "/a%2fb"):
            await client.get(path)
        one.kill()
        await client.get("/api/x")
        await anyio.sleep(0.5)
        found = joined(running.settings.log.read_text().splitlines())
        assert len(found) >= 5
        for line in found:
            assert "fault" in line
            assert line["fault"] == fault_of(line["status"], line["details"])
