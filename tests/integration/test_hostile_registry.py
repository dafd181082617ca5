"""A real registry under forged, malformed, oversized and slow requests: it answers on, and its table stays."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import random
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
from guarded_registry import SECRET, GuardedRegistry
from hostile_wire import send_raw, statuses
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redqueen.registry.rights import REGION, mint
from redqueen.testing.region import free_port

REGION_TOKEN, TEAM, OTHER = mint(SECRET, REGION), mint(SECRET, "team-a"), mint(SECRET, "team-b")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def instance(app: str, name: str, **more: Any) -> dict[str, Any]:
    fields = {
        "instanceId": name, "app": app, "hostName": "127.0.0.1", "ipAddr": "127.0.0.1", "status": "UP",
        "port": {"$": 9, "@enabled": "true"}, "vipAddress": app.lower(), "dataCenterInfo": {"name": "MyOwn"},
        "leaseInfo": {"renewalIntervalInSecs": 300, "durationInSecs": 900},
    }  # fmt: skip
    return {"instance": {**fields, **more}}


class Target:
    """The registry, and what its readers see."""

    def __init__(self, process: GuardedRegistry) -> None:
        self.process = process
        self.http = httpx.Client(base_url=process.url, trust_env=False, timeout=30)

    def table(self) -> dict[str, Any]:
        """Give what readers see of each instance, but for the fuzzers' own."""
        found = self.http.get("/eureka/apps", headers={"accept": "application/json"}).json()
        rows = [row for app in found["applications"]["application"] for row in app["instance"]]
        shown = (
            "status",
            "overriddenstatus",
            "vipAddress",
            "secureVipAddress",
            "port",
            "metadata",
            "hostName",
            "ipAddr",
        )
        return {
            f"{row['app']}/{row['instanceId']}": {key: row.get(key) for key in shown}
            for row in rows
            if not row["app"].startswith("FUZZ")
        }

    def register(self, app: str, name: str, token: str = "", **more: Any) -> httpx.Response:
        return self.http.post(f"/eureka/apps/{app}", json=instance(app, name, **more), headers=bearer(token))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    process = GuardedRegistry(free_port(), tmp_path_factory.mktemp("registry"))
    try:
        process.start()
        target = Target(process)
        assert target.register("API", "api-1", REGION_TOKEN).status_code == 204
        assert target.register("SHOP", "shop-1", TEAM).status_code == 204
        assert target.register("OPEN", "open-1").status_code == 204
        yield target
        target.http.close()
    finally:
        process.kill()


@pytest.fixture(autouse=True)
def unharmed(target: Target) -> Iterator[None]:
    before, memory = target.table(), psutil.Process(target.process.pid).memory_info().rss
    assert {"API/api-1", "SHOP/shop-1", "OPEN/open-1"} <= before.keys()
    yield
    began = time.monotonic()
    assert target.table() == before
    assert time.monotonic() - began < 20
    assert psutil.Process(target.process.pid).memory_info().rss - memory < 200 << 20


WRONG = {
    "nobody": {}, "another owner": bearer(OTHER), "forged": bearer(f"region.{'A' * 43}"),
    "empty seal": bearer("region."),
    "another's seal": bearer(f"region.{TEAM.partition('.')[2]}"), "the owner alone": bearer("region"),
    "rubbish": bearer("%ff"),
    "two": {"authorization": f"Bearer {OTHER}, Bearer {REGION_TOKEN[:-1]}"},
    "digest": {"authorization": 'Digest username="region"'},
    "basic, forged": {"authorization": "Basic " + base64.b64encode(b"region:region").decode()},
    "basic, other user": {"authorization": "Basic " + base64.b64encode(f"region:{OTHER}".encode()).decode()},
    "basic, broken": {"authorization": "Basic !!!"},
}  # fmt: skip


