"""One route of a service as Envoy's entries: its policy, spelled out for each kind of request.

A route becomes up to four entries, tried in this order: WebSocket and event streams (no time limit,
nothing buffered), safe methods (tried again after any failure, hedged), and the rest (tried again
only where no node can have begun with them). So a service needs no word to have all four treated
right. Enter at `entries`.
"""

from __future__ import annotations

import re
from typing import Any

from redqueen.gateway.clusters import CONNECTION_BUFFER_BYTES
from redqueen.gateway.counting import TIMED
from redqueen.gateway.envoy_json import FILTER, TYPE, header, method, seconds
from redqueen.gateway.media_routes import COMPRESSORS, LEFT_OUT, MEDIA_ONLY, SERVICES_ONLY
from redqueen.gateway.model import Cors, Policy, Priority, Redirect, Route, ZoneChoice
from redqueen.gateway.shedding import shedding

SAFE = ("GET", "HEAD", "OPTIONS")
_WEBSOCKET = {"name": "upgrade", "string_match": {"exact": "websocket", "ignore_case": True}}
_EVENT_STREAM = {"name": "accept", "string_match": {"contains": "text/event-stream", "ignore_case": True}}
# Any try: the node was never reached. Safe methods: also when it died or answered that it cannot.
_RETRY_UNSEEN = "connect-failure,refused-stream,reset-before-request"
_RETRY_SAFE = "connect-failure,refused-stream,reset,retriable-status-codes"
# From the gateway's own bootstrap, so that a route's entries are the same in every zone.
_OWN_ZONE = "%CEL(xds.node.locality.zone)%"


def entries(route: Route, zone: ZoneChoice = ZoneChoice.PREFER) -> list[dict[str, Any]]:
    """Give the entries of one route in the order in which Envoy tries them; `zone` is the service's choice.

    Where nobody answers (no service, no redirect) the gateway says 404, as where there is no route.
    """
    match = path_match(route.prefix, exact=route.exact)
    if route.redirect is not None:
        headers = [method("|".join(route.methods))] if route.methods else []
        return [{"match": {**match, "headers": headers}, "name": _name(route), "redirect": _redirect(route)}]
    if not route.service:
        return [{"match": _of_methods(match, route.methods), "name": _name(route), "direct_response": {"status": 404}}]
    if route.policy.streaming:
        return [
            _entry(route, _only(match, _WEBSOCKET), zone, stream=True, upgrade=True),
            _entry(route, _of_methods(match, route.methods), zone, stream=True),
        ]
    found = [
        _entry(route, _only(match, _WEBSOCKET), zone, stream=True, upgrade=True),
        _entry(route, _only(match, _EVENT_STREAM), zone, stream=True),
    ]
    if route.policy.idempotent:
        return [*found, _entry(route, _of_methods(match, _with_preflight(route)), zone, safe=True)]
    safe = [name for name in SAFE if not route.methods or name in _with_preflight(route)]
    if safe:
        found.append(_entry(route, _of_methods(match, safe), zone, safe=True))
    if not route.methods or set(route.methods) - set(SAFE):
        found.append(_entry(route, _of_methods(match, [m for m in route.methods if m not in SAFE]), zone))
    return found


def path_match(prefix: str, *, exact: bool) -> dict[str, Any]:
    """Match a route's path: exact, as a folder and what lies below it, or with `*` for one segment."""
    if "*" in prefix:
        pattern = "/".join("[^/]+" if part == "*" else re.escape(part) for part in prefix.split("/"))
        below = "" if exact else (".*" if prefix.endswith("/") else "(?:/.*)?")
        return {"safe_regex": {"regex": pattern + below}}
    if exact:
        return {"path": prefix}
    return {"prefix": prefix} if prefix.endswith("/") else {"path_separated_prefix": prefix}


def _with_preflight(route: Route) -> tuple[str, ...]:
    # A browser asks before it calls: the gateway answers that for every route with CORS.
    return (*route.methods, "OPTIONS") if route.methods and route.policy.cors is not None else route.methods


def _of_methods(match: dict[str, Any], methods: tuple[str, ...] | list[str]) -> dict[str, Any]:
    return _only(match, method("|".join(methods))) if methods else match


