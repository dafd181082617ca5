"""The two halves of a service file put together: what the fleet runs, what gateways send to it.

Decides whether a declared service may be: its routes and policy must be what the gateway takes,
and no route may claim what the region or an earlier service has. Pure. Enter at `checked` (before
it is kept) and `gateway_side` (what gateways make of it).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from redqueen.errors import Conflict, InvalidInput
from redqueen.fleet.declared import ServiceFile, Wish
from redqueen.fleet.groups import group_of
from redqueen.gateway.claims import settle
from redqueen.gateway.declared import RouteDeclaration, ServicePolicyDeclaration, route_of, service_policy_of
from redqueen.gateway.model import Route, Service
from redqueen.gateway.routes import default_routes

_Declared = TypeVar("_Declared", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class GatewaySide:
    """What gateways make of one declared service."""

    routes: tuple[Route, ...]
    service: Service


def gateway_side(file: ServiceFile, source: str, since_ms: int = 0) -> GatewaySide:
    """Return a service's routes and policy. Raises InvalidInput naming `source`, the key and its value."""
    routes = tuple(
        _route(raw, f"{source}: routes[{index}]", file.name, since_ms) for index, raw in enumerate(file.routes)
    )
    declared = _converted(file.policy, ServicePolicyDeclaration, f"{source}: policy")
    return GatewaySide(routes, Service(file.name, service_policy_of(declared, where=f"{source}: policy")))


def _route(raw: dict[str, Any], where: str, service: str, since_ms: int) -> Route:
    declared = _converted(raw, RouteDeclaration, where)
    return route_of(declared, service, where=where, declared_by=service, since_ms=since_ms)


def _converted(raw: dict[str, Any], into: type[_Declared], where: str) -> _Declared:
    try:
        return msgspec.convert(raw, into)
    except msgspec.ValidationError as error:
        fields = ", ".join(into.__struct_fields__)
        raise InvalidInput(
            "gateway.route", f"{where}: {error}", hint=f"The keys are {fields}; see docs/gateway.md"
        ) from error


def checked(file: ServiceFile, source: str, others: Iterable[Wish]) -> GatewaySide:
    """Return the gateway's side if it can stand beside the other services. Raises InvalidInput, Conflict."""
    side = gateway_side(file, source)
    # What a group brings is some viewers' alone, and is checked again when it becomes everybody's.
    ours = [wish for wish in others if wish.file.name != file.name and group_of(wish.file.name) is None]
    known = [route for wish in ours for route in _known(wish)]
    # Later than all others, so that it is the newcomer that is refused.
    last = 1 + max((route.since_ms for route in known), default=0)
    fresh = gateway_side(file, source, last).routes
    _, left_out = settle((*default_routes(), *known, *fresh))
    refused = [found for found in left_out if found.node_id == file.name]
    if refused:
        raise Conflict(
            "service.route",
            f"{source}: a route of {file.name} cannot be",
            why=refused[0].because,
            hint="Choose another path or hosts, or remove the other service",
        )
    return side


def _known(wish: Wish) -> tuple[Route, ...]:
    try:
        return gateway_side(wish.file, wish.file.name, wish.since_ms).routes
    except InvalidInput:
        return ()  # kept by an earlier version that took it; gateways leave it out too


def gateway_sides(wishes: Iterable[Wish]) -> tuple[tuple[Route, ...], tuple[Service, ...]]:
    """Return all declared routes and policies; a service that cannot be read any more is left out.

    A group's routes name it as who declared them: gateways give them to its viewers.
    """
    routes: list[Route] = []
    services: list[Service] = []
    for wish in wishes:
        try:
            side = gateway_side(wish.file, wish.file.name, wish.since_ms)
        except InvalidInput:
            continue
        routes += side.routes
        services.append(side.service)
    return tuple(routes), tuple(services)
