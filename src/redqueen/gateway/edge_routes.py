"""Which request goes where, as Envoy's one route configuration.

Paths with two readings are refused first, never repaired. Then, on the front door's own hosts,
media: one route opens the folder and demands the token, so that no spelling of a path can have one
without the other. Then the services' routes in the order of `arm_routes.table`. A host that routes
name answers with these alone: neither media nor the region's own pages are there. What only nodes
may ask of each other is not found from outside.
Enter at `route_configuration`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from redqueen.gateway.arm_routes import Placed
from redqueen.gateway.envoy_json import TYPE
from redqueen.gateway.media_routes import media_routes

NAME = "front-door"
# Empty and dot segments, backslashes; the same and NUL in percent signs; encoded percent signs.
_TWO_READINGS = r".*(?://|/\.\.?(?:/.*)?$|\\|%(?:00|25|2[eEfF]|5[cC])).*"
REFUSED: dict[str, Any] = {"match": {"safe_regex": {"regex": _TWO_READINGS}}, "direct_response": {"status": 400}}
# What nodes tell each other and whoever watches them: they ask each node, and nobody asks through the door. Services
# decode percent signs, so that whatever could come to mean one of these is found nowhere either.
_PLAINLY = r"/(?:metrics|telemetry/v1/(?:sessions|figures))(?:/.*)?"
_IN_DISGUISE = r"/(?:[mt][^/]*%|%6[dD]|%74|telemetry/.*%).*"
_INSIDE = f"{_PLAINLY}|{_IN_DISGUISE}"
_NOT_FROM_OUTSIDE: dict[str, Any] = {"match": {"safe_regex": {"regex": _INSIDE}}, "direct_response": {"status": 404}}
_NO_MEDIA_HERE = {"match": {"safe_regex": {"regex": "/(?:media|v)(?:/.*)?"}}, "direct_response": {"status": 404}}


def route_configuration(
    placed: Sequence[Placed],
    media_root: str,
    has_keys: bool,
    encoded: Callable[[Placed], list[msgspec.Raw]],
    own_hosts: Iterable[str] = (),
) -> dict[str, Any]:
    """Give the whole table; `encoded` gives a line's entries, which are the same in every table.

    `own_hosts` stay the region's, whatever a route with `*.` says.
    """
    own = [one for one in placed if not one.hosts]
    hosts = [
        {"name": f"own-{host}", "domains": [host], "routes": [REFUSED, _NO_MEDIA_HERE, *_entries(lines, encoded)]}
        for host, lines in _by_host(placed)
    ]
    region = [REFUSED, *media_routes(media_root, has_keys), _NOT_FROM_OUTSIDE, *_entries(own, encoded)]
    return {
        "@type": TYPE + "envoy.config.route.v3.RouteConfiguration",
        "name": NAME,
        "virtual_hosts": [*hosts, {"name": "region", "domains": ["*", *sorted(set(own_hosts))], "routes": region}],
        # shop.example:8080 is shop.example.
        "ignore_port_in_host_matching": True,
        # A cluster may arrive a moment after its route; until then 503 is right.
        "validate_clusters": False,
    }


def _entries(placed: Iterable[Placed], encoded: Callable[[Placed], list[msgspec.Raw]]) -> list[msgspec.Raw]:
    return [entry for one in placed for entry in encoded(one)]


def _by_host(placed: Iterable[Placed]) -> list[tuple[str, list[Placed]]]:
    found: dict[str, list[Placed]] = {}
    for one in placed:
        for host in one.hosts:
            found.setdefault(host, []).append(one)
    return sorted(found.items())