def test_a_name_that_others_own_is_not_given_to_anybody_else(target: Target) -> None:
    spellings = ("API", "api", "Api", "%41PI", "a%70i", "AP%C4%B1", "SHOP", "sHop", "%C5%BFhop")
    vips = ("api", "API", " api ", "x,api", "api,", ",,api", "shop", "x, Shop ,y", "api:80,shop", "\tapi", "api\n")
    for why, headers in WRONG.items():
        for number, path in enumerate(spellings):
            app = httpx.URL(f"http://x/{path}").path[1:]
            if why == "nobody" or number < 2:
                answer = target.http.post(
                    f"/eureka/apps/{path}", json=instance(app, f"thief-{number}"), headers=headers
                )
                assert answer.status_code in (400, 401, 403), (why, path, answer.text)
        for vip in vips:
            for key in ("vipAddress", "secureVipAddress", "VIPAddress"):
                body = instance("FUZZVIP", "thief", **{key: vip})
                answer = target.http.post("/eureka/v2/apps/FUZZVIP", json=body, headers=headers)
                assert answer.status_code in (204, 400, 401, 403), (why, vip)
                for folder in ("vips", "svips"):
                    for name in ("api", "shop", "API", "%20api%20"):
                        shown = target.http.get(f"/eureka/{folder}/{name}")
                        assert "thief" not in shown.text, (why, vip, key)
    for app in ("API", "SHOP", "apps"):
        assert "thief" not in target.http.get(f"/eureka/apps/{app}").text
    for name in ("thief", "thief-0"):
        target.http.delete(f"/eureka/apps/FUZZVIP/{name}", headers=bearer(REGION_TOKEN))


def test_an_instance_that_others_registered_is_not_renewed_changed_or_ended(target: Target) -> None:
    calls = [
        ("PUT", "", {}), ("PUT", "?status=DOWN&lastDirtyTimestamp=1", {}), ("PUT",
        "?status=UP&lastDirtyTimestamp=9999999999999", {}),
        ("DELETE", "", {}), ("PUT", "/status?value=OUT_OF_SERVICE", {}), ("DELETE", "/status?value=DOWN", {}),
        ("PUT", "/metadata?zone=z&version=9", {}), ("PUT", "?overriddenstatus=DOWN",
        {"x-netflix-discovery-replication": "true"}),
        ("DELETE", "", {"x-netflix-discovery-replication": "true"}),
    ]  # fmt: skip
    for why, headers in WRONG.items():
        for app, name in (("API", "api-1"), ("SHOP", "shop-1")):
            for method, rest, more in calls:
                for base in ("/eureka/apps/", "/eureka/v2/apps/"):
                    path = f"{base}{app}/{name}{rest}"
                    answer = target.http.request(method, path, headers={**headers, **more})
                    assert answer.status_code in (401, 403, 404), (why, method, path)


def test_its_owner_may_do_all_of_it(target: Target) -> None:
    basic = {"authorization": "Basic " + base64.b64encode(f"team-a:{TEAM}".encode()).decode()}
    for headers in (bearer(TEAM), basic, bearer(REGION_TOKEN)):
        assert target.register("SHOP", "shop-2", headers["authorization"].removeprefix("Bearer ")).status_code in (
            204,
            401,
        )
        assert (
            target.http.post("/eureka/apps/SHOP", json=instance("SHOP", "shop-2"), headers=headers).status_code == 204
        )
        assert target.http.put("/eureka/apps/SHOP/shop-2", headers=headers).status_code == 200
        assert target.http.put("/eureka/apps/SHOP/shop-2/status?value=DOWN", headers=headers).status_code == 200
        assert target.http.delete("/eureka/apps/SHOP/shop-2", headers=headers).status_code == 200


def test_nobody_but_the_region_replicates_or_gives_evidence(target: Target) -> None:
    at_ms = int(time.time() * 1000) + 60_000
    exit_report = {"app": "API", "instance_id": "api-1", "because": "forged", "at_ms": at_ms}
    suspect = {"app": "API", "instance_id": "api-1", "host": "127.0.0.1", "port": 9, "because": "forged"}
    batch = {
        "replicationList": [
            {"appName": "API", "id": "api-1", "action": "Cancel"},
            {
                "appName": "API",
                "id": "thief",
                "action": "Register",
                "instanceInfo": instance("API", "thief")["instance"],
            },
            {"appName": "API", "id": "api-1", "action": "StatusUpdate", "status": "DOWN"},
        ]
    }
    bodies = {
        "/registry/v1/exits": exit_report, "/registry/v1/suspects": [suspect], "/registry/v1/sync": {"epoch": "x"},
        "/eureka/peerreplication/batch/": batch, "/eureka/v2/peerreplication/batch": batch,
        "//registry/v1/exits": exit_report, "/registry//v1/exits": exit_report, "/registry/v1/exits/": exit_report,
        "/registry/v1/%65xits": exit_report, "/eureka/%70eerreplication/batch": batch,
        "/eureka//peerreplication/batch": batch,
        "/eureka/v2/PEERREPLICATION/batch": batch, "/eureka/x/../peerreplication/batch": batch,
    }  # fmt: skip
    for why, headers in WRONG.items():
        for path, body in bodies.items():
            answer = target.http.post(path, json=body, headers=headers)
            assert answer.status_code in (400, 401, 403, 404), (why, path, answer.text)
    for path in ("/registry/v1/exits", "/registry/v1/suspects", "/registry/v1/sync"):
        assert target.http.post(path, content=b"nonsense", headers=bearer(REGION_TOKEN)).status_code == 400


