"""The operator's services: declare one, look at it, replace its instances, remove it.

A service is declared as a whole: what is sent takes the place of what was there. Refuses what
cannot run or cannot be routed, before anything changes.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from redqueen.accounts.model import Identity
from redqueen.api.audit import noted
from redqueen.api.ports import ServiceCard
from redqueen.api.services import Services
from redqueen.errors import InvalidInput
from redqueen.fleet.declared import ServiceFile


class ServiceList(msgspec.Struct, frozen=True):
    """Every declared service, by name."""

    services: list[ServiceCard]


@get("/services", opt={"owner": True}, operation_id="listServices", tags=["services"])
async def every(services: NamedDependency[Services]) -> ServiceList:
    """Return every declared service and how it is."""
    return ServiceList(await services.declared.all())


@get("/services/{name:str}", opt={"owner": True}, operation_id="getService", tags=["services"])
async def one(name: FromPath[str], services: NamedDependency[Services]) -> ServiceCard:
    """Return one service (or one of the region's own roles) with its instances."""
    return await services.declared.get(name)


@put("/services/{name:str}", status_code=200, opt={"owner": True}, operation_id="declareService", tags=["services"])
async def declare(
    name: FromPath[str],
    data: JSONBody[ServiceFile],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
) -> ServiceCard:
    """Declare a service, or change it: instances are replaced one by one, without a lost request."""
    if data.name != name:
        raise InvalidInput(
            "service.file", f"name = {data.name!r}", why=f"it must be {name}, as in the address", hint="Change one"
        )
    card = await services.declared.declare(data)
    await noted(services, identity, "declare", f"service {name}", f"revision {card.revision}")
    return card


@post(
    "/services/{name:str}/restart",
    status_code=202,
    opt={"owner": True},
    operation_id="restartService",
    tags=["services"],
)
async def restart(
    name: FromPath[str], identity: NamedDependency[Identity], services: NamedDependency[Services]
) -> ServiceCard:
    """Replace every instance by a fresh one, one by one, without a lost request."""
    card = await services.declared.restart(name)
    await noted(services, identity, "restart", f"service {name}")
    return card


@delete("/services/{name:str}", opt={"owner": True}, operation_id="removeService", tags=["services"])
async def remove(
    name: FromPath[str],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
    revision: Annotated[int | None, QueryParameter(description="Only if it is still at this revision")] = None,
) -> None:
    """End a service: its routes go, its instances drain and leave."""
    await services.declared.remove(name, revision)
    await noted(services, identity, "remove", f"service {name}")


ROUTES = [every, one, declare, restart, remove]
