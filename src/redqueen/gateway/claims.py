"""Which routes may be, each by itself and all together, and in which order they are tried.

A declared route that cannot be compiled, that takes what is the region's own, or that claims what an
earlier one has, is left out with the reason; the others stay. The region's own routes must be right:
these raise. Pure. Enter at `settle` (all together) and `wrong_in` (one by itself).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from redqueen.errors import InvalidInput
from redqueen.gateway.model import Cors, LeftOut, Policy, Redirect, Route, ServicePolicy

OWN_PATHS = ("/api", "/assets", "/console", "/metrics", "/ofrep", "/sign-in", "/telemetry", "/title", "/watch")
"""The region's own API and web app: on its own hosts no declared route may lie here."""
MOST_ITEMS = 50
"""Hosts, headers or origins of one route."""
MEDIA_PATHS = ("/media", "/v")
"""The gateway serves these itself, and lends them to nobody on any host."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PATH = re.compile(r"/[A-Za-z0-9._~@:+,=/*-]{0,1023}")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)+{_LABEL}")
_ORIGIN = re.compile(rf"https?://(?:(?:\*\.)?(?:{_LABEL}\.)*{_LABEL})(?::[0-9]{{1,5}})?")
_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,1024}")
# What carries the request itself, or what the gateway alone may say.
_NOT_TO_SET = re.compile(
    r"host|connection|content-length|transfer-encoding|te|trailer|upgrade|keep-alive|expect|"
    r"x-request-id|x-forwarded-.*|x-envoy-.*|x-rq-.*"
)


@dataclass(frozen=True, slots=True)
class Wrong:
    """A key of a route whose value cannot be compiled, and what would be accepted."""

    key: str
    value: object
    accepted: str


def wrong_in_policy(policy: ServicePolicy) -> Wrong | None:
    """Return the first number of a service's policy that cannot be compiled."""
    for key, (least, most) in SERVICE_LIMITS.items():
        value = getattr(policy, key)
        if not least <= value <= most:
            return Wrong(key, value, f"{least:g} to {most:g}")
    return None


def wrong_in(route: Route) -> Wrong | None:
    """Return the first thing that cannot be compiled in a route, looked at by itself."""
    for check in (_wrong_name, _wrong_path, _wrong_hosts, _wrong_target, _wrong_numbers, _wrong_headers, _wrong_cors):
        found = check(route)
        if found is not None:
            return found
    return None


def _wrong_name(route: Route) -> Wrong | None:
    if route.redirect is None and not NAME.fullmatch(route.service):
        return Wrong("service", route.service, "letters, digits, `.`, `_` and `-`, at most 63, first no sign")
    unknown = [method for method in route.methods if method not in METHODS]
    return Wrong("methods", unknown[0], f"one of {', '.join(METHODS)}") if unknown else None


def _wrong_path(route: Route) -> Wrong | None:
    if not is_plain_path(route.prefix):
        return Wrong("path", route.prefix, "a plain path that begins with `/`; `*` only as a whole segment")
    if _below(route.prefix, MEDIA_PATHS):
        return Wrong("path", route.prefix, "outside /media and /v, which the gateway serves itself")
    return None


def is_plain_path(path: str) -> bool:
    """Tell whether a path has one reading: no empty or dot segments, `*` only as a whole segment."""
    segments = path.split("/")[1:]
    odd = any(part in {".", ".."} or ("*" in part and part != "*") for part in segments)
    return bool(_PATH.fullmatch(path)) and "//" not in path and not odd


def _wrong_hosts(route: Route) -> Wrong | None:
    if len(route.hosts) > MOST_ITEMS:
        return Wrong("hosts", len(route.hosts), f"at most {MOST_ITEMS} names")
    for host in route.hosts:
        if not _HOST.fullmatch(host) or len(host) > 253 or _is_address(host):
            return Wrong(
                "hosts", host, "a host name in small letters with a dot, such as shop.example or *.shop.example"
            )
    return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _wrong_target(route: Route) -> Wrong | None:
    if route.rewrite and ("*" in route.rewrite or not is_plain_path(route.rewrite)):
        return Wrong("rewrite", route.rewrite, "a plain path that begins with `/`, without `*`")
    return None if route.redirect is None else _wrong_redirect(route.redirect)


