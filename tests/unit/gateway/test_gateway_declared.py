"""What a maker writes becomes a route with every default, or an error that names key, value and what is accepted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from redqueen.errors import InvalidInput
from redqueen.gateway.claims import SERVICE_LIMITS
from redqueen.gateway.declared import (
    RouteDeclaration,
    ServicePolicyDeclaration,
    route_of,
    service_policy_of,
)
from redqueen.gateway.model import Policy, Priority, Redirect, Route, ServicePolicy, ZoneChoice


class Maker(msgspec.Struct, forbid_unknown_fields=True):
    routes: list[RouteDeclaration] = []
    policy: ServicePolicyDeclaration = ServicePolicyDeclaration()


def read(text: str) -> Maker:
    return msgspec.toml.decode(text.encode(), type=Maker)


def test_a_path_alone_has_every_default():
    [route] = read('[[routes]]\npath = "/shop"').routes
    assert route_of(route, "shop") == Route("/shop", "shop", Policy(), declared_by="shop")
    assert service_policy_of(ServicePolicyDeclaration()) == ServicePolicy()


def test_everything_can_be_said():
    text = """
        [policy]
        zone = "stay"
        max_requests = 10
        [[routes]]
        path = "/shop"
        match = "exact"
        hosts = ["Shop.Example"]
        methods = ["POST", "GET"]
        strip_prefix = true
        priority = "prefetch"
        timeout_s = 0
        hedge_after_s = 0.2
        request_headers = {X-Tier = "gold"}
        [routes.cors]
        origins = ["https://a.example"]
        [[routes]]
        path = "/old"
        redirect = {to = "https://new.example:8443/x", status = 301}
    """
    maker = read(text)
    shop, old = (route_of(route, "shop", declared_by="shop.toml", since_ms=7) for route in maker.routes)
    assert (shop.exact, shop.hosts, shop.methods, shop.rewrite) == (True, ("shop.example",), ("GET", "POST"), "/")
    assert (shop.policy.priority, shop.policy.timeout_s) == (Priority.PREFETCH, None)
    assert shop.policy.request_headers == (("x-tier", "gold"),)
    assert shop.policy.cors is not None
    assert (shop.declared_by, shop.since_ms) == ("shop.toml", 7)
    assert old.redirect == Redirect("https", "new.example", 8443, "/x", status=301)
    assert service_policy_of(maker.policy).zone is ZoneChoice.STAY


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("timeout_s = -1", "timeout_s = -1"),
        ("timeout_s = nan", "timeout_s = nan"),
        ("retries = 99", "retries = 99"),
        ('priority = "vip"', "one of playback, browsing, prefetch"),
        ('match = "regex"', "one of prefix, exact"),
        ('methods = ["get"]', "one of GET"),
        ('hosts = ["localhost"]', "a host name"),
        ('service = "../x"', "service = '../x'"),
        ('rewrite = "no"', "rewrite = 'no'"),
        ('redirect = {to = "ftp://x/"}', "http or https"),
        ('redirect = {to = "https://x:99999/"}', "an address such as"),
        ('redirect = {to = "//evil.example"}', "an address such as"),
        ('redirect = {to = "https://user@x.example"}', "an address such as"),
        ("cors = {origins = []}", "at least one origin"),
    ],
)
def test_what_cannot_be_used_is_refused_by_key_value_and_what_is_accepted(line: str, says: str):
    [route] = read(f'[[routes]]\npath = "/x"\n{line}').routes
    with pytest.raises(InvalidInput) as refused:
        route_of(route, "shop", where="shop.toml: routes[0]")
    assert says in str(refused.value)
    assert str(refused.value).startswith("shop.toml: routes[0].")
    assert refused.value.code == "gateway.route"


@pytest.mark.parametrize("text", ['[[routes]]\npth = "/x"', "[policy]\nmax = 1", "[[routes]]\ncors = {origin = []}"])
def test_unknown_keys_are_refused(text: str):
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        read(text)


@pytest.mark.parametrize("key", sorted(SERVICE_LIMITS))
def test_each_number_of_a_service_policy_has_limits(key: str):
    for wrong in (-1, 10_000_000):
        with pytest.raises(InvalidInput, match=key):
            service_policy_of(msgspec.structs.replace(ServicePolicyDeclaration(), **{key: wrong}))


def test_the_page_for_makers_tells_every_key_with_its_default():
    page = (Path(__file__).parents[3] / "docs" / "gateway.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \| .+ \|$", page, re.MULTILINE))
    for struct in (RouteDeclaration, ServicePolicyDeclaration):
        for field in msgspec.structs.fields(struct):
            default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
            shown = {None: "none", (): "`[]`"}.get(default if not isinstance(default, dict) else "", None)
            if isinstance(default, float) and default.is_integer():
                default = int(default)
            assert told.pop(field.name) == (shown or f"`{json.dumps(default)}`"), field.name
    assert not told
