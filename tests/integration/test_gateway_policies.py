"""Each policy of a route or service, seen working through a real Envoy."""

from __future__ import annotations

import asyncio
import collections
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import anyio
import httpx
import pytest
from policy_region import Node, PolicyRegion, policy_region

from redqueen.gateway.model import (
    Cors,
    Policy,
    Priority,
    Redirect,
    Route,
    Service,
    ServicePolicy,
    ZoneChoice,
)

NODES = [
    Node("echo-1", "echo"),
    Node("echo-2", "echo"),
    Node("shop-1", "shop"),
    Node("hedge-1", "hedge"),
    Node("hedge-2", "hedge"),
    Node("eject-1", "eject"),
    Node("eject-2", "eject"),
    Node("narrow-1", "narrow"),
    Node("half-1", "half-alive"),
    Node("cut-1", "cut"),
    Node("cut-2", "cut"),
    Node("stay-a", "stay", zone="a"),
    Node("stay-b", "stay", zone="b"),
    Node("busy-1", "busy", capacity=4, slow_s=0.05),
    Node("api-1", "api"),
]
SHED = {"slow_s": 0.1, "never_shed_below": 4}
ROUTES = (
    Route("/echo", "echo"),
    Route("/short", "echo", Policy(timeout_s=0.3, per_try_timeout_s=None)),
    Route("/plain", "echo", Policy(compress=False)),
    Route("/cors", "echo", Policy(cors=Cors(("https://shop.example",), ("GET", "PUT"), credentials=True))),
    Route("/strip", "echo", Policy(request_headers=(("x-tier", "100% gold"),)), rewrite="/"),
    Route("/old", "echo", redirect=Redirect(path="/echo")),
    Route("/gone", "echo", redirect=Redirect("https", "new.example", path="/", keep_rest=False, status=302)),
    Route("/echo/only", "shop", exact=True),
    Route("/echo/*/pages", "shop"),
    Route("/echo/write", "shop", methods=("POST",)),
    Route("/small", "echo", Policy(max_request_bytes=1000)),
    Route("/", "shop", hosts=("shop.example", "*.shop.example")),
    Route("/api", "echo", hosts=("shop.example",)),
    Route("/hedge", "hedge", Policy(hedge_after_s=0.1)),
    Route("/eject", "eject"),
    Route("/narrow", "narrow"),
    Route("/narrow/play", "narrow", Policy(priority=Priority.PLAYBACK)),
    Route("/half", "half-alive"),
    Route("/cut", "cut"),
    Route("/stay", "stay"),
    Route("/busy/play", "busy", Policy(priority=Priority.PLAYBACK)),
    Route("/busy/browse", "busy", Policy(**SHED)),
    Route("/busy/prefetch", "busy", Policy(priority=Priority.PREFETCH, **SHED)),
)
SERVICES = (
    Service("narrow", ServicePolicy(max_requests=2, max_connections=2, max_waiting=1)),
    Service("stay", ServicePolicy(zone=ZoneChoice.STAY)),
    Service("eject", ServicePolicy(eject_after=3, eject_s=30)),
)


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicyRegion]:
    with policy_region(tmp_path_factory.mktemp("region"), NODES, ROUTES, SERVICES) as region:
        yield region


@pytest.fixture(scope="module")
def client(region: PolicyRegion) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=region.url, timeout=30, trust_env=False) as client:
        yield client


def talk(region: PolicyRegion, request: str) -> socket.socket:
    raw = socket.create_connection(("127.0.0.1", region.port), timeout=30)
    raw.sendall(request.replace("\n", "\r\n").encode())
    return raw


def test_a_websocket_stays_open_beyond_the_routes_time_limit(region: PolicyRegion):
    request = "GET /short/ws HTTP/1.1\nhost: x\nconnection: upgrade\nupgrade: WebSocket\nsec-websocket-key: aaaa\n\n"
    with talk(region, request) as raw:
        assert raw.recv(4096).startswith(b"HTTP/1.1 101")
        for said in (b"first", b"second"):
            raw.sendall(said)
            assert raw.recv(4096) == said
            time.sleep(0.4)