def _only(match: dict[str, Any], condition: dict[str, Any]) -> dict[str, Any]:
    return {**match, "headers": [condition]}


def _name(route: Route) -> str:
    return f"{route.hosts[0] if route.hosts else ''}{route.prefix}"


def _entry(
    route: Route,
    match: dict[str, Any],
    zone: ZoneChoice,
    *,
    safe: bool = False,
    stream: bool = False,
    upgrade: bool = False,
) -> dict[str, Any]:
    policy = route.policy
    times = _times(policy, safe=safe and not policy.idempotent, stream=stream)
    action: dict[str, Any] = {"cluster": route.service, **times}
    action["retry_policy"] = _retries(policy, zone, safe=safe, stream=stream)
    if safe and policy.hedge_after_s is not None:
        action["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    if policy.priority is Priority.PLAYBACK:
        # Circuit breakers of its own: what the others have in flight cannot use up playback's share.
        action["priority"] = "HIGH"
    if upgrade:
        action["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    if route.rewrite:
        action["regex_rewrite"] = _rewrite(route)
    size = None if upgrade else policy.max_request_bytes
    return {
        "match": match,
        "name": _name(route),
        "metadata": {"filter_metadata": {"redqueen": _labels(route, stream=stream)}},
        "route": action,
        "request_body_buffer_limit": size or CONNECTION_BUFFER_BYTES,
        **_headers(route),
        "typed_per_filter_config": _filters(policy, size, sheds=not stream),
    }


def _labels(route: Route, *, stream: bool) -> dict[str, str]:
    found = {"service": route.service, "route": _name(route), "priority": route.policy.priority.value}
    return found if stream else {**found, TIMED: route.service}


def _times(policy: Policy, *, safe: bool, stream: bool) -> dict[str, Any]:
    if stream:
        return {"timeout": "0s", "idle_timeout": seconds(policy.stream_idle_timeout_s)}
    times: dict[str, Any] = {
        "timeout": seconds(policy.timeout_s or 0.0),
        "idle_timeout": seconds(policy.idle_timeout_s),
    }
    if policy.timeout_s is not None and not safe:
        # A body that drips is never idle: this ends it. Envoy then no longer looks at `timeout`,
        # and the limit for a single try stands in for it.
        times["max_stream_duration"] = {"max_stream_duration": seconds(policy.timeout_s + policy.idle_timeout_s)}
    return times


def _retries(policy: Policy, zone: ZoneChoice, *, safe: bool, stream: bool) -> dict[str, Any]:
    retries: dict[str, Any] = {
        "retry_on": _RETRY_SAFE if safe else _RETRY_UNSEEN,
        "num_retries": policy.retries,
        # The next node, not the same again.
        "retry_host_predicate": [_extension("retry_host_predicates.previous_hosts", "retry.host.previous_hosts.v3")],
        # Own zone weighs four times another: ten draws find the other node of two.
        "host_selection_retry_max_attempts": 10,
        "retry_back_off": {"base_interval": "0.01s", "max_interval": "0.2s"},
    }
    if zone is ZoneChoice.STAY:
        # Draws stay within one priority, so that a second try must leave a zone that failed.
        kind = _extension("retry_priorities.previous_priorities", "retry.priority.previous_priorities.v3")
        kind["typed_config"]["update_frequency"] = 1
        retries["retry_priority"] = kind
    if safe:
        retries["retriable_status_codes"] = [502, 503, 504]
    try_s = None if stream else _try_s(policy, safe=safe)
    if try_s is not None:
        retries["per_try_timeout"] = seconds(try_s)
    return retries


def _try_s(policy: Policy, *, safe: bool) -> float | None:
    if not safe:
        # Never tried again once a node has begun, so that one try may take all the time there is.
        return policy.timeout_s
    return policy.per_try_timeout_s if policy.hedge_after_s is None else policy.hedge_after_s


def _extension(name: str, package: str) -> dict[str, Any]:
    message = {"previous_hosts": "PreviousHostsPredicate", "previous_priorities": "PreviousPrioritiesConfig"}
    kind = f"{TYPE}envoy.extensions.{package}.{message[name.partition('.')[2]]}"
    return {"name": f"envoy.{name}", "typed_config": {"@type": kind}}


def _filters(policy: Policy, size: int | None, *, sheds: bool) -> dict[str, Any]:
    """Configure the filters that this route needs; the others are not even made for its requests."""
    found: dict[str, Any] = {}
    if size:
        found["body"] = {"@type": FILTER + "buffer.v3.BufferPerRoute", "buffer": {"max_request_bytes": size}}
    if policy.cors is not None:
        found["cors"] = _cors(policy.cors)
    shed = shedding(policy) if sheds else None
    if shed is not None:
        found["shed"] = shed
    compressors = COMPRESSORS if policy.compress else ()
    left_out = (name for name in (*MEDIA_ONLY, *SERVICES_ONLY) if name not in found and name not in compressors)
    return {**found, **dict.fromkeys(left_out, LEFT_OUT)}


def _cors(cors: Cors) -> dict[str, Any]:
    return {
        "@type": FILTER + "cors.v3.CorsPolicy",
        "allow_origin_string_match": [_origin(origin) for origin in cors.origins],
        "allow_methods": ", ".join(cors.methods),
        "allow_headers": ", ".join(cors.headers),
        "expose_headers": ", ".join(cors.exposed),
        "max_age": str(cors.max_age_s),
        "allow_credentials": cors.credentials,
        # The gateway answers every preflight, also with a no: the service never sees one.
        "forward_not_matching_preflights": False,
    }


def _origin(origin: str) -> dict[str, Any]:
    if "*." in origin:
        return {"safe_regex": {"regex": re.escape(origin).replace(r"\*", r"[a-z0-9-]+(?:\.[a-z0-9-]+)*")}}
    return {"safe_regex": {"regex": ".*"}} if origin == "*" else {"exact": origin}


def _headers(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {}
    seen = dict(route.policy.request_headers)
    if route.rewrite:
        seen["x-forwarded-prefix"] = route.prefix.rstrip("/")
    told = [_set(*pair, "OVERWRITE_IF_EXISTS_OR_ADD") for pair in seen.items()]
    if route.tells_zone:
        told.append({**header("x-rq-zone", _OWN_ZONE), "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"})
    if told:
        found["request_headers_to_add"] = told
    if route.policy.response_headers:
        found["response_headers_to_add"] = [_set(*pair, "ADD_IF_ABSENT") for pair in route.policy.response_headers]
    return found


def _set(name: str, value: str, action: str) -> dict[str, Any]:
    # A single `%` would begin one of Envoy's own expressions.
    return {**header(name, value.replace("%", "%%")), "append_action": action, "keep_empty_value": True}


def _rewrite(route: Route) -> dict[str, Any]:
    head, target = _head(route), route.rewrite.rstrip("/")
    # `/shop` and `/shop/` become `/`, and `/shop/x` becomes `/x`, never `//x`.
    substitution = rf"{target}/\2" if not target else rf"{target}\1\2"
    return {"pattern": {"regex": f"^{head}(/?)(.*)$"}, "substitution": substitution}


def _head(route: Route) -> str:
    plain = route.prefix.rstrip("/")
    return "/".join("[^/]+" if part == "*" else re.escape(part) for part in plain.split("/"))


def _redirect(route: Route) -> dict[str, Any]:
    target: Redirect | None = route.redirect
    assert target is not None  # noqa: S101 - the caller looked
    statuses = {301: "MOVED_PERMANENTLY", 302: "FOUND", 303: "SEE_OTHER"}
    statuses |= {307: "TEMPORARY_REDIRECT", 308: "PERMANENT_REDIRECT"}
    found: dict[str, Any] = {"response_code": statuses[target.status]}
    if target.scheme:
        found["scheme_redirect"] = target.scheme
    if target.host:
        # Without a port of its own the target is at its scheme's, not at the front door's.
        found["host_redirect"] = f"{target.host}:{target.port}" if target.port else target.host
    if target.path and target.keep_rest and not route.exact:
        plain = target.path.rstrip("/")
        substitution = rf"{plain}\1\2" if plain else r"/\2"
        found["regex_rewrite"] = {"pattern": {"regex": f"^{_head(route)}(/?)(.*)$"}, "substitution": substitution}
    elif target.path or not target.keep_rest:
        found["path_redirect"] = target.path or "/"
    return found
