"""OpenFeature's own OFREP providers, unchanged, against two real api nodes, through a gateway."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from flag_clients import Pair, Provider, pair

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pair]:
    with pair(tmp_path_factory.mktemp("region")) as found:
        yield found


@pytest.fixture
def web(region: Pair, tmp_path: Path) -> Generator[Provider]:
    provider = Provider("web", region.reading, region.token, tmp_path / "web.log")
    try:
        yield provider
    finally:
        provider.close()


@pytest.fixture
def server(region: Pair, tmp_path: Path) -> Generator[Provider]:
    provider = Provider("server", region.reading, region.token, tmp_path / "server.log")
    try:
        yield provider
    finally:
        provider.close()


def test_the_python_provider_reads_every_kind_of_flag(region: Pair) -> None:
    pytest.importorskip("openfeature.contrib.provider.ofrep")
    from openfeature import api
    from openfeature.contrib.provider.ofrep import OFREPProvider
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.exception import ErrorCode
    from openfeature.flag_evaluation import Reason

    headers = {"Authorization": f"Bearer {region.token}"}
    api.set_provider(OFREPProvider(region.reading, headers_factory=lambda: headers))
    client = api.get_client()
    someone, at_a_tv = EvaluationContext("u1"), EvaluationContext("u1", {"device": "tv"})
    plain = client.get_string_details("greeting", "none", someone)
    assert (plain.value, plain.variant, plain.reason) == ("hello", "plain", Reason.STATIC)
    loud = client.get_string_details("greeting", "none", at_a_tv)
    assert (loud.value, loud.variant, loud.reason) == ("HELLO", "loud", Reason.TARGETING_MATCH)
    assert client.get_boolean_value("shiny", False, someone) is True
    whole = client.get_float_details("ratio", 0.0, someone)
    assert whole.error_code is None
    assert whole.value == 1.0
    assert client.get_integer_details("rung", 0, someone).value == 240
    assert client.get_object_value("layout", {}, someone) == {"columns": [1, 2]}
    asleep = client.get_boolean_details("asleep", True, someone)
    assert (asleep.value, asleep.reason) == (False, Reason.DISABLED)
    absent = client.get_string_details("absent", "mine", someone)
    assert (absent.value, absent.error_code) == ("mine", ErrorCode.FLAG_NOT_FOUND)
    wrong = client.get_string_details("shiny", "mine", someone)
    assert (wrong.value, wrong.error_code) == ("mine", ErrorCode.TYPE_MISMATCH)
    bad = client.get_string_details("greeting", "mine", EvaluationContext("x" * 2000))
    assert (bad.value, bad.error_code) == ("mine", ErrorCode.INVALID_CONTEXT)
    stranger = OFREPProvider(region.reading, headers_factory=lambda: {"X-API-Key": "rqf_not-one-of-ours"})
    api.set_provider(stranger)
    refused = client.get_string_details("greeting", "mine", someone)
    assert (refused.value, refused.error_code) == ("mine", ErrorCode.GENERAL)
    api.clear_providers()


def test_the_server_provider_reads_flags_one_by_one(server: Provider) -> None:
    server.until(lambda: bool(server.told), "it is ready")
    loud = server.answer('string greeting u1 "none"')["details"]
    assert (loud["value"], loud["variant"], loud["reason"]) == ("HELLO", "loud", "TARGETING_MATCH")
    assert server.answer("boolean shiny u1 false")["details"]["value"] is True
    assert server.answer("number ratio u1 0")["details"]["value"] == 1
    assert server.answer("object layout u1 {}")["details"]["value"] == {"columns": [1, 2]}
    asleep = server.answer("boolean asleep u1 true")["details"]
    assert (asleep["value"], asleep["reason"]) == (False, "DISABLED")
    absent = server.answer('string absent u1 "mine"')["details"]
    assert (absent["value"], absent["errorCode"]) == ("mine", "FLAG_NOT_FOUND")


def test_the_web_provider_follows_changes_made_at_another_node(web: Provider, region: Pair) -> None:
    web.until(lambda: bool(web.told), "it is ready")
    flags = web.told[0]["flags"]
    assert web.told[0]["event"] == "ready"
    assert flags["greeting"]["value"] == "HELLO"
    assert flags["shiny"]["value"] is True
    assert flags["ratio"]["value"] == 1
    assert flags["layout"]["value"] == {"columns": [1, 2]}
    assert flags["absent"]["errorCode"] == "FLAG_NOT_FOUND"
    region.put("greeting", rules=[], default="loud", variants={"plain": "hello", "loud": "HI!"})
    changed_at = time.monotonic()
    web.until(lambda: web.told[-1]["flags"]["greeting"]["value"] == "HI!", "it sees the change")
    assert time.monotonic() - changed_at < 5.0
    assert web.told[-1]["event"] == "changed"
    status, etag = web.told[-1]["requests"][-1]
    assert status == 200
    assert etag, "the second reading names what the stream told of"
    web.say("somebody-else")
    web.until(lambda: web.told[-1]["event"] == "context", "it reads again for another context")
    assert web.told[-1]["flags"]["greeting"]["value"] == "HI!"


def test_a_revoked_token_reads_nothing_within_seconds(region: Pair) -> None:
    from api_region import BEARER

    made = httpx.post(f"{region.writing}/api/v1/flag-tokens", json={"name": "short"}, headers=BEARER, timeout=30).json()

    def status() -> int:
        headers = {"X-API-Key": made["token"]}
        url = f"{region.reading}/ofrep/v1/evaluate/flags/shiny"
        return httpx.post(url, json={}, headers=headers, timeout=30).status_code

    assert status() == 200
    gone = httpx.delete(f"{region.writing}/api/v1/flag-tokens/short", headers=BEARER, timeout=30)
    assert gone.status_code == 204
    deadline = time.monotonic() + 20
    while status() != 401:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_stream_tells_at_once_what_was_missed_before_it_was_opened(region: Pair) -> None:
    headers = {"Authorization": f"Bearer {region.token}"}
    answer = httpx.post(f"{region.reading}/ofrep/v1/evaluate/flags", json={}, headers=headers, timeout=30).json()
    url = answer["eventStreams"][0]["url"]
    assert url.startswith(region.reading)
    region.put("shiny", default="off")
    with httpx.stream("GET", url, timeout=30) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = next(json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:"))
    assert told["type"] == "refetchEvaluation"
    assert told["etag"] != answer["metadata"]["version"]
    assert httpx.get(url.replace("ticket=", "ticket=x"), timeout=30).status_code == 401


def test_through_a_gateway_an_entity_tag_spares_the_answer(region: Pair) -> None:
    headers = {"Authorization": f"Bearer {region.token}"}
    url = f"{region.reading}/ofrep/v1/evaluate/flags"
    first = httpx.post(url, json={}, headers=headers, timeout=30)
    assert first.headers["x-request-id"], "it came through the gateway"
    again = httpx.post(url, json={}, headers={**headers, "If-None-Match": first.headers["etag"]}, timeout=30)
    assert (again.status_code, again.content) == (304, b"")
    # A gateway that packs an answer weakens its tag; either form is understood.
    assert again.headers["etag"].removeprefix("W/") == first.headers["etag"].removeprefix("W/")
