"""A release's own routes are its viewers' alone: everybody's answer is worked out from the table, as Envoy takes it."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from redqueen.gateway.claims import covers, overlaps
from redqueen.gateway.compiler import Compiler, compile
from redqueen.gateway.model import ArmRange, Endpoint, Inputs, Policy, Redirect, Route, ServiceTrial
from redqueen.gateway.routes import default_routes

CANARY, BASELINE = "shop--r2-canary", "shop--r2-baseline"
ARMS = (ArmRange("canary", 0, 10, CANARY), ArmRange("baseline", 90, 100, BASELINE), ArmRange("control", 10, 90, "shop"))
TRIAL = ServiceTrial("shop-r2", "shop", 1, 2, 0, 1 << 20, ARMS)
SERVICES = ("api", "shop", CANARY, BASELINE, "live", "live--r1-canary")
NODES = tuple(Endpoint(service, f"{service}-n", "127.0.0.1", 4000, "a") for service in SERVICES)
SHOP = Route("/shop", "shop", declared_by="shop", since_ms=5)
LIVE = Route("/live", "live", declared_by="live", since_ms=6)
PLAIN = Inputs(
    node_id="envoy-a-1",
    zone="a",
    listen_host="127.0.0.1",
    listen_port=8080,
    admin_host="127.0.0.1",
    folder="/data/nodes/gateway-a-1/envoy",
    media_root="/data/objects/media",
    endpoints=NODES,
    routes=(*default_routes(), SHOP, LIVE),
    trials=(TRIAL,),
    viewer_secret=bytes(16),
)
OTHERS = ServiceTrial("live-r1", "live", 1, 2, 0, 1 << 20, (ArmRange("canary", 0, 10, "live--r1-canary"),))


def brought(*routes: Route) -> tuple[Route, ...]:
    """Give routes as the canary's group brings them: the group's name is the service's there."""
    ours = {"shop": CANARY}
    return tuple(replace(one, service=ours.get(one.service, one.service), declared_by=CANARY) for one in routes)


def tried(*routes: Route, over: Inputs = PLAIN) -> Inputs:
    return replace(over, routes=(*over.routes, *brought(*routes)))


def promoted(*routes: Route, over: Inputs = PLAIN) -> Inputs:
    others = (one for one in over.routes if one.declared_by != "shop")
    return replace(over, routes=(*others, *(replace(one, since_ms=5) for one in routes)), trials=())


def _takes(match: dict[str, Any], path: str, headers: dict[str, str]) -> bool:
    prefix = match.get("path_separated_prefix")
    if "path" in match and path != match["path"]:
        return False
    if "prefix" in match and not path.startswith(match["prefix"]):
        return False
    if prefix is not None and path != prefix and not path.startswith(f"{prefix}/"):
        return False
    if "safe_regex" in match and not re.fullmatch(match["safe_regex"]["regex"], path):
        return False
    return all(_says(one, headers.get(one["name"])) for one in match.get("headers", ()))


def _says(condition: dict[str, Any], value: str | None) -> bool:
    if value is None and not condition.get("treat_missing_header_as_empty"):
        return False
    wanted, said = condition["string_match"], value or ""
    if "exact" in wanted:
        found = said.lower() == wanted["exact"].lower()
    elif "contains" in wanted:
        found = wanted["contains"] in said
    else:
        found = re.fullmatch(wanted["safe_regex"]["regex"], said) is not None
    return found is not condition.get("invert_match", False)


@functools.lru_cache(maxsize=16)
def _hosts(inputs: Inputs) -> list[dict[str, Any]]:
    [table] = msgspec.json.decode(compile(inputs).files["rds.json"])["resources"]
    return table["virtual_hosts"]