def _wrong_redirect(redirect: Redirect) -> Wrong | None:
    if redirect.status not in {301, 302, 303, 307, 308}:
        return Wrong("redirect.status", redirect.status, "301, 302, 303, 307 or 308")
    if redirect.scheme not in {"", "http", "https"}:
        return Wrong("redirect.to", redirect.scheme, "http or https")
    if redirect.host and not re.fullmatch(rf"(?:{_LABEL}\.)*{_LABEL}", redirect.host):
        return Wrong("redirect.to", redirect.host, "a host name in small letters")
    if not 0 <= redirect.port < 65536:
        return Wrong("redirect.to", redirect.port, "a port number")
    if redirect.path and ("*" in redirect.path or not is_plain_path(redirect.path)):
        return Wrong("redirect.to", redirect.path, "a plain path that begins with `/`, without `*`")
    return (
        None if redirect.host or redirect.path or redirect.scheme else Wrong("redirect.to", "", "an address or a path")
    )


SERVICE_LIMITS: dict[str, tuple[float, float]] = {
    "connect_timeout_s": (0.01, 60),
    "max_connections": (1, 1_000_000),
    "max_requests": (1, 1_000_000),
    "max_waiting": (1, 1_000_000),
    "retry_percent": (0, 100),
    "retry_at_least": (0, 10_000),
    "eject_after": (1, 1000),
    "eject_s": (0.1, 3600),
    "eject_percent": (0, 100),
}
"""Least and most of each number of a service's policy."""
LIMITS: dict[str, tuple[float, float]] = {
    "timeout_s": (0.001, 86_400),
    "per_try_timeout_s": (0.001, 86_400),
    "idle_timeout_s": (0.1, 86_400),
    "stream_idle_timeout_s": (1, 604_800),
    "hedge_after_s": (0.001, 60),
    "slow_s": (0.001, 3600),
    "max_request_bytes": (1, 64 << 20),
    "retries": (0, 10),
    "never_shed_below": (1, 100_000),
}
"""Least and most of each number of a route's policy; None means no limit where the policy allows it."""


def _wrong_numbers(route: Route) -> Wrong | None:
    for key, (least, most) in LIMITS.items():
        value = getattr(route.policy, key)
        if value is not None and not least <= value <= most:
            return Wrong(key, value, f"{least:g} to {most:g}")
    return None


def _wrong_headers(route: Route) -> Wrong | None:
    policy: Policy = route.policy
    for key, headers in (("request_headers", policy.request_headers), ("response_headers", policy.response_headers)):
        if len(headers) > MOST_ITEMS:
            return Wrong(key, len(headers), f"at most {MOST_ITEMS} headers")
        for name, value in headers:
            if not _HEADER.fullmatch(name) or _NOT_TO_SET.fullmatch(name):
                return Wrong(key, name, "a header's name in small letters that does not carry the request itself")
            if not _HEADER_VALUE.fullmatch(value):
                return Wrong(key, value, "visible ASCII, at most 1024 characters")
    return None


def _wrong_cors(route: Route) -> Wrong | None:
    cors: Cors | None = route.policy.cors
    if cors is None:
        return None
    for origin in cors.origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            return Wrong("cors.origins", origin, "an origin such as https://shop.example, or *")
    if not 0 <= cors.max_age_s <= 86_400:
        return Wrong("cors.max_age_s", cors.max_age_s, "0 to 86400")
    if not 0 < len(cors.origins) <= MOST_ITEMS or ("*" in cors.origins and cors.credentials):
        return Wrong(
            "cors.origins",
            list(cors.origins),
            f"at least one origin, at most {MOST_ITEMS}, and not `*` together with credentials",
        )
    for key, names in (("cors.headers", cors.headers), ("cors.exposed", cors.exposed)):
        if len(names) > MOST_ITEMS:
            return Wrong(key, len(names), f"at most {MOST_ITEMS} headers")
        for name in names:
            if not _HEADER.fullmatch(name):
                return Wrong(key, name, "a header's name in small letters")
    wrong = [method for method in cors.methods if method not in METHODS]
    return Wrong("cors.methods", wrong[0], f"one of {', '.join(METHODS)}") if wrong else None


