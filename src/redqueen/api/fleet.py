"""The operator's view of the region: its nodes, their logs, and the button that ends one."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from redqueen.accounts.model import Identity
from redqueen.api.audit import noted
from redqueen.api.ports import FleetPicture, LogLine
from redqueen.api.services import Services
from redqueen.errors import InvalidInput
from redqueen.fleet.rotation import LogQuery

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_REQUEST = re.compile(r"[A-Za-z0-9-]{8,64}")


class LogLines(msgspec.Struct, frozen=True):
    """Log lines, oldest first."""

    lines: list[LogLine]


@get("/fleet", opt={"owner": True}, operation_id="getFleet", tags=["fleet"])
async def view(services: NamedDependency[Services]) -> FleetPicture:
    """Return every process of the region and how it is."""
    return await services.fleet.view()


@post("/fleet/nodes/{node_id:str}/kill", status_code=202, opt={"owner": True}, operation_id="killNode", tags=["fleet"])
async def kill(
    node_id: FromPath[str], identity: NamedDependency[Identity], services: NamedDependency[Services]
) -> None:
    """End exactly that process at once (SIGKILL), to see the region go on."""
    await services.fleet.kill(_name("node", node_id))
    await noted(services, identity, "kill", f"node {node_id}")


@get("/fleet/logs", opt={"owner": True}, operation_id="getLogs", tags=["fleet"])
async def logs(
    services: NamedDependency[Services],
    role: Annotated[str | None, QueryParameter(description="Only nodes of this role")] = None,
    service: Annotated[str | None, QueryParameter(description="Only nodes of this service")] = None,
    node: Annotated[str | None, QueryParameter(description="Only this node")] = None,
    since: Annotated[datetime | None, QueryParameter(description="Only lines from this time on")] = None,
    request_id: Annotated[str, QueryParameter(description="Only lines that name this request's id")] = "",
    lines: Annotated[int, QueryParameter(description="How many at most", ge=1, le=5000)] = 200,
) -> LogLines:
    """Return the last log lines of a role, a service, a node or the whole region."""
    query = LogQuery(
        role=None if role is None else _name("role", role),
        service=None if service is None else _name("service", service),
        node=None if node is None else _name("node", node),
        since="" if since is None else since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:23] + "Z",
        lines=lines,
        request=_request(request_id),
    )
    return LogLines(await services.fleet.logs(query))


def _name(key: str, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise InvalidInput("fleet.name", f"`{key}` is no name of the fleet", hint="See them with: redqueen status")
    return value


def _request(request_id: str) -> str:
    if request_id and not _REQUEST.fullmatch(request_id):
        raise InvalidInput("fleet.request", "`request_id` is no request's id", hint="It stands in x-request-id")
    return request_id


ROUTES = [view, kill, logs]
