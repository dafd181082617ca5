"""A maker's routes and service policy as written in a TOML file, turned into the gateway's own values.

Every key has a default that is right without a word; 0 stands for `no limit` where there can be none.
Refuses unknown keys and values that cannot be compiled, naming key, value and what would be accepted.
Whether a route may be beside the others is decided later (`claims.settle`).
Enter at `RouteDeclaration`, `ServicePolicyDeclaration`, `route_of`, `service_policy_of`.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import msgspec

from redqueen.errors import InvalidInput
from redqueen.gateway.claims import METHODS, NAME, Wrong, wrong_in, wrong_in_policy
from redqueen.gateway.model import Cors, Policy, Priority, Redirect, Route, ServicePolicy, ZoneChoice

_POLICY, _SERVICE = Policy(), ServicePolicy()


class CorsDeclaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[routes.cors]`: which pages of other origins may call this route."""

    origins: tuple[str, ...]
    methods: tuple[str, ...] = Cors(()).methods
    headers: tuple[str, ...] = Cors(()).headers
    exposed: tuple[str, ...] = ()
    credentials: bool = False
    max_age_s: int = 600


class RedirectDeclaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[routes.redirect]`: an address (`https://shop.example/new`) or a path, and whether the rest is kept."""

    to: str
    status: int = 308
    keep_rest: bool = True


class RouteDeclaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[[routes]]`: which requests are sent to the service, and how they are treated (see `model.Policy`)."""

    path: str = "/"
    match: str = "prefix"
    """`prefix` (the path and all below it) or `exact`."""
    hosts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    service: str = ""
    """Empty: the service of the file that declares this."""
    strip_prefix: bool = False
    rewrite: str = ""
    redirect: RedirectDeclaration | None = None
    priority: str = _POLICY.priority.value
    timeout_s: float = _POLICY.timeout_s or 0.0
    per_try_timeout_s: float = _POLICY.per_try_timeout_s or 0.0
    idle_timeout_s: float = _POLICY.idle_timeout_s
    stream_idle_timeout_s: float = _POLICY.stream_idle_timeout_s
    max_request_bytes: int = _POLICY.max_request_bytes or 0
    retries: int = _POLICY.retries
    idempotent: bool = False
    hedge_after_s: float = 0.0
    slow_s: float = _POLICY.slow_s or 0.0
    never_shed_below: int = _POLICY.never_shed_below
    compress: bool = True
    streaming: bool = False
    cors: CorsDeclaration | None = None
    request_headers: dict[str, str] = {}
    response_headers: dict[str, str] = {}


class ServicePolicyDeclaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[policy]`: how the service's nodes are treated, whatever the route (see `model.ServicePolicy`)."""

    connect_timeout_s: float = _SERVICE.connect_timeout_s
    max_connections: int = _SERVICE.max_connections
    max_requests: int = _SERVICE.max_requests
    max_waiting: int = _SERVICE.max_waiting
    retry_percent: float = _SERVICE.retry_percent
    retry_at_least: int = _SERVICE.retry_at_least
    eject_after: int = _SERVICE.eject_after
    eject_s: float = _SERVICE.eject_s
    eject_percent: int = _SERVICE.eject_percent
    zone: str = _SERVICE.zone.value


def route_of(
    declared: RouteDeclaration, service: str, *, where: str = "route", declared_by: str = "", since_ms: int = 0
) -> Route:
    """Turn one declared route of `service` into the gateway's.

    `where` begins the errors' key, such as `shop.toml: routes[0]`; `declared_by` names the writer
    in `LeftOut`; empty: the service. Raises InvalidInput (`gateway.route`).
    """
    target = declared.service or service
    route = Route(
        prefix=declared.path,
        service=target,
        policy=_policy(declared, where),
        exact=_one_of(where, "match", declared.match, ("prefix", "exact")) == "exact",
        hosts=tuple(sorted({host.lower() for host in declared.hosts})),
        methods=tuple(method for method in METHODS if method in declared.methods),
        rewrite=_rewrite(declared, where),
        redirect=None if declared.redirect is None else _redirect(declared.redirect, where),
        declared_by=declared_by or service,
        since_ms=since_ms,
    )
    unknown = sorted(set(declared.methods) - set(METHODS))
    wrong = Wrong("methods", unknown[0], f"one of {', '.join(METHODS)}") if unknown else wrong_in(route)
    if wrong is not None:
        raise _refused(where, wrong)
    return route


