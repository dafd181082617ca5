"""Whatever changed before, the incremental compiler gives the bytes of a compilation from scratch."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from redqueen.gateway.compiler import Compiler, compile, version_of
from redqueen.gateway.model import (
    Endpoint,
    EndpointStatus,
    Inputs,
    Policy,
    Priority,
    Route,
    Service,
    ServicePolicy,
    ZoneChoice,
)
from redqueen.gateway.routes import default_routes
from redqueen.gateway.watches import FEWEST, watched_services

EMPTY = Inputs(
    node_id="envoy-a-1",
    zone="a",
    listen_host="127.0.0.1",
    listen_port=8080,
    admin_host="127.0.0.1",
    folder="/data/nodes/gateway-a-1/envoy",
    media_root="/data/objects/media",
    routes=default_routes(),
)
NAMES = ["api", "shop", "live"]
ENDPOINTS = st.builds(
    Endpoint,
    service=st.sampled_from([*NAMES, "nobody"]),
    node_id=st.sampled_from(["n1", "n2", "n3"]),
    host=st.sampled_from(["127.0.0.1", "127.0.1.1", "nonsense"]),
    port=st.sampled_from([1, 9000]),
    zone=st.sampled_from("ab"),
    status=st.sampled_from(EndpointStatus),
)
ROUTES = st.builds(
    Route,
    prefix=st.sampled_from(["/shop", "/shop/", "/live/*/x", "/api", "/a b", "/media"]),
    service=st.sampled_from([*NAMES, "../x"]),
    policy=st.builds(Policy, timeout_s=st.sampled_from([None, 1.0, -1.0]), priority=st.sampled_from(Priority)),
    hosts=st.sampled_from([(), ("shop.example",), ("10.0.0.1",)]),
    methods=st.sampled_from([(), ("GET",), ("POST",)]),
    declared_by=st.sampled_from(["maker-1", "maker-2"]),
    since_ms=st.integers(0, 2),
)
SERVICES = st.builds(
    Service, st.sampled_from(NAMES), st.builds(ServicePolicy, zone=st.sampled_from(ZoneChoice), max_requests=st.just(7))
)


class OneCompilerForManyChanges(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.compiler = Compiler()
        self.inputs = EMPTY

    @rule(endpoints=st.lists(ENDPOINTS, max_size=6))
    def endpoints_change(self, endpoints: list[Endpoint]) -> None:
        self.inputs = replace(self.inputs, endpoints=tuple(endpoints))

    @rule(routes=st.lists(ROUTES, max_size=4))
    def routes_change(self, routes: list[Route]) -> None:
        self.inputs = replace(self.inputs, routes=(*default_routes(), *routes))

    @rule(service=SERVICES)
    def a_policy_changes(self, service: Service) -> None:
        self.inputs = replace(self.inputs, services=(service,))

    @rule(zone=st.sampled_from("ab"), port=st.sampled_from([8080, 8081]), own=st.sampled_from([(), ("shop.example",)]))
    def the_gateway_itself_changes(self, zone: str, port: int, own: tuple[str, ...]) -> None:
        self.inputs = replace(self.inputs, zone=zone, listen_port=port, own_hosts=own)

    @invariant()
    def the_bytes_are_those_from_scratch(self) -> None:
        once, again = compile(self.inputs), self.compiler.compile(self.inputs)
        assert dict(once.files) == dict(again.files)
        assert once.version == again.version == version_of(once.files.items())
        assert once.left_out == again.left_out


TestOneCompilerForManyChanges = OneCompilerForManyChanges.TestCase
TestOneCompilerForManyChanges.settings = settings(max_examples=25, stateful_step_count=8, deadline=None)


def many_services(count: int) -> Inputs:
    names = [f"s{number:03}" for number in range(count)]
    routes = (*default_routes(), *(Route(f"/{name}", name, declared_by=name) for name in names))
    endpoints = tuple(Endpoint(name, f"{name}-1", "127.0.0.1", 9000 + n, "a") for n, name in enumerate(names))
    return replace(EMPTY, routes=routes, endpoints=endpoints)


def test_only_so_many_services_have_a_watched_file_the_regions_own_first_and_none_is_lost():
    files = compile(many_services(60)).files
    watched = {name for name in files if name.startswith("eds-")}
    assert len(watched) == FEWEST
    assert "eds-api.json" in watched
    clusters = json.loads(files["cds.json"])["resources"]
    assert len(clusters) == 61
    for cluster in clusters:
        inline = cluster.get("load_assignment", {}).get("endpoints", [])
        assert (f"eds-{cluster['name']}.json" in watched) == (cluster["type"] == "EDS") == (not inline)


def test_all_envoys_of_a_machine_together_stay_within_the_systems_watches():
    others_of_an_envoy = 5
    assert 4 * (watched_services(128) + others_of_an_envoy) <= 128
    assert watched_services(8192) > 1000
    assert 6 * (watched_services(8192) + others_of_an_envoy) <= 8192
    assert watched_services(0) == FEWEST


def test_a_change_behind_a_watched_file_leaves_every_other_file_as_the_same_object():
    compiler, inputs = Compiler(), many_services(60)
    before = compiler.compile(inputs)
    gone = next(one for one in inputs.endpoints if f"eds-{one.service}.json" in before.files)
    after = compiler.compile(replace(inputs, endpoints=tuple(one for one in inputs.endpoints if one != gone)))
    changed = [name for name in after.files if after.files[name] is not before.files[name]]
    assert changed == [f"eds-{gone.service}.json"]


@given(st.lists(ROUTES, max_size=6), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_declared_routes_does_not_matter(routes: list[Route], random):
    mixed = list(routes)
    random.shuffle(mixed)
    one = compile(replace(EMPTY, routes=(*default_routes(), *routes)))
    two = compile(replace(EMPTY, routes=(*mixed, *default_routes())))
    assert dict(one.files) == dict(two.files)
    assert one.left_out == two.left_out
