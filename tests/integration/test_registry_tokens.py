"""A registry with a secret: every way to write asks for the right, and evidence evicts within a moment."""

from __future__ import annotations

import contextlib
import socket
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import httpx
import pytest
from registry_node import say

from redqueen.clock import SystemClock
from redqueen.events import discard
from redqueen.registry import client, service
from redqueen.registry.client import Registrar
from redqueen.registry.messages import Suspect, SyncRequest, Told, encode
from redqueen.registry.model import Instance, Record, Status, Version
from redqueen.registry.rights import REGION, mint

pytestmark = pytest.mark.anyio
SECRET = b"k" * 64
REGION_TOKEN = mint(SECRET, REGION)
TEAM_TOKEN = mint(SECRET, "team-a")


@contextlib.asynccontextmanager
async def served(path: Path, declared: Sequence[str] = ()) -> AsyncIterator[str]:
    ports: list[int] = []
    listening = anyio.Event()

    def ready(port: int) -> None:
        ports.append(port)
        listening.set()

    async def run() -> None:
        await service.serve(
            "127.0.0.1",
            0,
            [],
            path,
            SystemClock(),
            discard,
            ready,
            secret=SECRET,
            reserved=["api", "orders"],
            declared=lambda: declared,
        )

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await listening.wait()
        yield f"http://127.0.0.1:{ports[0]}"
        group.cancel_scope.cancel()


def document(app: str, instance_id: str = "x", **changes: object) -> dict[str, object]:
    fields = {"instanceId": instance_id, "app": app, "hostName": "h", "ipAddr": "127.0.0.1"}
    return {"instance": {**fields, "dataCenterInfo": {"name": "MyOwn"}, **changes}}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_every_way_to_write_needs_the_right(tmp_path: Path) -> None:
    batch = {"appName": "API", "id": "x", "action": "Register", "instanceInfo": document("API")["instance"]}
    forged = Record(Instance("API", "x", "h", 1, status=Status.UP), Version(1, 0, "evil"), 1)
    writes: list[tuple[str, str, object]] = [
        ("POST", "/eureka/apps/API", document("API")),
        ("POST", "/eureka/v2/apps/EVIL", document("EVIL", vipAddress="api")),
        ("POST", "/eureka/v2/apps/EVIL", document("EVIL", secureVipAddress="x,API")),
        ("PUT", "/eureka/apps/API/a-1", None),
        ("PUT", "/eureka/apps/API/a-1?status=UP&lastDirtyTimestamp=1", None),
        ("DELETE", "/eureka/apps/API/a-1", None),
        ("PUT", "/eureka/v2/apps/API/a-1/status?value=DOWN", None),
        ("DELETE", "/eureka/apps/API/a-1/status", None),
        ("PUT", "/eureka/apps/API/a-1/metadata?zone=x", None),
        ("POST", "/eureka/peerreplication/batch/", {"replicationList": [batch]}),
        ("POST", "/eureka/v2/peerreplication/batch/", {"replicationList": [batch]}),
        ("POST", "/registry/v1/sync", SyncRequest("evil", (Told(forged, 0.0),))),
        ("POST", "/registry/v1/exits", {"app": "API", "instance_id": "a-1", "because": "x", "at_ms": 1 << 50}),
        ("POST", "/registry/v1/suspects", []),
    ]
    async with served(tmp_path / "s.json") as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        own = Instance("API", "a-1", "127.0.0.1", 9, status=Status.UP)
        await say(Registrar([url], own, SystemClock(), token=REGION_TOKEN), Status.UP)
        for headers in ({}, bearer(TEAM_TOKEN)):
            for method, path, body in writes:
                sent = None if body is None else encode(body)
                answer = await http.request(
                    method, path, content=sent, headers={**headers, "content-type": "application/json"}
                )
                assert answer.status_code == 403, (method, path, headers)
        for method, path, _ in writes:
            for header in ("Bearer region.x", "Basic eDp5"):
                answer = await http.request(method, path, headers={"authorization": header})
                assert answer.status_code == 401, (method, path)
        handed_on = {"x-netflix-discovery-replication": "true", "content-type": "application/json"}
        assert (await http.put("/eureka/apps/FREE/x", headers=handed_on)).status_code == 403
        found = (await http.get("/eureka/apps/API/a-1", headers={"accept": "application/json"})).json()["instance"]
        assert (found["status"], found["overriddenStatus"], found["metadata"]) == ("UP", "UNKNOWN", {})
        assert (await http.get("/registry/v1/health")).json()["instances"] == 1


