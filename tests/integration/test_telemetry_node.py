"""Telemetry against real api nodes: killed after they acknowledged, forged at, told twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx
import msgspec
import psutil
import pytest
from api_region import BEARER, REGION_SECRET, build

from redqueen.clock import SystemClock
from redqueen.registry.rights import mint
from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.store.drivers.sqlite import SqliteRecords
from redqueen.telemetry.grants import opened, secret_of, signed
from redqueen.telemetry.model import WINDOW_S, Grant, SessionRow
from redqueen.telemetry.parquet import Lake
from redqueen.telemetry.sessions import CLOSES_S

NODE = Path(__file__).with_name("api_node.py")
REGION = {"Authorization": f"Bearer {mint(REGION_SECRET, 'region')}"}
EVENTS = "/telemetry/v1/events"


@dataclass
class Node:
    """A running api node."""

    process: subprocess.Popen[bytes]
    client: httpx.Client

    def grant(self, title: str) -> dict[str, object]:
        """Ask for a session."""
        answer = self.client.post(f"/api/v1/titles/{title}/sessions", json={"device": "tv"}, headers=BEARER)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def tell(self, token: object, events: list[dict[str, object]], **headers: str) -> httpx.Response:
        """Send events as navigator.sendBeacon does."""
        body = json.dumps({"token": token, "events": events})
        return self.client.post(EVENTS, content=body, headers={"content-type": "text/plain", **headers})

    def rows(self, since: int, until: int) -> list[SessionRow]:
        """Read sessions as the leader does."""
        answer = self.client.get(f"/telemetry/v1/sessions?since={since}&until={until}", headers=REGION)
        assert answer.status_code == 200, answer.text
        return msgspec.msgpack.decode(answer.content, type=list[SessionRow])

    def kill(self) -> None:
        """End it at once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def node(folder: Path) -> Generator[Node]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, str(NODE), str(folder), str(port)], stdout=log, stderr=log)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and process.poll() is None:
                try:
                    if client.get("/api/v1/health").status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.1)
            else:
                pytest.fail("the api node did not start")
            yield Node(process, client)
        finally:
            process.kill()
            process.wait()


def title_in(folder: Path) -> str:
    async def make() -> str:
        clock = SystemClock()
        region = build(folder, SqliteRecords.open(folder / "store.sqlite3", clock), clock)
        made = await region.services.catalogue.create("A film", size_bytes=1)
        await region.records.close()
        return made.id

    return anyio.run(make)


def event(seq: int, **sums: object) -> dict[str, object]:
    return {"seq": seq, "kind": "heartbeat", "at_ms": 400 * seq, **sums}


def in_parquet(folder: Path, sql: str) -> list[tuple[object, ...]]:
    """Ask Parquet, after what a dead node left unshipped was shipped as its successor would."""

    async def ask() -> list[tuple[object, ...]]:
        lake = Lake(ObstoreObjects.folder(folder / "objects"), folder / "scratch")
        for path in sorted((folder / "telemetry").glob("*/*.jsonl")):
            await lake.ship(path, f"{path.parent.name}-{path.stem}")
        now = time.time()
        return await lake.query(now - 3700, now + 60, sql)

    return anyio.run(ask)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Path, Node]]:
    """Give one node for the tests that kill none, and its folder."""
    folder = tmp_path_factory.mktemp("shared")
    with node(folder) as one:
        yield folder, one


def counted(one: Node) -> dict[str, float]:
    """Read what a node has counted of telemetry."""
    answer = one.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    lines = [line for line in answer.text.splitlines() if line.startswith("redqueen_telemetry_")]
    found = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines}
    return {name.removeprefix("redqueen_telemetry_").removesuffix("_total"): value for name, value in found.items()}


def wait_until(known: float) -> None:
    while time.time() < known:
        time.sleep(0.1)


