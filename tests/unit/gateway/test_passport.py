"""The passport's rules: whose fault, what became of a try, and how tries join their request."""

from __future__ import annotations

import json

import pytest

from redqueen.gateway import passport
from redqueen.gateway.passport import Fault, explained, fault_of, joined, outcome_of


@pytest.mark.parametrize(
    ("status", "details", "fault"),
    [
        (200, "via_upstream", Fault.NONE),
        (101, "via_upstream", Fault.NONE),
        (204, "direct_response", Fault.NONE),
        (404, "via_upstream", Fault.CLIENT),
        (500, "via_upstream", Fault.SERVICE),
        (401, "jwt_authn_access_denied{Jwt_is_missing}", Fault.CLIENT),
        (400, "path_normalization_failed", Fault.CLIENT),
        (400, "http1.invalid_characters", Fault.CLIENT),
        (0, "downstream_remote_disconnect", Fault.CLIENT),
        (200, "downstream_remote_disconnect", Fault.CLIENT),
        (0, "downstream_local_disconnect(codec_error:FRAMING)", Fault.CLIENT),
        (0, "downstream_local_disconnect(deferred_close_on_drained_connection)", Fault.GATEWAY),
        (503, "no_healthy_upstream", Fault.SERVICE),
        (503, "upstream_reset_before_response_started{connection_failure}", Fault.SERVICE),
        (200, "upstream_reset_after_response_started{connection_termination}", Fault.SERVICE),
        (504, "response_timeout", Fault.SERVICE),
        (504, "stream_idle_timeout", Fault.SERVICE),
        (200, "stream_idle_timeout", Fault.CLIENT),
        (503, "direct_response", Fault.GATEWAY),
        (503, "cluster_not_found", Fault.GATEWAY),
        (503, "overload", Fault.GATEWAY),
    ],
)
def test_a_fault_is_somebodys(status: int, details: str, fault: Fault):
    assert fault_of(status, details) is fault


@pytest.mark.parametrize(
    ("status", "flags", "outcome"),
    [
        (0, "UF", "no connection"),
        (0, "URX,UT", "no answer in time"),
        (200, "UC", "connection lost"),
        (503, "-", "answered 503"),
        (0, "-", "ended early"),
    ],
)
def test_a_try_ends_in_words(status: int, flags: str, outcome: str):
    assert outcome_of(status, flags) == outcome


def line(**fields: object) -> str:
    return json.dumps(fields)


def test_failed_tries_are_joined_to_their_request_and_explained():
    lines = [
        '{"time":"1","event":"Envoy","message":"not a passport"}',
        "torn {",
        line(
            time="3", event="Attempt", request_id="r", upstream_node="api-b-1", flags="UT", status=0, duration_ms=5000
        ),
        line(
            time="2", event="Attempt", request_id="r", upstream_node="api-a-1", flags="UF", status=0, failure="refused"
        ),
        line(time="2", event="Attempt", request_id="other", upstream_node="api-a-1", flags="UF", status=0),
        line(
            time="1",
            event="Request",
            request_id="r",
            method="GET",
            path="/api/x",
            status=504,
            details="upstream_per_try_timeout",
            duration_ms=5010,
        ),
    ]
    (request,) = joined(lines)
    assert [one["node"] for one in request["attempts"]] == ["api-a-1", "api-b-1"]
    assert request["attempts"][0]["failure"] == "refused"
    assert request["fault"] == "service"
    assert explained(request) == (
        "GET /api/x: 504 after 5010 ms; the service's fault (upstream_per_try_timeout); "
        "failed tries: api-a-1: no connection, api-b-1: no answer in time"
    )


def test_a_good_request_is_explained_without_a_fault():
    (request,) = joined(
        [
            line(
                event="Request",
                method="GET",
                path="/",
                status=200,
                upstream_node="api-a-1",
                fault="none",
                duration_ms=3,
            )
        ]
    )
    assert explained(request) == "GET /: 200 from api-a-1 after 3 ms"


def test_no_field_of_the_log_shows_a_query_a_cookie_or_an_original_path():
    written = json.dumps([passport.access_log("n"), passport.attempt_log()]).lower()
    for secret in ("cookie", "authorization", "original-path", "%path", "token", "referer"):
        assert secret not in written
