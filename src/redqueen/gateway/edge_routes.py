"""Which request goes where, as Envoy's one route configuration.

Paths with two readings are refused first, never repaired. Then media: one route opens the folder
and demands the token, so that no spelling of a path can have one without the other. Then the
services, longest prefix first, each twice: safe methods, which may be tried again after any
failure, and the rest, which may only be tried again where no node can have begun with them.
Enter at `route_configuration`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redqueen.gateway.clusters import CONNECTION_BUFFER_BYTES
from redqueen.gateway.envoy_json import FILTER, TYPE, method, seconds
from redqueen.gateway.media_routes import media_routes
from redqueen.gateway.model import Policy, Route

NAME = "front-door"
# Any try: the node was never reached. Safe methods: also when it died or answered that it cannot.
_RETRY_UNSEEN = "connect-failure,refused-stream,reset-before-request"
_RETRY_SAFE = "connect-failure,refused-stream,reset,retriable-status-codes"
# Empty and dot segments, backslashes; the same and NUL in percent signs; encoded percent signs.
_TWO_READINGS = r".*(?://|/\.\.?(?:/.*)?$|\\|%(?:00|25|2[eEfF]|5[cC])).*"


def route_configuration(routes: Iterable[Route], media_root: str, has_keys: bool) -> dict[str, Any]:
    """Give the whole table; without keys every media path answers 503."""
    table: list[dict[str, Any]] = [
        {"match": {"safe_regex": {"regex": _TWO_READINGS}}, "direct_response": {"status": 400}},
        *media_routes(media_root, has_keys),
    ]
    for route in sorted(routes, key=lambda route: (-len(route.prefix), route.prefix)):
        table += _service_routes(route)
    return {
        "@type": TYPE + "envoy.config.route.v3.RouteConfiguration",
        "name": NAME,
        "virtual_hosts": [{"name": "region", "domains": ["*"], "routes": table}],
        # A cluster may arrive a moment after its route; until then 503 is right.
        "validate_clusters": False,
    }


def _service_routes(route: Route) -> list[dict[str, Any]]:
    match = {"prefix": route.prefix} if route.prefix.endswith("/") else {"path_separated_prefix": route.prefix}
    safe = {**match, "headers": [method("GET|HEAD|OPTIONS")]}
    return [
        _service_route(safe, route, _retries(route.policy, safe=True)),
        _service_route(match, route, _retries(route.policy, safe=False)),
    ]


def _service_route(match: dict[str, Any], route: Route, retries: dict[str, Any]) -> dict[str, Any]:
    policy = route.policy
    action: dict[str, Any] = {
        "cluster": route.service,
        "timeout": seconds(policy.timeout_s or 0.0),
        "idle_timeout": seconds(policy.idle_timeout_s),
        "retry_policy": retries,
    }
    if policy.timeout_s is not None:
        # `timeout` begins with the request's last byte; this also ends a body that drips.
        action["max_stream_duration"] = {"max_stream_duration": seconds(policy.timeout_s + policy.idle_timeout_s)}
    body = (
        {"buffer": {"max_request_bytes": policy.max_request_bytes}} if policy.max_request_bytes else {"disabled": True}
    )
    return {
        "match": match,
        "route": action,
        "request_body_buffer_limit": policy.max_request_bytes or CONNECTION_BUFFER_BYTES,
        "typed_per_filter_config": {"body": {"@type": FILTER + "buffer.v3.BufferPerRoute", **body}},
    }


def _retries(policy: Policy, *, safe: bool) -> dict[str, Any]:
    retries: dict[str, Any] = {
        "retry_on": _RETRY_SAFE if safe else _RETRY_UNSEEN,
        "num_retries": policy.retries,
        # The next node, not the same again.
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": TYPE + "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        # Own zone weighs four times another: ten draws find the other node of two.
        "host_selection_retry_max_attempts": 10,
        "retry_back_off": {"base_interval": "0.01s", "max_interval": "0.2s"},
    }
    if safe:
        retries["retriable_status_codes"] = [502, 503, 504]
        if policy.per_try_timeout_s is not None:
            retries["per_try_timeout"] = seconds(policy.per_try_timeout_s)
    return retries