def test_a_node_killed_after_it_acknowledged_loses_nothing_and_what_comes_twice_counts_once(tmp_path: Path) -> None:
    title = title_in(tmp_path)
    with node(tmp_path) as first, node(tmp_path) as second:
        told, silent = first.grant(title), first.grant(title)
        for seq in range(1, 6):
            answer = first.tell(told["token"], [event(seq, delay_ms=300, played_ms=100 * seq)])
            assert (answer.status_code, answer.content) == (204, b"")
        assert first.tell(told["token"], [event(5, delay_ms=300, played_ms=500)]).status_code == 204
        first.kill()
        grant = opened(secret_of(REGION_SECRET), str(told["token"]))
        assert grant is not None and f"{grant.session:016x}" == told["session"]
        assert second.tell(told["token"], [event(seq, delay_ms=300) for seq in range(3, 8)]).status_code == 204
        wait_until(grant.second + CLOSES_S + 1.5)
        rows = {f"{row.session:016x}": row for row in second.rows(grant.second - 2, grant.second + 2)}
        assert {session: row.seq for session, row in rows.items()} == {told["session"]: 7, silent["session"]: 0}
        (left,) = [path for path in (tmp_path / "telemetry").iterdir() if list(path.glob("*.shipped"))]
        assert "000001.shipped" in os.listdir(left)  # the first node's, by the second
        second.kill()
    found = in_parquet(tmp_path, "SELECT session, seq, kind, title, device FROM events ORDER BY session, seq")
    by_session = {f"{session:016x}": [row[1] for row in found if row[0] == session] for session, *_ in found}
    assert by_session == {told["session"]: list(range(8)), silent["session"]: [0]}
    assert {row[2:] for row in found} == {("grant", title, "tv"), ("heartbeat", title, "tv")}