def service_policy_of(declared: ServicePolicyDeclaration, *, where: str = "policy") -> ServicePolicy:
    """Turn a declared service policy into the gateway's. Raises InvalidInput (`gateway.route`)."""
    zone = ZoneChoice(_one_of(where, "zone", declared.zone, tuple(choice.value for choice in ZoneChoice)))
    fields: dict[str, Any] = msgspec.structs.asdict(declared)
    fields["zone"] = zone
    policy = ServicePolicy(**fields)
    wrong = wrong_in_policy(policy)
    if wrong is not None:
        raise _refused(where, wrong)
    return policy


def checked_service_name(name: str, *, where: str = "service") -> str:
    """Return a name that can be a cluster's and a file's. Raises InvalidInput (`gateway.route`)."""
    if not NAME.fullmatch(name):
        raise _refused(where, Wrong("name", name, "letters, digits, `.`, `_` and `-`, at most 63, first no sign"))
    return name


def _policy(declared: RouteDeclaration, where: str) -> Policy:
    priority = Priority(_one_of(where, "priority", declared.priority, tuple(choice.value for choice in Priority)))
    cors = declared.cors
    return Policy(
        timeout_s=declared.timeout_s or None,
        per_try_timeout_s=declared.per_try_timeout_s or None,
        idle_timeout_s=declared.idle_timeout_s,
        max_request_bytes=declared.max_request_bytes or None,
        retries=declared.retries,
        idempotent=declared.idempotent,
        hedge_after_s=declared.hedge_after_s or None,
        priority=priority,
        slow_s=declared.slow_s or None,
        never_shed_below=declared.never_shed_below,
        compress=declared.compress,
        streaming=declared.streaming,
        stream_idle_timeout_s=declared.stream_idle_timeout_s,
        cors=None if cors is None else Cors(**msgspec.structs.asdict(cors)),
        request_headers=_pairs(declared.request_headers),
        response_headers=_pairs(declared.response_headers),
    )


def _pairs(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name.lower(), value) for name, value in headers.items()))


def _rewrite(declared: RouteDeclaration, where: str) -> str:
    if not declared.strip_prefix:
        return declared.rewrite
    if declared.rewrite not in {"", "/"}:
        raise _refused(where, Wrong("rewrite", declared.rewrite, "empty when strip_prefix is true"))
    return "/"


def _redirect(declared: RedirectDeclaration, where: str) -> Redirect:
    accepted = "an address such as https://shop.example/new, or a path such as /new"
    try:
        parts = urlsplit(declared.to)
        port = parts.port or 0
    except ValueError as error:
        raise _refused(where, Wrong("redirect.to", declared.to, accepted)) from error
    odd = parts.query or parts.fragment or parts.username or parts.password or re.search(r"[^\x21-\x7e]", declared.to)
    if odd or bool(parts.scheme) != bool(parts.hostname):
        raise _refused(where, Wrong("redirect.to", declared.to, accepted))
    return Redirect(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=port,
        path=parts.path,
        keep_rest=declared.keep_rest,
        status=declared.status,
    )


def _one_of(where: str, key: str, value: str, accepted: tuple[str, ...]) -> str:
    if value not in accepted:
        raise _refused(where, Wrong(key, value, f"one of {', '.join(accepted)}"))
    return value


def _refused(where: str, wrong: Wrong) -> InvalidInput:
    return InvalidInput(
        "gateway.route",
        f"{where}.{wrong.key} = {wrong.value!r} cannot be used",
        why=f"it must be {wrong.accepted}",
        hint="Correct the value and declare the service again",
    )
