"""The HTTP edge put together: `create_app(services)` gives an ASGI application.

Decides which routes exist, what every request passes (identity, errors, headers) and how the
API describes itself. It does no work of its own at import and knows no server.
"""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Request, Router
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import FromPath

import redqueen
from redqueen.accounts.model import Identity
from redqueen.api import (
    arm_counts,
    audit,
    declared,
    errors,
    experiments,
    flags,
    fleet,
    guards,
    headers,
    health,
    home,
    ofrep,
    playback,
    releases,
    session,
    subtitles,
    telemetry,
    titles,
    trials,
    uploads,
)
from redqueen.api.app_files import AppFiles
from redqueen.api.services import Services
from redqueen.catalogue.model import Title
from redqueen.errors import Unauthorized

MAX_JSON_BYTES = 1 << 20
_DESCRIPTION = (
    "Viewer, maker and operator API of a Red Queen region. Sign in for the cookie `rq_session` (changes then need "
    "the header `X-Redqueen: 1`), or send `Authorization: Bearer`. Times are RFC 3339 in UTC; failures are "
    '`{"code", "what", "why", "hint"}`. Uploads speak tus 1.0.0.'
)


def create_app(services: Services) -> Litestar:
    """Return the ASGI application of an api node."""

    def provide_services() -> Services:
        return services

    v1 = Router(
        "/api/v1",
        route_handlers=[
            *session.ROUTES,
            *home.ROUTES,
            *titles.ROUTES,
            *playback.ROUTES,
            *telemetry.ROUTES,
            *subtitles.ROUTES,
            *uploads.ROUTES,
            *fleet.ROUTES,
            *declared.ROUTES,
            *releases.ROUTES,
            *audit.ROUTES,
            *trials.ROUTES,
            *flags.ROUTES,
            *experiments.ROUTES,
            *health.ROUTES,
        ],
        guards=[guards.require_identity],
        middleware=[audit.AuditChanges()],
        dependencies={
            "services": Provide(provide_services, sync_to_thread=False),
            "identity": Provide(_identity, sync_to_thread=False),
            "title": Provide(_title),
        },
        request_max_body_size=MAX_JSON_BYTES,
    )
    return Litestar(
        route_handlers=[
            v1,
            *ofrep.ROUTES,
            *telemetry.OUTSIDE,
            *arm_counts.OUTSIDE,
            *AppFiles(services.app_dir).routes(),
        ],
        exception_handlers=dict(errors.HANDLERS),
        before_send=[headers.add],
        state=State({"services": services}),
        openapi_config=_openapi(),
        logging_config=None,
        debug=False,
    )


def _identity(request: Request[Any, Any, State]) -> Identity:
    found = request.state.get("identity")
    if not isinstance(found, Identity):
        raise Unauthorized("session.none", "You are not signed in", hint="Sign in, then ask again")
    return found


async def _title(title_id: FromPath[str], services: NamedDependency[Services]) -> Title:
    return await services.catalogue.get(title_id)


def _openapi() -> OpenAPIConfig:
    schemes = {
        "session": SecurityScheme(type="apiKey", name=guards.SESSION_COOKIE, security_scheme_in="cookie"),
        "bearer": SecurityScheme(type="http", scheme="bearer"),
    }
    return OpenAPIConfig(
        title="Red Queen",
        version=redqueen.__version__,
        description=_DESCRIPTION,
        use_handler_docstrings=True,
        components=Components(security_schemes=dict(schemes)),
        security=[{"session": []}, {"bearer": []}],
        # Litestar wants a folder of its own for the description; ours is at /api/v1/openapi.json.
        path="/api/schema",
        render_plugins=[JsonRenderPlugin()],
    )