def test_forged_beacons_from_one_address_are_bounded_and_move_nothing(shared: tuple[Path, Node]) -> None:
    folder, one = shared
    title = title_in(folder)
    foreign = Grant(
        session=5, viewer=6, title=title, device="tv", zone="", second=int(time.time()), window_s=WINDOW_S, arms={}
    )
    told = one.grant(title)
    forged = signed(secret_of(b"another region" * 5), foreign)
    before, memory = counted(one), psutil.Process(one.process.pid).memory_info().rss
    answers: dict[int, int] = {}
    for number in range(1500):
        token = forged if number % 2 else f"{number:064x}"
        status = one.tell(token, [event(number + 1)], **{"x-forwarded-for": "9.9.9.9, 203.0.113.9"}).status_code
        answers[status] = answers.get(status, 0) + 1
        if number % 500 == 0:  # somebody real behind the same address
            real = one.tell(told["token"], [event(1 + number // 500)], **{"x-forwarded-for": "203.0.113.9"})
            assert real.status_code == 204, real.text
    assert set(answers) == {400, 429}
    assert answers[400] < 600
    assert psutil.Process(one.process.pid).memory_info().rss - memory < 32 << 20
    after = counted(one)
    assert {name: after[name] - before[name] for name in ("events", "requests", "grants")} == {
        "events": 3,
        "requests": 1503,
        "grants": 0,
    }
    assert after["spooled_bytes"] - before["spooled_bytes"] < 4096


def test_what_is_wrong_is_said_and_nothing_of_it_is_kept(shared: tuple[Path, Node]) -> None:
    folder, one = shared
    title = title_in(folder)
    token, before = one.grant(title)["token"], counted(one)["events"]
    day = Grant(
        session=1,
        viewer=2,
        title=title,
        device="tv",
        zone="",
        second=int(time.time()) - 90_000,
        window_s=20,
        arms={},
    )
    old = signed(secret_of(REGION_SECRET), day)
    bad: list[tuple[object, str]] = [
        (b"", "truncated"),
        (b"\xff\xfe", "malformed"),
        ({"token": token}, "missing"),
        ({"token": token, "events": []}, "1 to 256"),
        ({"token": token, "events": [{"seq": 0, "kind": "end", "at_ms": 1}]}, "seq"),
        ({"token": token, "events": [{"seq": 1, "kind": "exploded", "at_ms": 1}]}, "exploded"),
        ({"token": token, "events": [{"seq": 1, "kind": "end", "at_ms": -5}]}, "at_ms"),
        ({"token": token, "events": [{"seq": 1, "kind": "end", "at_ms": 1, "mood": 3}]}, "mood"),
        ({"token": token, "events": [event(1)], "batches": [{"token": token, "events": []}]}, "or `batches`"),
        ({"token": old, "events": [event(1)]}, "a day ago"),
        ({"token": str(token)[::-1], "events": [event(1)]}, "not one of this region's"),
    ]
    for body, said in bad:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = one.client.post(EVENTS, content=content)
        assert answer.status_code == 400, (body, answer.text)
        assert said in answer.json()["why"], answer.text
    assert one.client.post(EVENTS, content=b" " * (65 << 10)).status_code == 413
    assert one.client.get(EVENTS).status_code == 405
    mixed = {"batches": [{"token": old, "events": [event(1)]}, {"token": token, "events": [event(1), event(2)]}]}
    answer = one.client.post(EVENTS, content=json.dumps(mixed))
    assert (answer.status_code, "2 events of the same request were kept" in answer.json()["why"]) == (400, True)
    assert counted(one)["events"] - before == 2


def test_sessions_are_for_the_regions_own_nodes_and_never_pass_a_gateway(shared: tuple[Path, Node]) -> None:
    _, one = shared
    now = int(time.time())
    path = f"/telemetry/v1/sessions?since={now - 60}&until={now - 40}"
    assert one.client.get(path).status_code == 401
    assert one.client.get(path, headers={"authorization": "Bearer region.forged"}).status_code == 401
    owner = {"authorization": f"Bearer {mint(REGION_SECRET, 'shop')}"}
    assert one.client.get(path, headers=owner).status_code == 401
    assert one.client.get(path, headers={**REGION, "x-forwarded-for": "1.2.3.4"}).status_code == 404
    assert one.rows(now - 60, now - 40) == []
    assert one.client.get("/metrics", headers={"x-forwarded-for": "1.2.3.4"}).status_code == 404
    assert one.client.get("/metrics", headers={"authorization": "Bearer region.forged"}).status_code == 401
    early = one.client.get(f"/telemetry/v1/sessions?since={now - 60}&until={now + 5}", headers=REGION)
    assert (early.status_code, early.json()["code"]) == (503, "telemetry.window")


def test_cmcd_is_kept_beside_the_events_of_its_session(tmp_path: Path) -> None:
    title = title_in(tmp_path)
    with node(tmp_path) as one:
        told = one.grant(title)
        cmcd = f"/telemetry/v1/cmcd?token={told['token']}"
        line = f'br=(3200;v),e=ps,msd=412,sid="{told["session"]}",sn=%d,sta=p,ts=1700000000000,v=2'
        body = f"{line % 0}\n{line % 1}\n"
        for _ in range(2):
            answer = one.client.post(cmcd, content=body, headers={"content-type": "application/cmcd"})
            assert answer.status_code == 204, answer.text
        query = "&CMCD=bl%3D21300%2Cbr%3D3200%2Cbs%2Csid%3D%22" + str(told["session"]) + "%22"
        assert one.client.get(cmcd + query).status_code == 204
        assert one.client.get(cmcd, headers={"CMCD-Request": "mtp=25400", "CMCD-Status": "bs"}).status_code == 204
        foreign = one.client.post(cmcd, content='sid="0000000000000001",sta=p')
        assert (foreign.status_code, "sid" in foreign.json()["why"]) == (400, True)
        assert one.client.post(cmcd, content="sta=").status_code == 400
        assert one.client.post("/telemetry/v1/cmcd?token=x", content=line % 2).status_code == 400
        one.kill()
    sql = "SELECT bitrate_bps, delay_ms, detail FROM events WHERE kind = 'cmcd' ORDER BY detail"
    found = in_parquet(tmp_path, sql)
    assert len(found) == 4
    assert [row[:2] for row in found if "e=ps" in str(row[2])] == [(3_200_000, 412)] * 2
