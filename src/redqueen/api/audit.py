"""The operator's audit log: who changed what, when and why, newest first; and that no change is missed.

Decides that every request which changes something for somebody signed in leaves a line before its
answer: the one that whoever made the change wrote (`noted`, or a service of its own), else one
with the operation's name and what the address names, never anything of the body. A route of which
none is wanted says why in `opt={"unaudited": …}`. A change of which no line can be written is
answered as failed. Enter at `AuditChanges`.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.params import QueryParameter
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from redqueen.accounts.model import Identity
from redqueen.api.schemas import moment
from redqueen.api.services import Services
from redqueen.store.audit import watched

READING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""
_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class AuditCard(msgspec.Struct, frozen=True):
    """One change: when, who made it, what was done to which subject, and why."""

    id: str
    at: datetime
    who: str
    what: str
    subject: str
    because: str


class AuditPage(msgspec.Struct, frozen=True):
    """Some lines, newest first; `next` goes into `before` for the following page."""

    lines: list[AuditCard]
    next: str | None


async def noted(services: Services, identity: Identity, what: str, subject: str, because: str = "") -> None:
    """Write into the audit log what the asking account has just changed."""
    await services.audit.note(identity.account.name, what, subject, because)


class AuditChanges(ASGIMiddleware):
    """Sees to it that a change which succeeded stands in the audit log."""

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = "unaudited"

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Answer a request; a change is written down before its answer begins."""
        if scope["type"] != "http" or scope["method"] in READING:
            await next_app(scope, receive, send)
            return
        with watched() as lines:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start" and message["status"] < 400 and not lines:
                    await _note(scope)
                await send(message)

            await next_app(scope, receive, told)


async def _note(scope: Scope) -> None:
    services: Services = scope["litestar_app"].state["services"]
    identity, handler = scope["state"].get("identity"), scope["route_handler"]
    if isinstance(identity, Identity) and isinstance(handler, HTTPRouteHandler):
        named = [f"{key.removesuffix('_id')} {value}" for key, value in scope["path_params"].items()]
        subject = ", ".join(named) or f"account {identity.account.name}"
        await noted(services, identity, words_of(str(handler.operation_id or handler)), subject)


def words_of(operation: str) -> str:
    """Write an operation's id, such as `setPassword`, in words."""
    return _WORD.sub(" ", operation).lower()


@get("/audit", opt={"owner": True}, operation_id="getAudit", tags=["audit"])
async def audit(
    services: NamedDependency[Services],
    limit: Annotated[int, QueryParameter(description="How many at most", ge=1, le=1000)] = 100,
    before: Annotated[str, QueryParameter(description="The `next` of the page before", max_length=64)] = "",
) -> AuditPage:
    """Return who changed what, newest first."""
    found = await services.audit.newest(limit, before=before)
    lines = [AuditCard(one.id, moment(one.at_s), one.who, one.what, one.subject, one.because) for one in found]
    return AuditPage(lines, found[-1].id if len(found) == limit else None)


ROUTES = [audit]