def _taken(inputs: Inputs, host: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    hosts = _hosts(inputs)
    routes = next((one["routes"] for one in hosts if host in one["domains"]), hosts[-1]["routes"])
    return next((entry for entry in routes if _takes(entry["match"], path, headers)), {"none": {}})


def answered(inputs: Inputs, arm: str, path: str, method: str = "GET", host: str = "region") -> dict[str, Any]:
    """Return what becomes of an arm's viewer: the action, with whatever else the entry says of the request."""
    headers = {":method": method}
    first = _taken(inputs, host, path, headers)
    script = first.get("typed_per_filter_config", {}).get("arms")
    moved = script is not None and f"{arm} " in script["filter_context"]["plan"] and arm in ("canary", "baseline")
    found = _taken(inputs, host, path, {**headers, "x-rq-arms": f"shop-r2={arm}"}) if moved else first
    kept = {key: value for key, value in found.items() if key in ("route", "redirect", "direct_response", "none")}
    if kept.get("direct_response") == {"status": 404}:
        return {"none": {}}  # nobody answers: the same as no route
    return kept


def cluster(inputs: Inputs, arm: str, path: str, method: str = "GET", host: str = "region") -> str:
    return answered(inputs, arm, path, method, host).get("route", {}).get("cluster", "")


def reasons(inputs: Inputs) -> list[str]:
    return [f"{one.node_id}: {one.because}" for one in compile(inputs).left_out]


def test_a_new_path_is_the_canarys_and_for_everybody_else_what_it_was_before():
    inputs = tried(SHOP, Route("/cart", "shop"))
    assert cluster(inputs, "canary", "/cart/x") == CANARY
    assert {cluster(inputs, arm, "/cart/x") for arm in ("control", "baseline", "")} == {"api"}
    # Whoever asks there is in the trial, so that the arms are compared over the same requests.
    entry = _taken(inputs, "region", "/cart", {":method": "GET"})
    assert "plan" in entry["typed_per_filter_config"]["arms"]["filter_context"]
    assert entry["metadata"]["filter_metadata"]["redqueen"]["service"] == "api"
    assert [cluster(inputs, arm, "/shop") for arm in ("canary", "baseline", "control")] == [CANARY, BASELINE, "shop"]
    assert cluster(inputs, "canary", "/carts") == "api"
    assert reasons(inputs) == []


def test_without_its_trial_or_its_nodes_a_releases_routes_are_nobodys():
    changes = (SHOP, Route("/cart", "shop"), Route("/shop/x", "shop", Policy(timeout_s=1.0)))
    ended = replace(tried(*changes), trials=())
    assert compile(ended).files["rds.json"] == compile(replace(PLAIN, trials=())).files["rds.json"]
    dead = tuple(one for one in NODES if one.service != CANARY)
    over = compile(replace(tried(*changes), endpoints=dead)).files["rds.json"]
    assert over == compile(replace(PLAIN, endpoints=dead)).files["rds.json"]


def test_a_group_that_brings_what_the_service_has_changes_nothing():
    assert compile(tried(SHOP)).files["rds.json"] == compile(PLAIN).files["rds.json"]


def test_another_policy_is_the_canarys_alone():
    inputs = tried(replace(SHOP, policy=Policy(timeout_s=2.0, priority=PLAIN.routes[0].policy.priority)))
    new, old = answered(inputs, "canary", "/shop")["route"], answered(inputs, "control", "/shop")["route"]
    assert (new["timeout"], new["cluster"]) == ("2.000s", CANARY)
    assert (old["timeout"], old["cluster"]) == ("30.000s", "shop")
    assert answered(inputs, "baseline", "/shop")["route"] == {**old, "cluster": BASELINE}


def test_a_path_that_the_release_leaves_out_is_the_canarys_no_more():
    inputs = tried(Route("/cart", "shop"))
    assert cluster(inputs, "canary", "/shop") == "api"
    assert [cluster(inputs, arm, "/shop") for arm in ("baseline", "control")] == [BASELINE, "shop"]


def test_a_new_path_below_the_services_own_needs_nothing_beside_it():
    inputs = tried(SHOP, Route("/shop/new", "shop", Policy(timeout_s=2.0)))
    lines = [one for one in _hosts(inputs)[-1]["routes"] if one.get("name") == "/shop/new"]
    assert {one["route"]["cluster"] for one in lines} == {CANARY}
    assert answered(inputs, "canary", "/shop/new/x")["route"]["timeout"] == "2.000s"
    assert cluster(inputs, "control", "/shop/new/x") == "shop"


def test_a_new_path_below_another_services_leaves_that_to_the_others():
    inputs = tried(SHOP, Route("/live/shop", "shop", methods=("POST",)))
    assert cluster(inputs, "canary", "/live/shop", "POST") == CANARY
    assert cluster(inputs, "control", "/live/shop", "POST") == "live"
    # Of what the release does not take nobody is put into the trial.
    entry = _taken(inputs, "region", "/live/shop", {":method": "GET"})
    assert "arms" not in entry["typed_per_filter_config"]
    assert cluster(inputs, "canary", "/live/other", "POST") == "live"


def test_on_a_host_of_the_services_own_what_nobody_answered_stays_not_found():
    host = ("shop.example",)
    own = Route("/a", "shop", hosts=host, declared_by="shop", since_ms=5)
    inputs = tried(own, Route("/b", "shop", hosts=host), over=replace(PLAIN, routes=(*default_routes(), own)))
    assert cluster(inputs, "canary", "/b", host="shop.example") == CANARY
    entry = _taken(inputs, "shop.example", "/b", {":method": "GET"})
    assert entry["direct_response"] == {"status": 404}
    assert reasons(inputs) == []


@pytest.mark.parametrize(
    ("route", "because"),
    [
        (Route("/live", "shop"), "/live already belongs to live (to live)"),
        (Route("/x", "shop", hosts=("new.example",)), "new.example has no routes yet"),
        (Route("/live/*/x", "shop", exact=True), "a part of /live/*/x is /live/seven of live"),
        (Route("/api/x", "shop"), "/api/x would take the region's own pages; give the route hosts or another path"),
    ],
)
def test_routes_that_cannot_be_some_viewers_alone_are_held_as_a_whole_with_the_reason(route: Route, because: str):
    seven = Route("/live/seven", "live", declared_by="live", exact=False, since_ms=6)
    # Later in the table than the exact one, so that it would answer a part of it.
    over = replace(PLAIN, routes=(*PLAIN.routes, seven))
    inputs = tried(SHOP, Route("/cart", "shop"), route, over=over)
    assert cluster(inputs, "canary", "/cart") == "api"
    assert compile(inputs).files["rds.json"] == compile(over).files["rds.json"]
    assert reasons(inputs) == [
        f"shop-r2=canary: the routes of {CANARY} are its viewers' from the promotion on, not before: {because}"
    ]


def test_a_path_of_a_service_that_is_itself_on_trial_is_held():
    inputs = replace(tried(SHOP, Route("/live/shop", "shop")), trials=(TRIAL, OTHERS))
    assert cluster(inputs, "canary", "/live/shop") == "live"
    assert "/live is of live, which is on trial itself" in reasons(inputs)[0]


def test_two_releases_cannot_try_one_path():
    mine, theirs = (Route("/cart", name, declared_by=f"{name}--r{n}-canary") for name, n in (("shop", 2), ("live", 1)))
    inputs = replace(PLAIN, routes=(*PLAIN.routes, mine, theirs), trials=(TRIAL, OTHERS))
    [told] = reasons(inputs)
    assert "/cart already belongs to" in told


PATHS = ("/shop", "/shop/a", "/shop/", "/live", "/live/a", "/live/*/b", "/*/b", "/cart", "/cart/a/b", "/m")
ROUTES = st.builds(
    Route,
    prefix=st.sampled_from([path for path in PATHS if path != "/*/b"]),
    service=st.just("shop"),
    policy=st.builds(Policy, timeout_s=st.sampled_from([1.0, 2.0])),
    exact=st.booleans(),
    hosts=st.sampled_from([(), (), ("shop.example",)]),
    methods=st.sampled_from([(), (), ("GET",), ("POST", "PUT")]),
    redirect=st.sampled_from([None, None, None, Redirect(path="/elsewhere")]),
    declared_by=st.just("shop"),
    since_ms=st.just(5),
)
ASKED = [
    (path, method, host)
    for path in ("/shop", "/shop/a", "/live/a", "/live/x/b", "/cart/a/b/c")
    for method in ("GET", "POST")
    for host in ("region", "shop.example")
]


@settings(max_examples=30, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.lists(ROUTES, max_size=3), st.lists(ROUTES, max_size=3), st.lists(ROUTES, max_size=2))
def test_whatever_the_routes_the_canary_has_the_new_table_and_everybody_else_the_old(
    old: list[Route], new: list[Route], others: list[Route]
):
    elsewhere = [replace(one, service="live", declared_by="live", since_ms=3) for one in others]
    before = replace(PLAIN, routes=(*default_routes(), *elsewhere, *old))
    inputs = tried(*new, over=before)
    held = not new or any("from the promotion on" in one for one in reasons(inputs))
    wanted = replace(before, trials=()) if held else promoted(*new, over=before)
    today = replace(before, trials=())
    for path, method, host in ASKED:
        for arm, group, table in (
            ("canary", CANARY, wanted),
            ("baseline", BASELINE, today),
            ("control", "shop", today),
        ):
            expected = answered(table, "", path, method, host)
            if expected.get("route", {}).get("cluster") == "shop":
                expected = {"route": {**expected["route"], "cluster": group}}
            assert answered(inputs, arm, path, method, host) == expected, (arm, path, method, host)


def test_the_incremental_compiler_gives_the_same_bytes_while_routes_are_tried():
    compiler = Compiler()
    life = (PLAIN, tried(SHOP, Route("/cart", "shop")), tried(Route("/cart", "shop")), PLAIN, promoted(SHOP))
    for inputs in life:
        assert compiler.compile(inputs) == compile(inputs)


@pytest.mark.parametrize(
    ("one", "other", "covered", "meet"),
    [
        (Route("/", "a"), Route("/x/*", "b"), True, True),
        (Route("/x", "a"), Route("/x/y", "b"), True, True),
        (Route("/x", "a"), Route("/xy", "b"), False, False),
        (Route("/x/", "a"), Route("/x", "b"), False, True),
        (Route("/x", "a"), Route("/x/", "b"), True, True),
        (Route("/*", "a"), Route("/x/y", "b"), True, True),
        (Route("/x", "a"), Route("/*", "b"), False, True),
        (Route("/x/y", "a"), Route("/x", "b"), False, True),
        (Route("/x", "a", exact=True), Route("/x", "b"), False, True),
        (Route("/x", "a", exact=True), Route("/x/y", "b"), False, False),
        (Route("/x", "a", exact=True), Route("/x", "b", exact=True), True, True),
        (Route("/x/*", "a", exact=True), Route("/x/y", "b", exact=True), False, True),
    ],
)
def test_which_paths_two_routes_share(one: Route, other: Route, covered: bool, meet: bool):
    assert (covers(one, other), overlaps(one, other)) == (covered, meet)