def test_events_arrive_one_by_one_uncompressed_and_beyond_the_time_limit(region: PolicyRegion, client: httpx.Client):
    headers = {"accept": "text/event-stream", "accept-encoding": "gzip, br"}
    with client.stream("GET", "/short/events", headers=headers) as answer:
        assert "content-encoding" not in answer.headers
        heard = [(time.monotonic(), line) for line in answer.iter_lines() if line]
    assert [line.split()[2] for _, line in heard] == ["0", "1", "2", "3", "4", "5"]
    assert heard[-1][0] - heard[0][0] > 0.4


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_beyond_its_time_limit_is_answered_504_in_words(client: httpx.Client, method: str):
    answer = client.request(method, "/short/stuck")
    assert (answer.status_code, answer.json()["code"]) == (504, "gateway.timeout")


def test_preflights_are_answered_by_the_gateway_and_only_for_known_origins(region: PolicyRegion, client: httpx.Client):
    ask = {"origin": "https://shop.example", "access-control-request-method": "PUT"}
    allowed = client.options("/cors/x", headers=ask)
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    assert allowed.headers["access-control-allow-methods"] == "GET, PUT"
    assert allowed.headers["access-control-allow-credentials"] == "true"
    refused = client.options("/cors/x", headers={**ask, "origin": "https://evil.example"})
    assert "access-control-allow-origin" not in refused.headers
    assert region.asked("echo", "/cors") == []
    assert client.get("/cors/x", headers=ask).headers["access-control-allow-origin"] == "https://shop.example"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip"])
def test_text_is_compressed_as_the_client_wishes(client: httpx.Client, encoding: str):
    with client.stream("GET", "/echo/page", headers={"accept-encoding": encoding}) as answer:
        assert answer.headers["content-encoding"] == encoding
        assert "accept-encoding" in answer.headers["vary"].lower()
        assert answer.headers["etag"].startswith("W/")
        assert sum(map(len, answer.iter_raw())) < 1000


@pytest.mark.parametrize(
    ("path", "accepted"), [("/echo/page", "identity"), ("/echo/segment", "gzip, br"), ("/plain/page", "gzip, br")]
)
def test_media_and_whoever_does_not_ask_get_plain_bytes(client: httpx.Client, path: str, accepted: str):
    answer = client.get(path, headers={"accept-encoding": accepted})
    assert "content-encoding" not in answer.headers
    assert answer.headers["etag"] == '"1"'


def test_redirects_keep_what_follows_where_they_should(client: httpx.Client):
    moved = client.get("/old/a/b?c=1")
    assert (moved.status_code, httpx.URL(moved.headers["location"]).raw_path) == (308, b"/echo/a/b?c=1")
    gone = client.get("/gone/a")
    assert (gone.status_code, gone.headers["location"]) == (302, "https://new.example/")


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("shop.example", "/x", "shop-1"),
        ("SHOP.example:8080", "/x", "shop-1"),
        ("de.shop.example", "/x", "shop-1"),
        ("shop.example", "/api/x", "echo"),
        ("other.example", "/api/x", "api-1"),
        ("other.example", "/echo/x", "echo"),
        ("x", "/echo/only", "shop-1"),
        ("x", "/echo/only/not", "echo"),
        ("x", "/echo/7/pages/1", "shop-1"),
        ("x", "/echo/7/8/pages", "echo"),
        ("x", "/echoes", "api-1"),
    ],
)
def test_hosts_and_paths_choose_the_service(client: httpx.Client, host: str, path: str, expected: str):
    assert client.get(path, headers={"host": host}).text.startswith(expected)


