"""Each kind of request to a route is treated as is right for it."""

from __future__ import annotations

from typing import Any

import pytest

from redqueen.gateway.media_routes import COMPRESSORS, MEDIA_ONLY
from redqueen.gateway.model import Cors, Policy, Priority, Route, ZoneChoice
from redqueen.gateway.service_routes import entries
from redqueen.gateway.shedding import shedding

UNSEEN = {"connect-failure", "refused-stream", "reset-before-request"}


def kinds(route: Route, zone: ZoneChoice = ZoneChoice.PREFER) -> dict[str, dict[str, Any]]:
    """Name each entry by what it matches besides the path."""
    found: dict[str, dict[str, Any]] = {}
    for entry in entries(route, zone):
        headers = entry["match"].get("headers", [])
        match = headers[0]["string_match"] if headers else {}
        name = match.get("exact") or match.get("contains") or match.get("safe_regex", {}).get("regex", "rest")
        assert name not in found
        found[name] = entry
    return found


def test_a_route_without_a_word_knows_four_kinds_of_request():
    assert list(kinds(Route("/x", "x"))) == ["websocket", "text/event-stream", "GET|HEAD|OPTIONS", "rest"]


def test_only_safe_requests_are_tried_again_after_a_node_may_have_begun():
    for name, entry in kinds(Route("/x", "x")).items():
        retry = entry["route"]["retry_policy"]
        safe = name == "GET|HEAD|OPTIONS"
        assert safe == (not set(retry["retry_on"].split(",")) <= UNSEEN)
        assert safe == ("retriable_status_codes" in retry)
        assert retry["retry_host_predicate"][0]["name"].endswith("previous_hosts")


def test_what_a_maker_calls_idempotent_is_tried_again_whatever_its_method():
    found = kinds(Route("/x", "x", Policy(idempotent=True)))
    assert list(found) == ["websocket", "text/event-stream", "rest"]
    assert "reset" in found["rest"]["route"]["retry_policy"]["retry_on"].split(",")


def test_the_time_limit_is_in_effect_whichever_way_envoy_looks_at_it():
    found = kinds(Route("/x", "x", Policy(timeout_s=7, per_try_timeout_s=2, idle_timeout_s=3)))
    safe, rest = found["GET|HEAD|OPTIONS"]["route"], found["rest"]["route"]
    # Envoy ignores `timeout` where `max_stream_duration` is set.
    assert (safe["timeout"], "max_stream_duration" in safe) == ("7.000s", False)
    assert safe["retry_policy"]["per_try_timeout"] == "2.000s"
    assert rest["max_stream_duration"] == {"max_stream_duration": "10.000s"}
    assert rest["retry_policy"]["per_try_timeout"] == "7.000s"


def test_a_route_makes_only_the_filters_that_it_needs():
    def made(policy: Policy) -> set[str]:
        filters = kinds(Route("/x", "x", policy))["rest"]["typed_per_filter_config"]
        return {name for name, how in filters.items() if not how.get("disabled")}

    plain = made(Policy())
    assert plain.isdisjoint(MEDIA_ONLY) and "cors" not in plain
    assert made(Policy(cors=Cors(("https://a.example",)))) == {*plain, "cors"}
    assert made(Policy(max_request_bytes=None)) == plain - {"body"}
    left_out = kinds(Route("/x", "x", Policy(compress=False)))["rest"]["typed_per_filter_config"]
    assert all(left_out[name]["disabled"] for name in COMPRESSORS)


@pytest.mark.parametrize("name", ["websocket", "text/event-stream"])
def test_streams_have_no_time_limit_but_silence(name: str):
    route = kinds(Route("/x", "x", Policy(timeout_s=7, stream_idle_timeout_s=9)))[name]
    assert (route["route"]["timeout"], route["route"]["idle_timeout"]) == ("0s", "9.000s")
    assert "max_stream_duration" not in route["route"]
    assert "per_try_timeout" not in route["route"]["retry_policy"]
    assert route["typed_per_filter_config"]["shed"]["disabled"] is True
    assert ("upgrade_configs" in route["route"]) == (name == "websocket")


def test_only_safe_requests_are_hedged():
    found = kinds(Route("/x", "x", Policy(hedge_after_s=0.2)))
    assert [name for name, entry in found.items() if "hedge_policy" in entry["route"]] == ["GET|HEAD|OPTIONS"]
    assert found["GET|HEAD|OPTIONS"]["route"]["retry_policy"]["per_try_timeout"] == "0.200s"


def test_methods_leave_room_for_a_browsers_question():
    found = kinds(Route("/x", "x", Policy(cors=Cors(("https://a.example",))), methods=("POST",)))
    assert list(found) == ["websocket", "text/event-stream", "OPTIONS", "POST"]
    assert "OPTIONS" not in kinds(Route("/x", "x", methods=("POST",)))


@pytest.mark.parametrize(
    ("priority", "limit", "floor"), [(Priority.PREFETCH, "0.500s", 4), (Priority.BROWSING, "2.000s", 256)]
)
def test_prefetch_is_shed_before_browsing(priority: Priority, limit: str, floor: int):
    found = shedding(Policy(priority=priority))
    assert found is not None
    controller = found["filter_chain"]["filters"][0]["typed_config"]["gradient_controller_config"]
    assert controller["min_rtt_calc_params"]["fixed_value"] == limit
    assert controller["min_rtt_calc_params"]["min_concurrency"] == floor


@pytest.mark.parametrize(
    "policy", [Policy(priority=Priority.PLAYBACK), Policy(slow_s=None), Policy(timeout_s=None)], ids=str
)
def test_playback_and_bodies_without_end_are_never_shed(policy: Policy):
    assert shedding(policy) is None


def test_playback_has_circuit_breakers_of_its_own():
    found = kinds(Route("/x", "x", Policy(priority=Priority.PLAYBACK)))
    assert {entry["route"]["priority"] for entry in found.values()} == {"HIGH"}
    assert not any("priority" in entry["route"] for entry in kinds(Route("/x", "x")).values())


def test_a_second_try_leaves_a_zone_that_failed():
    for zone in ZoneChoice:
        retry = entries(Route("/x", "x"), zone)[0]["route"]["retry_policy"]
        assert ("retry_priority" in retry) == (zone is ZoneChoice.STAY)


def test_envoys_own_expressions_cannot_be_smuggled_into_headers():
    [entry, *_] = entries(Route("/x", "x", Policy(request_headers=(("x-a", "%REQ(cookie)%"),))))
    assert entry["request_headers_to_add"][0]["header"]["value"] == "%%REQ(cookie)%%"