async def test_a_refused_heartbeat_has_no_body_since_java_clients_would_parse_it(tmp_path: Path) -> None:
    async with served(tmp_path / "s.json") as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        own = Instance("API", "a-1", "127.0.0.1", 9, status=Status.UP)
        await say(Registrar([url], own, SystemClock(), token=REGION_TOKEN), Status.UP)
        for query in ("", "?status=UP&lastDirtyTimestamp=1"):
            answer = await http.put(f"/eureka/apps/API/a-1{query}")
            assert (answer.status_code, answer.content) == (403, b"")
        assert "belongs to 'region'" in (await http.post("/eureka/apps/API", json=document("API"))).json()["why"]


async def test_a_eureka_client_proves_itself_by_its_address(tmp_path: Path) -> None:
    async with served(tmp_path / "s.json") as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        basic = {"authorization": "Basic " + b64encode(f"team-a:{TEAM_TOKEN}".encode()).decode()}
        assert (await http.post("/eureka/apps/BILLS", json=document("BILLS"), headers=basic)).status_code == 204
        assert (await http.put("/eureka/apps/BILLS/x", headers=basic)).status_code == 200
        assert (await http.put("/eureka/apps/BILLS/x")).status_code == 403
        assert (await http.post("/eureka/apps/BILLS", json=document("BILLS", "y"))).status_code == 403
        assert (await http.post("/eureka/apps/FREE", json=document("FREE"))).status_code == 204


async def test_a_suspect_that_refuses_is_gone_within_a_moment_and_one_that_accepts_stays(tmp_path: Path) -> None:
    dead = socket.create_server(("127.0.0.1", 0))
    with socket.create_server(("127.0.0.1", 0)) as lives:
        ports = [lives.getsockname()[1], dead.getsockname()[1]]
        dead.close()
        async with served(tmp_path / "s.json") as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
            instances = [Instance("API", f"a-{port}", "127.0.0.1", port, lease_s=90) for port in ports]
            for instance in instances:
                await say(Registrar([url], instance, SystemClock(), token=REGION_TOKEN), Status.UP)
            suspects = [Suspect("api", i.instance_id, i.host, i.port, "a gateway could not connect") for i in instances]
            elsewhere = Suspect("api", instances[0].instance_id, "127.0.0.1", 1, "another address")
            assert not await client.report_suspects([url], suspects)
            begin_s = time.monotonic()
            assert await client.report_suspects([url], [*suspects, elsewhere], REGION_TOKEN)
            while (await http.get("/registry/v1/health")).json()["instances"] != 1:
                assert time.monotonic() - begin_s < 30
                await anyio.sleep(0.01)
            await anyio.sleep(0.5)
            assert f"a-{ports[0]}</instanceId>" in (await http.get("/eureka/apps/API")).text


async def test_a_name_that_the_region_declares_while_it_runs_is_taken_from_whoever_holds_it(tmp_path: Path) -> None:
    declared: list[str] = []
    async with (
        served(tmp_path / "s.json", declared) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        assert (await http.post("/eureka/apps/BILLS", json=document("BILLS"))).status_code == 204
        declared.append("bills")
        with anyio.fail_after(30):
            while (await http.get("/eureka/apps/BILLS/x")).status_code != 404:
                await anyio.sleep(0.05)
        assert (await http.post("/eureka/apps/BILLS", json=document("BILLS"))).status_code == 403
