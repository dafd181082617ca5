"""A declared service's routes are judged by the gateway's rules, beside those of the others."""

from __future__ import annotations

from typing import Any

import pytest

from redqueen.api.declarations import checked, gateway_side, gateway_sides
from redqueen.errors import Conflict, InvalidInput
from redqueen.fleet.declared import ServiceFile, Wish


def shop(name: str = "shop", *routes: dict[str, Any], **fields: Any) -> ServiceFile:
    return ServiceFile(name, "me", ("x",), routes=list(routes or ({"path": f"/{name}"},)), **fields)


def test_routes_lead_to_the_service_that_declares_them() -> None:
    side = gateway_side(shop(policy={"eject_after": 3}), "shop.toml", 7)
    (route,) = side.routes
    assert (route.prefix, route.service, route.declared_by, route.since_ms) == ("/shop", "shop", "shop", 7)
    assert (side.service.name, side.service.policy.eject_after) == ("shop", 3)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (shop("shop", {"pfad": "/x"}), "shop.toml: routes[0]"),
        (shop("shop", {"path": "/a"}, {"path": 3}), "shop.toml: routes[1]"),
        (shop("shop", {"path": "x"}), "shop.toml: routes[0].path = 'x'"),
        (shop("shop", {"path": "/x", "timeout_s": -1}), "shop.toml: routes[0].timeout_s"),
        (shop(policy={"eject_after": 0}), "shop.toml: policy.eject_after"),
        (shop(policy={"nope": 0}), "shop.toml: policy"),
    ],
)
def test_what_the_gateway_does_not_take_is_refused_with_file_and_key(file: ServiceFile, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        gateway_side(file, "shop.toml")
    assert said in caught.value.what
    assert caught.value.hint


def test_a_route_of_the_region_or_of_an_earlier_service_is_refused() -> None:
    with pytest.raises(Conflict, match="region's own"):
        checked(shop("shop", {"path": "/api/v1/titles"}), "shop.toml", ())
    others = [Wish(shop("first", {"path": "/buy"}), 1, since_ms=5)]
    with pytest.raises(Conflict, match="belongs to first"):
        checked(shop("shop", {"path": "/buy"}), "shop.toml", others)
    assert checked(shop("first", {"path": "/buy"}), "first.toml", others).routes[0].prefix == "/buy"


def test_one_service_that_cannot_be_read_any_more_takes_no_other_with_it() -> None:
    routes, services = gateway_sides([Wish(shop("old", {"gone": 1})), Wish(shop())])
    assert [route.service for route in routes] == ["shop"]
    assert [service.name for service in services] == ["shop"]