def test_a_page_in_a_browser_changes_nothing_and_reads_nothing(target: Target) -> None:
    for origin in ("http://evil.example", "null", "http://127.0.0.1", "http://localhost:80", ""):
        page = {"origin": origin, "content-type": "text/plain"}
        for method, path in (("POST", "/eureka/apps/OPEN"), ("PUT", "/eureka/apps/OPEN/open-1/status?value=DOWN"),
                             ("DELETE", "/eureka/apps/OPEN/open-1"), ("POST", "/registry/v1/exits")):  # fmt: skip
            answer = target.http.request(method, path, headers=page, content=json.dumps(instance("OPEN", "open-1")))
            assert answer.status_code == 403, (origin, method)
        preflight = target.http.options("/eureka/apps/OPEN", headers={**page, "access-control-request-method": "POST"})
        assert preflight.status_code >= 400
        for answer in (preflight, target.http.get("/eureka/apps", headers=page)):
            assert not [name for name in answer.headers if name.startswith("access-control")]


def bombs() -> dict[str, tuple[bytes, dict[str, str]]]:
    """Bodies meant to cost more than they weigh, or that no reader should take."""
    xml, js = {"content-type": "application/xml"}, {"content-type": "application/json"}
    zipped = {**js, "content-encoding": "gzip"}
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 20))
    entity = '<!DOCTYPE i [<!ENTITY x SYSTEM "file:///etc/passwd">]><instance><hostName>&x;</hostName></instance>'
    whole = json.dumps(instance("FUZZ", "x")).encode()
    return {
        "laughs": (f'<!DOCTYPE i [<!ENTITY l0 "ha">{laughs}]><instance>&l19;</instance>'.encode(), xml),
        "external entity": (entity.encode(), xml),
        "parameter entity": (b'<!DOCTYPE i [<!ENTITY % x SYSTEM "http://127.0.0.1:9/"> %x;]><instance/>', xml),
        "deep xml": (b"<a>" * 100_000 + b"</a>" * 100_000, xml),
        "wide xml": (b"<instance>" + b"<a/>" * 150_000 + b"</instance>", xml),
        "many attributes": (b"<instance " + b" ".join(b'a%d="1"' % n for n in range(60_000)) + b"/>", xml),
        "utf-16": ("<instance/>".encode("utf-16"), xml),
        "utf-7": (b'<?xml version="1.0" encoding="utf-7"?><instance/>', xml),
        "unknown encoding": (b'<?xml version="1.0" encoding="x-user"?><instance/>', xml),
        "unfinished xml": (b"<instance><app>FUZZ", xml),
        "deep json": (b"[" * 500_000 + b"]" * 500_000, js),
        "deep objects": (b'{"instance":' * 80_000 + b"1" + b"}" * 80_000, js),
        "huge number": (b'{"instance":{"port":{"$":' + b"9" * 500_000 + b"}}}", js),
        "huge exponent": (b'{"instance":{"port":{"$":1e999999999}}}', js),
        "lone surrogate": (b'{"instance":{"app":"\\ud800"}}', js),
        "not utf-8": (b'{"instance":{"app":"\xff\xfe"}}', js),
        "nan": (b'{"instance":{"port":NaN}}', js),
        "oversize": (b" " * (3 << 20), js),
        "gzip bomb": (gzip.compress(b" " * (300 << 20), 6), zipped),
        "gzip within gzip": (gzip.compress(gzip.compress(b" " * (64 << 20), 9)), zipped),
        "gzip cut off": (gzip.compress(whole)[:-9], zipped),
        "gzip with a tail": (gzip.compress(whole) + b"x" * 1000, zipped),
        "two gzips": (gzip.compress(whole[:20]) + gzip.compress(whole[20:]), zipped),
        "not gzip": (whole, zipped),
        "deflate": (whole, {**js, "content-encoding": "deflate"}),
    }


