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

from redqueen.gateway import media, scripts
from redqueen.gateway.clusters import CONNECTION_BUFFER_BYTES, TYPE
from redqueen.gateway.model import Policy, Route

NAME = "front-door"
REQUIREMENT = "media-token"
FILE_POOL = {"id": "media", "thread_pool": {"thread_count": 2}}
# Any try: the node was never reached. Safe methods: also when it died or answered that it cannot.
_RETRY_UNSEEN = "connect-failure,refused-stream,reset-before-request"
_RETRY_SAFE = "connect-failure,refused-stream,reset,retriable-status-codes"
# Empty and dot segments, backslashes; the same and NUL in percent signs; encoded percent signs.
_TWO_READINGS = r".*(?://|/\.\.?(?:/.*)?$|\\|%(?:00|25|2[eEfF]|5[cC])).*"
_FILTER = "type.googleapis.com/envoy.extensions.filters.http."
_BY_LINK = {"name": media.TOKEN_HEADER, "present_match": True}
# The right lies in the link itself and no cookie is looked at: any page's player may read it.
_ANY_ORIGIN = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": "range",
    "access-control-expose-headers": "content-length, content-range",
}


def route_configuration(routes: Iterable[Route], media_root: str, has_keys: bool) -> dict[str, Any]:
    """Give the whole table; without keys every media path answers 503."""
    table: list[dict[str, Any]] = [
        {"match": {"safe_regex": {"regex": _TWO_READINGS}}, "direct_response": {"status": 400}},
        *(_media_routes(media_root) if has_keys else _no_media()),
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


def _no_media() -> list[dict[str, Any]]:
    return [{"match": {"safe_regex": {"regex": "/(?:media|v)(?:/.*)?"}}, "direct_response": {"status": 503}}]


def _media_routes(media_root: str) -> list[dict[str, Any]]:
    readable: list[dict[str, Any]] = []
    for cache_control in media.cache_classes():
        pattern = media.path_pattern(cache_control)
        readable.append(_media_route(pattern, cache_control, media_root, by_link=True))
        readable.append(_media_route(pattern, cache_control, media_root, by_link=False))
    anywhere = {"safe_regex": {"regex": "/(?:media|v)/.*"}}
    allow = _header("allow", "GET, HEAD, OPTIONS")
    return [
        *readable,
        {
            "match": {**anywhere, "headers": [_method("OPTIONS"), _BY_LINK]},
            "direct_response": {"status": 204},
            "response_headers_to_add": [allow, *(_header(*pair) for pair in _ANY_ORIGIN.items())],
        },
        {
            "match": {**anywhere, "headers": [_method("OPTIONS")]},
            "direct_response": {"status": 204},
            "response_headers_to_add": [allow],
        },
        {
            "match": {**anywhere, "headers": [{**_method("GET|HEAD"), "invert_match": True}]},
            "direct_response": {"status": 405},
            "response_headers_to_add": [allow],
        },
        {"match": {"safe_regex": {"regex": "/(?:media|v)(?:/.*)?"}}, "direct_response": {"status": 404}},
    ]


def _media_route(pattern: str, cache_control: str, media_root: str, *, by_link: bool) -> dict[str, Any]:
    headers = [_method("GET|HEAD"), *([_BY_LINK] if by_link else [])]
    return {
        "match": {"safe_regex": {"regex": pattern}, "headers": headers},
        # The file server answers before the router is asked; this is what is left if it does not.
        "direct_response": {"status": 404},
        "typed_per_filter_config": {
            "token": {"@type": _FILTER + "jwt_authn.v3.PerRouteConfig", "requirement_name": REQUIREMENT},
            "title": {
                "@type": _FILTER + "lua.v3.LuaPerRoute",
                "source_code": {"inline_string": scripts.TITLE_CHECK},
            },
            "media-headers": {
                "@type": _FILTER + "header_mutation.v3.HeaderMutationPerRoute",
                "mutations": {"response_mutations": _media_headers(cache_control, by_link=by_link)},
            },
            "files": {**file_server(), "path_mappings": [_mapping(media_root)]},
        },
    }


def _media_headers(cache_control: str, *, by_link: bool) -> list[dict[str, Any]]:
    # Refusals bring their own cache-control: it is only added where there is none.
    wanted = {"cache-control": cache_control, "x-content-type-options": "nosniff"}
    if by_link:
        wanted |= _ANY_ORIGIN
    return [{"append": {**_header(name, value), "append_action": "ADD_IF_ABSENT"}} for name, value in wanted.items()]


def file_server() -> dict[str, Any]:
    """Give the file server without any folder: what the chain holds for all other routes."""
    return {
        "@type": _FILTER + "file_server.v3.FileServerConfig",
        "manager_config": FILE_POOL,
        "content_types": {kind.extension: kind.content_type for kind in media.MEDIA_TYPES},
        "default_content_type": "application/octet-stream",
    }


def _mapping(media_root: str) -> dict[str, str]:
    return {"request_path_prefix": "/media/", "file_path_prefix": f"{media_root}/"}


def _service_routes(route: Route) -> list[dict[str, Any]]:
    match = {"prefix": route.prefix} if route.prefix.endswith("/") else {"path_separated_prefix": route.prefix}
    safe = {**match, "headers": [_method("GET|HEAD|OPTIONS")]}
    return [
        _service_route(safe, route, _retries(route.policy, safe=True)),
        _service_route(match, route, _retries(route.policy, safe=False)),
    ]


def _service_route(match: dict[str, Any], route: Route, retries: dict[str, Any]) -> dict[str, Any]:
    policy = route.policy
    action: dict[str, Any] = {
        "cluster": route.service,
        "timeout": _seconds(policy.timeout_s or 0.0),
        "idle_timeout": _seconds(policy.idle_timeout_s),
        "retry_policy": retries,
    }
    if policy.timeout_s is not None:
        # `timeout` begins with the request's last byte; this also ends a body that drips.
        action["max_stream_duration"] = {"max_stream_duration": _seconds(policy.timeout_s + policy.idle_timeout_s)}
    body = (
        {"buffer": {"max_request_bytes": policy.max_request_bytes}} if policy.max_request_bytes else {"disabled": True}
    )
    return {
        "match": match,
        "route": action,
        "request_body_buffer_limit": policy.max_request_bytes or CONNECTION_BUFFER_BYTES,
        "typed_per_filter_config": {"body": {"@type": _FILTER + "buffer.v3.BufferPerRoute", **body}},
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
            retries["per_try_timeout"] = _seconds(policy.per_try_timeout_s)
    return retries


def _method(pattern: str) -> dict[str, Any]:
    return {"name": ":method", "string_match": {"safe_regex": {"regex": pattern}}}


def _header(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}}


def _seconds(value: float) -> str:
    return f"{value:.3f}s"