def settle(routes: Iterable[Route], own_hosts: Iterable[str] = ()) -> tuple[tuple[Route, ...], tuple[LeftOut, ...]]:
    """Return the routes in effect, in the order in which they are tried, and those left out.

    Raises InvalidInput (`gateway.input`) if a route of the region itself is wrong or given twice.
    """
    own = frozenset(own_hosts)
    kept: list[Route] = []
    left_out: list[LeftOut] = []
    taken: dict[tuple[str, str, bool, str], Route] = {}
    for route in sorted(set(routes), key=_seniority):
        because = _refusal(route, own, taken)
        if because is None:
            taken.update((claim, route) for claim in _claims(route))
            kept.append(route)
        elif route.declared_by:
            left_out.append(LeftOut(route.declared_by, because))
        else:
            raise InvalidInput("gateway.input", "A route of the region itself cannot be compiled", why=because)
    return tuple(sorted(kept, key=precedence)), tuple(sorted(left_out, key=lambda item: (item.node_id, item.because)))


def refusal(routes: Iterable[Route], fresh: Iterable[Route], owner: str, own_hosts: Iterable[str]) -> str | None:
    """Say why `fresh` routes of `owner` cannot be beside those of others that are in effect; None: they can."""
    taken = {claim: route for route in routes if route.declared_by != owner for claim in _claims(route)}
    own = frozenset(own_hosts)
    return next((because for one in fresh if (because := _refusal(one, own, taken)) is not None), None)


def covers(route: Route, other: Route) -> bool:
    """Tell whether every path that `other` takes is one that `route` takes; hosts and methods aside."""
    if route.exact:
        return other.exact and route.prefix == other.prefix
    if route.prefix.endswith("/") and route.prefix != "/" and not other.prefix.startswith(route.prefix):
        return False  # `/shop/` is what lies below it, not `/shop`
    mine, theirs = _segments(route), _segments(other)
    pairs = zip(mine, theirs, strict=False)
    return len(mine) <= len(theirs) and all(one in ("*", another) for one, another in pairs)


def overlaps(route: Route, other: Route) -> bool:
    """Tell whether some path may be taken by both, where it is not certain that none is; hosts and methods aside."""
    mine, theirs = _segments(route), _segments(other)
    if (route.exact and len(mine) < len(theirs)) or (other.exact and len(theirs) < len(mine)):
        return False
    return all(one == another or "*" in (one, another) for one, another in zip(mine, theirs, strict=False))


def _segments(route: Route) -> list[str]:
    return route.prefix.rstrip("/").split("/")[1:]


def _refusal(route: Route, own_hosts: frozenset[str], taken: dict[tuple[str, str, bool, str], Route]) -> str | None:
    wrong = wrong_in(route)
    if wrong is not None:
        return f"{wrong.key} = {wrong.value!r}: it must be {wrong.accepted}"
    if route.declared_by:
        because = _shadows(route, own_hosts)
        if because is not None:
            return because
    for claim in _claims(route):
        if claim in taken:
            other = taken[claim]
            holder = f"{other.declared_by} (to {other.service or 'a redirect'})" if other.declared_by else "the region"
            return f"{claim[0] if claim[0] != '*' else ''}{route.prefix} already belongs to {holder}"
    return None


def _shadows(route: Route, own_hosts: frozenset[str]) -> str | None:
    taken = sorted(own_hosts.intersection(route.hosts))
    if taken:
        return f"host {taken[0]} is the region's own"
    if not route.hosts and (route.prefix == "/" or _below(route.prefix, OWN_PATHS) or route.prefix.startswith("/*")):
        return f"{route.prefix} would take the region's own pages; give the route hosts or another path"
    return None


def _below(path: str, heads: Iterable[str]) -> bool:
    return any(path == head or path.startswith(f"{head}/") for head in heads)


def _claims(route: Route) -> list[tuple[str, str, bool, str]]:
    path = route.prefix.rstrip("/") or "/"
    hosts, methods = route.hosts or ("*",), route.methods or ("*",)
    return [(host, path, route.exact, method) for host in hosts for method in methods]


def _seniority(route: Route) -> tuple[object, ...]:
    return (bool(route.declared_by), route.since_ms, route.declared_by, route.prefix, repr(route))


def precedence(route: Route) -> tuple[object, ...]:
    """Sort key: exact paths first, then longer ones, then those without `*`, then those for some methods only."""
    return (
        not route.exact,
        -len(route.prefix),
        route.prefix.count("*"),
        not route.methods,
        route.prefix,
        route.methods,
        route.hosts,
    )
