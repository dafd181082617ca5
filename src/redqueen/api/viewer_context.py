"""What flags and trials may know of a viewer of the region: who it is, by which device, from which zone and country.

The targeting key and the zone are never taken from the viewer: they are the cookie's and the
gateway's, as the address is. The device is what the player says, or what the browser's name says.
Enter at `viewer_context`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from litestar import Request
from litestar.datastructures import State
from litestar.types import Scope

from redqueen.api.services import Services
from redqueen.experiments.evaluation import COUNTRY, DEVICE, RETURNING, TARGETING_KEY, ZONE
from redqueen.telemetry.model import Device
from redqueen.viewers import COOKIE

ZONE_HEADER: Final = "x-rq-zone"
"""Set by gateways; what a client sends under this name never arrives."""
_RESERVED: Final = frozenset({TARGETING_KEY, ZONE, COUNTRY, RETURNING})
_TV: Final = re.compile(
    r"\b(smart-?tv|googletv|appletv|hbbtv|netcast|web0s|webos|tizen|bravia|crkey|aft[a-z]+)\b", re.I
)
_DEVICES: Final = tuple(Device)
_MOBILE: Final = re.compile(r"\b(android|iphone|ipad|ipod|mobile)\b", re.I)
_DESKTOP: Final = re.compile(r"\b(windows nt|macintosh|x11|cros)\b", re.I)


def viewer_context(
    request: Request[Any, Any, State], services: Services, viewer: int, told: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a viewer's evaluation context; `told` are attributes of its own, which cannot say who it is."""
    context = {name: value for name, value in (told or {}).items() if name not in _RESERVED}
    if context.get(DEVICE) not in _DEVICES:
        context[DEVICE] = device_of(request.headers.get("user-agent", "")).value
    context[TARGETING_KEY] = f"{viewer:016x}"
    context[ZONE] = request.headers.get(ZONE_HEADER, "")
    context[COUNTRY] = country_of(request, services)
    context[RETURNING] = COOKIE in request.cookies
    return context


def address_of(scope: Scope) -> str:
    """Return where a request came from: as the gateway saw it, or the peer itself."""
    for name, value in scope["headers"]:
        if name == b"x-forwarded-for":
            # Envoy appends the peer to what a client sent, and joins several headers to one.
            return value.rpartition(b",")[2].strip().decode("latin-1")
    client = scope["client"]
    return client[0] if client else ""


def country_of(request: Request[Any, Any, State], services: Services) -> str:
    """Return from which country a request comes; empty where that is not known."""
    return services.countries.of(request.headers, address_of(request.scope))


def device_of(user_agent: str) -> Device:
    """Return the class of device that a browser's name speaks of."""
    name = user_agent[:500]
    if _TV.search(name):
        return Device.TV
    if _MOBILE.search(name):
        return Device.MOBILE
    return Device.DESKTOP if _DESKTOP.search(name) else Device.OTHER
