"""An api node's whole ASGI application: the routes, counted and traced, and two short ways past them.

Decides what goes past the framework: beacons, because what it does for a request costs more than
all of ours; and /metrics, which must answer whatever the routes do. Enter at `edge`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from redqueen.api.app import create_app
from redqueen.api.arm_counts import counted
from redqueen.api.errors import status_of
from redqueen.api.metrics import CONTENT_TYPE, Metrics, measured
from redqueen.api.services import Services
from redqueen.api.telemetry import EVENTS, speak_inside, take_beacon
from redqueen.errors import RedQueenError

if TYPE_CHECKING:
    from redqueen.api.tracing import Tracing  # loads OpenTelemetry, which most regions do not use

METRICS: Final = "/metrics"


def edge(services: Services, tracing: Tracing | None = None) -> ASGIApp:
    """Return everything that an api node serves."""
    place = services.place
    metrics = Metrics(services.telemetry, service=place.service, release=place.release, zone=place.zone)
    app = measured(counted(create_app(services), services), metrics)
    if tracing is not None:
        app = tracing.requests(app)

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == EVENTS:
            await take_beacon(services, scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == METRICS:
            await _exposed(services, metrics, scope, send)
        else:
            await app(scope, receive, send)

    return front


async def _exposed(services: Services, metrics: Metrics, scope: HTTPScope, send: Send) -> None:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    try:
        client = scope["client"]
        speak_inside(services, headers, client[0] if client else "", machine=True)
        status, kind, body = 200, CONTENT_TYPE, metrics.text()
    except RedQueenError as error:
        told = {"code": error.code, "what": error.what, "why": error.why, "hint": error.hint}
        status, kind, body = status_of(error), "application/json", msgspec.json.encode(told)
    told_headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": told_headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
