"""A route that may not be is left out with its reason, and takes no other with it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.errors import InvalidInput
from redqueen.gateway.claims import settle, wrong_in
from redqueen.gateway.model import Cors, Policy, Redirect, Route
from redqueen.gateway.routes import default_routes

GOOD = Route("/shop", "shop", declared_by="shop")


def left_out(*routes: Route, own_hosts: tuple[str, ...] = ()) -> list[str]:
    kept, out = settle((*default_routes(), GOOD, *routes), own_hosts)
    assert GOOD in kept
    assert set(default_routes()) <= set(kept)
    return [item.because for item in out]


def declared(path: str = "/x", service: str = "x", **fields: Any) -> Route:
    return Route(path, service, declared_by="maker", since_ms=5, **fields)


@pytest.mark.parametrize(
    ("route", "because"),
    [
        (declared("/"), "own pages"),
        (declared("/api"), "own pages"),
        (declared("/api/v1/titles"), "own pages"),
        (declared("/console/x"), "own pages"),
        (declared("/*/x"), "own pages"),
        (declared("/media/x"), "/media"),
        (declared("/v", hosts=("x.example",)), "/media"),
        (declared("/shop"), "already belongs to shop"),
        (declared("/shop/"), "already belongs to shop"),
        (declared("/x", hosts=("front.example",)), "the region's own"),
        (declared("/x", hosts=("127.0.0.1",)), "hosts"),
        (declared("/x", hosts=("localhost",)), "hosts"),
        (declared("/x", hosts=("*",)), "hosts"),
        (declared("/x", hosts=("evil.example:80",)), "hosts"),
        (declared("/x", "../../etc"), "service"),
        (declared("/x/../y"), "path"),
        (declared("/x//y"), "path"),
        (declared("/x/a*"), "path"),
        (declared('/x"'), "path"),
        (declared("/x%2f"), "path"),
        (declared("/x\n"), "path"),
        (declared("x"), "path"),
        (declared(rewrite="/%REQ(cookie)%"), "rewrite"),
        (declared(methods=("BREW",)), "methods"),
        (declared(policy=Policy(timeout_s=0.0)), "timeout_s"),
        (declared(policy=Policy(timeout_s=float("nan"))), "timeout_s"),
        (declared(policy=Policy(max_request_bytes=1 << 40)), "max_request_bytes"),
        (declared(policy=Policy(request_headers=(("x-envoy-retry-on", "5xx"),))), "request_headers"),
        (declared(policy=Policy(request_headers=(("host", "x"),))), "request_headers"),
        (declared(policy=Policy(request_headers=tuple((f"x-{n}", "") for n in range(51)))), "at most 50"),
        (declared(hosts=tuple(f"h{n}.example" for n in range(51))), "at most 50"),
        (declared(policy=Policy(cors=Cors(("https://a.example",), max_age_s=-1))), "cors.max_age_s"),
        (declared(policy=Policy(request_headers=(("x-a", "b\r\nx-c: d"),))), "request_headers"),
        (declared(policy=Policy(response_headers=((":status", "200"),))), "response_headers"),
        (declared(policy=Policy(cors=Cors(("*",), credentials=True))), "cors.origins"),
        (declared(policy=Policy(cors=Cors(("https://a.example/",)))), "cors.origins"),
        (declared(policy=Policy(cors=Cors(("https://a.example",), headers=("a b",)))), "cors.headers"),
        (declared(redirect=Redirect(host="a b")), "redirect.to"),
        (declared(redirect=Redirect(path="/x", status=200)), "redirect.status"),
    ],
)
def test_a_declared_route_that_may_not_be_is_left_out_alone(route: Route, because: str):
    [found] = left_out(route, own_hosts=("front.example",))
    assert because in found


@pytest.mark.parametrize(
    "route",
    [
        declared("/api", hosts=("x.example",)),
        declared("/", hosts=("*.x.example",)),
        declared("/shop", methods=("POST",)),
        declared("/shop", exact=True),
        declared("/shop/deeper"),
        declared("/apis"),
        declared("/.well-known/x"),
        declared("/x/*/y"),
    ],
)
def test_what_takes_nothing_from_others_may_be(route: Route):
    assert left_out(route) == []


def test_of_two_with_one_claim_the_earlier_stands_whatever_their_names():
    late, early = Route("/a", "a", declared_by="a", since_ms=2), Route("/a", "z", declared_by="z", since_ms=1)
    for given_routes in ((late, early), (early, late)):
        kept, out = settle(given_routes)
        assert kept == (early,)
        assert [(item.node_id, item.because) for item in out] == [("a", "/a already belongs to z (to z)")]


def test_a_route_with_several_hosts_is_left_out_as_a_whole():
    first = Route("/", "a", hosts=("a.example",), declared_by="a")
    second = Route("/", "b", hosts=("a.example", "b.example"), declared_by="b", since_ms=1)
    assert settle((first, second))[0] == (first,)


def test_the_regions_own_routes_must_be_right():
    for wrong in (Route("/media", "api"), Route("/", "api", Policy(timeout_s=5.0))):
        with pytest.raises(InvalidInput):
            settle((*default_routes(), wrong))


def test_exact_paths_come_first_then_longer_ones_then_those_for_some_methods():
    whole = Route("/a/b", "x", declared_by="x")
    routes = [whole, Route("/a", "x", exact=True), Route("/a/b", "x", methods=("GET",)), Route("/a/*", "x")]
    assert [(r.prefix, r.exact, r.methods) for r in settle(routes)[0]] == [
        ("/a", True, ()), ("/a/b", False, ("GET",)), ("/a/b", False, ()), ("/a/*", False, ())
    ]  # fmt: skip


@given(st.text(max_size=40), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_no_text_whatever_breaks_the_others(path: str, service: str, host: str, header: str):
    policy = Policy(request_headers=((header, header),), cors=Cors((host,)))
    route = Route(path, service, policy, hosts=(host,), rewrite=path, declared_by="maker")
    assert (wrong_in(route) is None) == (left_out(route) == [])
