"""The operator's audit log: who changed what, when and why, newest first.

`noted` is how a route writes a line about what it has just done for whoever asked.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from redqueen.accounts.model import Identity
from redqueen.api.schemas import moment
from redqueen.api.services import Services


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
