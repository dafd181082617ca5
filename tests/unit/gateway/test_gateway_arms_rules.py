"""What a trial and a pin become: plans, groups, entries; what is left out, and why."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from redqueen.gateway.arms import arrangements, living_groups
from redqueen.gateway.compiler import Compiler, compile
from redqueen.gateway.model import (
    ArmRange,
    Endpoint,
    EndpointStatus,
    Inputs,
    MediaKeys,
    Service,
    ServicePolicy,
    ServiceTrial,
    ZoneChoice,
)
from redqueen.gateway.routes import default_routes

CANARY, BASELINE = "api--r1-canary", "api--r1-baseline"
ARMS = (
    ArmRange("canary", 0, 10, CANARY),
    ArmRange("baseline", 90, 100, BASELINE),
    ArmRange("control", 10, 90, "api"),
)
TRIAL = ServiceTrial("api-r1", "api", 1, 2, 0, 1 << 20, ARMS)
NODES = tuple(Endpoint(service, f"{service}-n", "127.0.0.1", 4000, "a") for service in ("api", CANARY, BASELINE))
PLAIN = Inputs(
    node_id="envoy-a-1",
    zone="a",
    listen_host="127.0.0.1",
    listen_port=8080,
    admin_host="127.0.0.1",
    folder="/data/nodes/gateway-a-1/envoy",
    media_root="/data/objects/media",
    endpoints=NODES[:1],
    routes=default_routes(),
    viewer_secret=bytes(16),
)
TRIED = replace(PLAIN, endpoints=NODES, trials=(TRIAL,))


def resources(inputs: Inputs, name: str) -> list[dict[str, Any]]:
    return msgspec.json.decode(compile(inputs).files[name])["resources"]


def routed(inputs: Inputs) -> list[dict[str, Any]]:
    [table] = resources(inputs, "rds.json")
    return [entry for entry in table["virtual_hosts"][-1]["routes"] if "route" in entry]


def reasons(inputs: Inputs) -> list[str]:
    living = living_groups({one.service: [one] for one in inputs.endpoints})
    return [f"{one.node_id}: {one.because}" for one in arrangements(inputs, living)[1]]


def test_without_a_trial_a_pin_or_a_group_no_file_says_anything_of_them():
    quiet = replace(PLAIN, viewer_secret=b"")
    assert compile(PLAIN).files == compile(quiet).files
    for name, content in compile(PLAIN).files.items():
        if name != "lds.json":
            assert b"x-rq-arms" not in content
            assert b"filter_context" not in content
            assert b"api--" not in content


def test_a_trial_changes_routes_alone_once_its_groups_are_known():
    before, after = compile(replace(TRIED, trials=())).files, compile(TRIED).files
    assert {name for name in after if before.get(name) != after[name]} == {"rds.json"}
    assert before.keys() == after.keys()


def test_each_entry_is_there_for_each_group_in_front_of_the_plain_one_that_has_the_plan():
    plain, tried = routed(PLAIN), routed(TRIED)
    assert len(tried) == 3 * len(plain)
    groups = {"api-r1=canary": CANARY, "api-r1=baseline": BASELINE}
    for entry in tried:
        said = [one["string_match"]["exact"] for one in entry["match"].get("headers", ()) if one["name"] == "x-rq-arms"]
        assert entry["route"]["cluster"] == (groups[said[0]] if said else "api")
        plan = entry["typed_per_filter_config"].get("arms")
        assert (plan is None) == bool(said)
        # The service's name, not the group's, is what is counted and logged.
        assert entry["metadata"]["filter_metadata"]["redqueen"]["service"] == "api"
    plan = next(e["typed_per_filter_config"]["arms"] for e in tried if "arms" in e["typed_per_filter_config"])
    assert plan["filter_context"]["plan"] == (
        f"{'00' * 16} plain api-r1 api {1:016x} {2:016x} 0 1048576 3 "
        "canary 0 10 moved baseline 90 100 moved control 10 90 own"
    )


def test_a_pin_sends_every_request_to_the_group_and_nothing_to_the_service():
    pinned = routed(replace(TRIED, trials=(), pins=(("api", BASELINE),)))
    assert {entry["route"]["cluster"] for entry in pinned} == {BASELINE}
    assert len(pinned) == len(routed(PLAIN))


@pytest.mark.parametrize("status", [EndpointStatus.OUT_OF_SERVICE, EndpointStatus.STARTING, EndpointStatus.DOWN])
def test_a_group_without_a_node_that_is_up_gets_nobody(status: EndpointStatus):
    leaving = replace(NODES[1], status=status)
    inputs = replace(TRIED, endpoints=(NODES[0], leaving, NODES[2]), pins=(("api", CANARY),))
    assert {entry["route"]["cluster"] for entry in routed(inputs)} == {"api", BASELINE}
    assert reasons(inputs) == [
        f"api: pin to {CANARY}: it has no node that is UP; the service's own nodes answer",
        f"api-r1: arm canary: {CANARY} has no node that is UP; the service's own nodes answer",
    ]
    # Its cluster stays, so that no route and no request ever names one that is gone.
    assert CANARY in {one["name"] for one in resources(inputs, "cds.json")}
    gone = replace(inputs, endpoints=NODES[:1])
    assert {CANARY, BASELINE} <= {one["name"] for one in resources(gone, "cds.json")}


def test_a_trial_of_another_zones_viewers_is_not_here():
    assert routed(replace(TRIED, trials=(replace(TRIAL, zones=("b",)),))) == routed(PLAIN)
    assert routed(replace(TRIED, trials=(replace(TRIAL, zones=("b", "a")),))) == routed(TRIED)


@pytest.mark.parametrize(
    "trial",
    [
        replace(TRIAL, trial="api r1"),
        replace(TRIAL, trial=""),
        replace(TRIAL, trial="api/r1"),
        replace(TRIAL, salt=1 << 64),
        replace(TRIAL, layer_salt=-1),
        replace(TRIAL, layer_last=(1 << 20) + 1),
        replace(TRIAL, layer_first=-1),
        replace(TRIAL, arms=()),
        replace(TRIAL, arms=(ArmRange("a;b", 0, 1, CANARY),)),
        replace(TRIAL, arms=(ArmRange("a b", 0, 1, CANARY),)),
        replace(TRIAL, arms=(ArmRange("a", 5, 1, CANARY),)),
        replace(TRIAL, arms=(ArmRange("a", 0, 1, "shop--r1-canary"),)),
        replace(TRIAL, arms=(ArmRange("a", 0, 1, "api--r1 x"),)),
        replace(TRIAL, arms=ARMS * 6),
    ],
)
def test_a_trial_that_cannot_be_compiled_is_left_out_with_the_reason(trial: ServiceTrial):
    inputs = replace(TRIED, trials=(trial,))
    assert routed(inputs) == routed(PLAIN)
    assert len(reasons(inputs)) == 1


def test_without_the_viewers_secret_nothing_is_tried():
    inputs = replace(TRIED, viewer_secret=b"")
    assert routed(inputs) == routed(PLAIN)
    assert reasons(inputs) == ["api-r1: the viewers' secret is not known"]


@pytest.mark.parametrize("pin", [("api", "api"), ("api", "shop--r1-warm"), ("api", "api--r 1"), ("shop", CANARY)])
def test_a_pin_to_what_is_no_group_of_the_service_does_not_hold(pin: tuple[str, str]):
    inputs = replace(TRIED, trials=(), pins=(pin,))
    assert routed(inputs) == routed(PLAIN)
    assert len(reasons(inputs)) == 1


def test_groups_are_treated_as_their_service_is():
    policy = ServicePolicy(connect_timeout_s=3, zone=ZoneChoice.STAY)
    clusters = resources(replace(TRIED, services=(Service("api", policy),)), "cds.json")
    assert {one["connect_timeout"] for one in clusters} == {"3.000s"}


def test_the_incremental_compiler_gives_the_same_bytes_through_a_trials_life():
    compiler = Compiler()
    life = (
        PLAIN,
        replace(TRIED, trials=()),
        TRIED,
        replace(TRIED, trials=(replace(TRIAL, arms=(replace(ARMS[0], last=50), *ARMS[1:])),)),
        replace(TRIED, endpoints=(NODES[0], NODES[2])),
        replace(TRIED, trials=(), pins=(("api", BASELINE),)),
        replace(TRIED, media_keys=MediaKeys(), trials=()),
        PLAIN,
    )
    for inputs in life:
        assert compiler.compile(inputs).files == compile(inputs).files


def test_the_secret_is_in_no_text_that_is_shown():
    assert "00000000" not in repr(TRIED)
    assert bytes(16).hex().encode() not in compile(TRIED).files["lds.json"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/metrics", False),
        ("/metrics/", False),
        ("/metri%63s", False),
        ("/%6detrics", False),
        ("/%6Detrics", False),
        ("/telemetry/v1/sessions", False),
        ("/telemetry/v1/figures/x", False),
        ("/telemetry/v1/session%73", False),
        ("/telemetry/v%31/figures", False),
        ("/t%65lemetry/v1/figures", False),
        ("/%74elemetry/v1/figures", False),
        ("/telemetry/v1/events", True),
        ("/telemetry/v1/cmcd", True),
        ("/metrics-of-mine", True),
        ("/title/a%20b", True),
        ("/api/v1/titles/%6d", True),
        ("/", True),
    ],
)
def test_what_only_nodes_may_ask_is_not_found_however_it_is_spelled(path: str, found: bool):
    [table] = resources(PLAIN, "rds.json")
    entries = table["virtual_hosts"][-1]["routes"]
    [hidden] = [one for one in entries if "metrics" in one["match"].get("safe_regex", {}).get("regex", "")]
    assert hidden["direct_response"] == {"status": 404}
    assert (re.fullmatch(hidden["match"]["safe_regex"]["regex"], path) is None) == found
    # It comes before every service's entry.
    assert entries.index(hidden) < min(at for at, one in enumerate(entries) if "route" in one)
