"""Who may ask what: every route of the API needs an identity unless it says `opt={"public": True}`.

An identity comes from the header `Authorization: Bearer …` or the cookie `rq_session`. A change
asked for with the cookie needs the header X-Redqueen: 1, which other sites cannot send; sign-in
refuses requests that a browser says came from another site. Enter at `require_identity`.
"""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler

from redqueen.accounts.model import Identity, Role
from redqueen.api.audit import READING
from redqueen.api.services import Services
from redqueen.errors import Forbidden, Unauthorized

SESSION_COOKIE = "rq_session"
CSRF_HEADER = "X-Redqueen"
_MAX_TOKEN_CHARS = 512

Connection = ASGIConnection[Any, Any, Any, State]


async def require_identity(connection: Connection, handler: BaseRouteHandler) -> None:
    """Find out who asks and keep it with the request. Raises Unauthorized, Forbidden."""
    _refuse_foreign_sites(connection)
    if handler.opt.get("public") or _method(connection) == "OPTIONS":  # OPTIONS tells nothing but methods
        return
    services: Services = connection.app.state["services"]
    header = connection.headers.get("authorization")
    if header is not None:
        found = await _by_header(services, header)
    else:
        found = await _by_cookie(services, connection)
    if found is None:
        raise Unauthorized("session.none", "You are not signed in", hint="Sign in, then ask again")
    if handler.opt.get("owner") and found.account.role is not Role.OWNER:
        raise Forbidden("account.owner", "Only the owner may do this", hint="Ask the owner of the region")
    connection.state["identity"] = found


async def _by_header(services: Services, header: str) -> Identity | None:
    scheme, _, token = header.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > _MAX_TOKEN_CHARS:
        return None
    return await services.accounts.bearer(token)


async def _by_cookie(services: Services, connection: Connection) -> Identity | None:
    token = connection.cookies.get(SESSION_COOKIE)
    if not token or len(token) > _MAX_TOKEN_CHARS:
        return None
    found = await services.accounts.session(token)
    if found is not None and _method(connection) not in READING and connection.headers.get(CSRF_HEADER) != "1":
        raise Forbidden(
            "request.csrf",
            "This change did not come from the app",
            why=f"it has the session's cookie but not the header {CSRF_HEADER}",
            hint=f"Send {CSRF_HEADER}: 1",
        )
    return found


def _refuse_foreign_sites(connection: Connection) -> None:
    if _method(connection) in READING:
        return
    if connection.headers.get("sec-fetch-site", "same-origin") in ("cross-site", "same-site"):
        raise Forbidden("request.csrf", "This change came from another site", hint="Use the app of this region")


def _method(connection: Connection) -> str:
    scope = connection.scope
    return str(scope["method"]).upper() if scope["type"] == "http" else "GET"