def test_methods_choose_the_service(client: httpx.Client):
    assert client.get("/echo/write").text.startswith("echo")
    assert client.post("/echo/write").text.startswith("shop-1")


def test_a_host_of_its_own_shows_nothing_of_the_front_door_and_gets_no_media_link(
    region: PolicyRegion, client: httpx.Client
):
    for path in ("/media/t1/master.m3u8", "/v/a.b.c/t1/master.m3u8"):
        assert client.get(path, headers={"host": "shop.example"}).status_code == 404
    assert not [asked for asked in region.asked("shop") if "x-rq-media-token" in asked.headers]


def test_a_service_behind_a_stripped_prefix_sees_its_own_paths_and_the_headers_set_for_it(
    region: PolicyRegion, client: httpx.Client
):
    for path, seen in (("/strip", "/"), ("/strip/", "/"), ("/strip/a/b?c=1", "/a/b?c=1")):
        assert client.get(path, headers={"x-tier": "mine"}).text.endswith(f" {seen}")
    asked = region.asked("echo", "/a/b")[0]
    assert asked.headers["x-tier"] == "100% gold"
    assert asked.headers["x-forwarded-prefix"] == "/strip"


def test_bodies_and_headers_beyond_the_limits_are_refused(client: httpx.Client):
    assert client.post("/small/x", content=b"x" * 1000).status_code == 200
    refused = client.post("/small/x", content=b"x" * 1001)
    assert (refused.status_code, refused.json()["code"]) == (413, "gateway.too_large")
    assert client.get("/echo/x", headers={"x-big": "y" * 40_000}).status_code == 431
    assert client.get("/echo/x", headers={f"x-{n}": "y" for n in range(120)}).status_code == 431


def test_a_slow_read_is_asked_of_the_other_node_too_and_the_first_answer_counts(
    region: PolicyRegion, client: httpx.Client
):
    region.nodes["hedge-1"].slow_s = 20.0
    began = time.monotonic()
    answers = [client.get("/hedge/x").text for _ in range(4)]
    while not region.nodes["hedge-1"].asked and len(answers) < 40:  # which of two idle nodes is asked first is chance
        answers.append(client.get("/hedge/x").text)
    assert region.nodes["hedge-1"].asked
    assert all(text.startswith("hedge-2") for text in answers)
    assert time.monotonic() - began < 15
    # Nobody is given up for being slow: the first to be asked is also the first to answer.
    region.nodes["hedge-1"].slow_s = region.nodes["hedge-2"].slow_s = 0.3
    assert client.get("/hedge/x").status_code == 200


def test_one_of_two_nodes_that_only_fails_is_left_out(region: PolicyRegion, client: httpx.Client):
    region.nodes["eject-1"].fails = True
    for _ in range(50):
        region.nodes["eject-1"].asked.clear()
        assert all(client.get("/eject/x").status_code == 200 for _ in range(10))
        if not region.nodes["eject-1"].asked:
            break
    # A POST that was answered 503 is not asked again: now that the node is out, none meets it.
    assert {client.post("/eject/x").status_code for _ in range(20)} == {200}
    assert not region.nodes["eject-1"].asked


def test_more_at_once_than_a_service_takes_is_answered_503_in_words_and_playback_has_its_own_share(
    region: PolicyRegion,
):
    answers = flood(region, {"/narrow/slow": 8})
    statuses = collections.Counter(answer.status for answer in answers)
    assert statuses[200] >= 1
    assert statuses[503] >= 4
    refused = next(answer for answer in answers if answer.status == 503)
    assert set(json.loads(refused.body)) == {"code", "what", "why", "hint"}
    assert refused.head.lower().count(b"retry-after: 1") == 1
    mixed = flood(region, {"/narrow/slow": 6, "/narrow/play/x": 1})
    assert [answer.status for answer in mixed if "play" in answer.path] == [200]