def test_a_body_that_is_a_bomb_is_refused_at_small_cost(target: Target) -> None:
    for name, (body, headers) in bombs().items():
        cpu = psutil.Process(target.process.pid).cpu_times().user
        for path in ("/eureka/apps/FUZZ", "/eureka/v2/peerreplication/batch/"):
            try:
                answer = target.http.post(path, content=body, headers={**headers, **bearer(REGION_TOKEN)})
            except httpx.TransportError:
                assert len(body) > 1 << 20, name  # hung up before all of it was sent
            else:
                assert answer.status_code in (400, 413, 415), (name, answer.status_code)
                assert "root:" not in answer.text
        assert psutil.Process(target.process.pid).cpu_times().user - cpu < 3, name


_words = st.sampled_from(
    [
        "FUZZ",
        "API",
        "UP",
        "DOWN",
        "",
        "1",
        "-1",
        "true",
        "a" * 3000,
        "\0",
        "é",
        "\U0001f600",
        "..",
        "%",
        "x,y",
        "9" * 30,
    ]
)
_leaves = st.one_of(_words, st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
_values = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3), max_leaves=6
)
_NAMES = (
    "instanceId", "app", "hostName", "ipAddr", "status", "port", "securePort", "vipAddress", "secureVipAddress",
    "metadata",
    "dataCenterInfo", "leaseInfo", "overriddenStatus", "overriddenstatus", "lastDirtyTimestamp", "lastUpdatedTimestamp",
    "actionType", "countryId", "homePageUrl", "isCoordinatingDiscoveryServer", "asgName", "appGroupName", "sid",
)  # fmt: skip
_FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@_FUZZ
@given(
    changes=st.dictionaries(st.sampled_from(_NAMES), _values, max_size=4),
    drop=st.sets(st.sampled_from(_NAMES), max_size=3),
)
def test_whatever_a_json_body_holds_it_is_answered_in_words(target: Target, changes: Any, drop: set[str]) -> None:
    document = instance("FUZZ", "fuzz-1")
    document["instance"].update(changes)
    for name in drop:
        document["instance"].pop(name, None)
    body = json.dumps(document).encode(errors="replace")
    answer = target.http.post("/eureka/apps/FUZZ", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (204, 400, 403), answer.text
    # Whatever was taken can be read back in both forms.
    for accept in ("application/json", "application/xml"):
        assert target.http.get("/eureka/apps/FUZZ", headers={"accept": accept}).status_code in (200, 404)


_tags = st.sampled_from(["instance", *_NAMES, "a", "entry", "string"])


def _element(tag: str, given: dict[str, str], inner: list[str]) -> str:
    attributes = "".join(f' {name}="{value}"' for name, value in given.items())
    return f"<{tag}{attributes}>{''.join(inner)}</{tag}>"


def _xml(children: Any) -> Any:
    attributes = st.dictionaries(
        st.sampled_from(["enabled", "class", "x"]), st.sampled_from(["true", "", "a&amp;b"]), max_size=2
    )
    return st.builds(
        _element,
        _tags, attributes, st.lists(children, max_size=4),
    )  # fmt: skip


@_FUZZ
@given(
    inner=st.lists(st.recursive(st.sampled_from(["FUZZ", "1", "<a/>", "&#65;", "&#0;", "<![CDATA[x]]>", "&x;",
    "<"]), _xml), max_size=6),
    cut=st.integers(0, 400),
)  # fmt: skip
def test_whatever_an_xml_body_holds_it_is_answered_in_words(target: Target, inner: list[str], cut: int) -> None:
    fields = "<instanceId>fuzz-2</instanceId><app>FUZZ</app><hostName>h</hostName><ipAddr>1.2.3.4</ipAddr>"
    body = f'<instance>{fields}<dataCenterInfo class="x"><name>MyOwn</name></dataCenterInfo>{"".join(inner)}</instance>'
    body = body[: len(body) - cut] if cut > 200 else body
    answer = target.http.post("/eureka/apps/FUZZ", content=body.encode(), headers={"content-type": "application/xml"})
    assert answer.status_code in (204, 400, 403), answer.text


def test_whatever_a_path_holds_it_is_answered_in_words(target: Target) -> None:
    dice = random.Random(11)  # noqa: S311 - the same paths on every run
    parts = [
        "apps", "delta", "FUZZ", "fuzz-1", "status", "metadata", "vips", "svips", "instances", "v2", "..", ".",
        "%2e%2e", "%00", "%ff",
        "%", "%zz", "a" * 2000, "%2f", "\\", "?", "#", "peerreplication", "batch", "%u0041", "é", "%C3%A9", ";", "@",
        ":", "",
    ]  # fmt: skip
    queries = ["", "?value=UP", "?value=", "?status=UP&lastDirtyTimestamp=1", "?lastDirtyTimestamp=-1", "?%ff=%00",
    "?" + "a=1&" * 500,
               "?lastDirtyTimestamp=" + "9" * 400, "?value=UP&value=DOWN", "?&&==&", "?regions=x"]  # fmt: skip
    for _ in range(600):
        path = "/eureka/" + "/".join(dice.choices(parts, k=dice.randrange(1, 6))) + dice.choice(queries)
        method = dice.choice(["GET", "PUT", "DELETE", "POST", "PATCH", "HEAD", "OPTIONS"])
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        answer = send_raw(target.process.port, head.encode(), limit_s=5)
        assert statuses(answer) and statuses(answer)[0] < 500, (method, path, answer)


def test_broken_http_is_refused_and_floods_end_their_own_connection_only(target: Target) -> None:
    post = b"POST /eureka/apps/FUZZ HTTP/1.1\r\nhost: x\r\n"
    inner = b"DELETE /eureka/apps/OPEN/open-1 HTTP/1.1\r\nhost: x\r\n\r\n"
    attacks = [
        post + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcde" + inner,
        post + b"content-length: -1\r\n\r\n" + inner,
        post + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
        post + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n" + inner,
        post + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n" + inner,
        post + b"transfer-encoding: chunked\r\n\r\n-1\r\nabc" + inner,
        post + b"transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\nabc" + inner,
        post + b"x: a\0b\r\n\r\n", post + b"x y: 1\r\n\r\n", b"GET /eureka/apps\r\n\r\n", b"\x16\x03\x01\x02\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        post + b"".join(b"x-%d: 1\r\n" % n for n in range(5000)) + b"\r\n",
        post + b"x: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", b"M" * 200_000, b"\r\n" * 100_000,
        b"GET /registry/v1/health HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    ]  # fmt: skip
    for number, payload in enumerate(attacks):
        answer = send_raw(target.process.port, payload, limit_s=3)
        assert all(status in (200, 400, 405, 413, 414, 431, 501) for status in statuses(answer)), (number, answer[:200])
    ahead = b"GET /registry/v1/health HTTP/1.1\r\nhost: x\r\n\r\n" * 20_000
    send_raw(target.process.port, ahead, limit_s=3)


def test_slow_senders_and_readers_are_ended_while_others_are_answered(target: Target) -> None:
    began = time.monotonic()
    heads = (
        b"POST /eureka/apps/FUZZ HTTP/1.1\r\nhost: x\r\nx-a: ",
        b"POST /eureka/apps/FUZZ HTTP/1.1\r\ncontent-length: 900\r\n\r\n{",
        b"",
    )
    with contextlib.ExitStack() as stack:
        waiting: list[socket.socket] = []
        for number in range(300):
            raw = stack.enter_context(socket.create_connection(("127.0.0.1", target.process.port), timeout=30))
            raw.sendall(heads[number % 3])
            waiting.append(raw)
        while waiting and time.monotonic() - began < 40:
            asked = time.monotonic()
            assert target.http.get("/registry/v1/health").status_code == 200
            assert time.monotonic() - asked < 10
            waiting = [raw for raw in waiting if not _hung_up(raw)]
            time.sleep(0.5)
        assert not waiting, f"{len(waiting)} of 300 hold a connection after {time.monotonic() - began:.0f} s"


def _hung_up(raw: socket.socket) -> bool:
    try:
        raw.settimeout(0.001)
        return re.fullmatch(rb"", raw.recv(4096)) is not None
    except TimeoutError:
        return False
    except OSError:
        return True