def test_a_post_is_sent_again_when_nobody_took_it_and_never_when_somebody_may_have(
    region: PolicyRegion, client: httpx.Client
):
    for _ in range(12):
        assert client.post("/half/x", content=b"order").text.startswith("half-1")
    lost = client.post("/cut/cut", content=b"order")
    assert lost.status_code in {502, 503}
    assert [asked.body for asked in region.asked("cut")] == [b"order"]


def test_the_own_zone_has_all_requests_until_it_has_nobody(region: PolicyRegion, client: httpx.Client):
    assert {client.get("/stay/x").text.split()[0] for _ in range(20)} == {"stay-a"}
    # The registry still names the node, but nothing listens there any more.
    dead = [
        one if one.node_id != "stay-a" else type(one)("stay", "stay-a", "127.0.0.1", _closed_port(), "a")
        for one in region.endpoints.now
    ]
    before = region.running.states[-1].version
    with_dead, region.endpoints.now = region.endpoints.now, tuple(dead)
    region.endpoints.set(*dead)
    deadline = time.monotonic() + 5
    while region.running.states[-1].version == before and time.monotonic() < deadline:
        time.sleep(0.01)
    answers = [client.get("/stay/x") for _ in range(20)]
    assert {answer.text.split()[0] for answer in answers} == {"stay-b"}
    region.endpoints.set(*with_dead)


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_under_a_flood_prefetch_goes_first_then_browsing_and_playback_is_served(region: PolicyRegion):
    quiet = flood(region, {"/busy/play/x": 1, "/busy/browse/x": 1, "/busy/prefetch/x": 1}, seconds=0.5)
    assert {answer.status for answer in quiet} == {200}
    loud = flood(region, {"/busy/play/x": 1, "/busy/browse/x": 1, "/busy/prefetch/x": 60}, seconds=2.5)
    served, slowest = _summed(loud)
    assert served["prefetch"] < 0.9
    assert served["browse"] == served["play"] == 1.0
    assert slowest["play"] < 2
    louder = flood(region, {"/busy/play/x": 1, "/busy/browse/x": 80, "/busy/prefetch/x": 20}, seconds=6)
    served, slowest = _summed(louder)
    assert served["prefetch"] < served["browse"] < 1.0
    assert served["play"] == 1.0
    assert slowest["play"] < 3


@dataclass(frozen=True)
class Answer:
    path: str
    status: int
    head: bytes
    body: bytes
    took_s: float


def _summed(answers: list[Answer]) -> tuple[dict[str, float], dict[str, float]]:
    kinds: dict[str, list[Answer]] = collections.defaultdict(list)
    for answer in answers:
        kinds[answer.path.split("/")[2]].append(answer)
    served = {kind: sum(one.status == 200 for one in found) / len(found) for kind, found in kinds.items()}
    slowest = {kind: max(one.took_s for one in found if one.status == 200) for kind, found in kinds.items()}
    print({kind: (len(found), served[kind], slowest[kind]) for kind, found in kinds.items()})  # noqa: T201
    return served, slowest


def flood(region: PolicyRegion, crowd: dict[str, int], *, seconds: float = 0.0) -> list[Answer]:
    """Have so many clients ask for each path at once, again and again for some seconds (0: once)."""
    answers: list[Answer] = []

    async def ask(path: str, until: float) -> None:
        while True:
            began = time.monotonic()
            reader, writer = await asyncio.open_connection("127.0.0.1", region.port)
            writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            answers.append(Answer(path, int(head.split()[1]), head, body, time.monotonic() - began))
            if time.monotonic() >= until:
                return
            # Whoever was refused waits a little, as the answer says.
            await asyncio.sleep(0.0 if answers[-1].status == 200 else 0.2)

    async def all_of_them() -> None:
        until = time.monotonic() + seconds
        async with anyio.create_task_group() as group:
            for path, count in crowd.items():
                for _ in range(count):
                    group.start_soon(ask, path, until)

    anyio.run(all_of_them)
    return answers
