"""What the API asks about services: the wishes beside what the fleet shows of them.

Refuses what could not run on this machine or be routed beside the other services.
"""

from __future__ import annotations

from redqueen.api import declarations
from redqueen.api.ports import ServiceCard, ServiceInstance
from redqueen.fleet import living
from redqueen.fleet.declared import ServiceFile, Wish, checked
from redqueen.fleet.drivers.command import runnable
from redqueen.fleet.model import NodeView, Role
from redqueen.fleet.standing import standing
from redqueen.roles.board import RecordBoard
from redqueen.roles.declared import RecordWishes, unknown
from redqueen.roles.node import Node

_OWN = tuple(role for role in Role if role is not Role.SERVICE)


class ServiceDesk:
    """The API's ServicesPort over the records and the board."""

    def __init__(self, node: Node) -> None:
        self._region = node.region
        self._wishes = RecordWishes(node.stores.records, node.clock)
        self._board = RecordBoard(node.stores.records)

    async def all(self) -> list[ServiceCard]:
        """Return every declared service, by name."""
        views = await self._views()
        return [self._card(wish, views) for wish in (await self._wishes.read()).services]

    async def get(self, name: str) -> ServiceCard:
        """Return one service, or one of the region's own roles. Raises NotFound."""
        wishes, views = await self._wishes.read(), await self._views()
        if name in (role.value for role in _OWN):
            return self._role_card(Role(name), wishes.revision(Role(name)), views)
        for wish in wishes.services:
            if wish.file.name == name:
                return self._card(wish, views)
        raise unknown(name)

    async def declare(self, file: ServiceFile) -> ServiceCard:
        """Keep a service as it shall be. Raises InvalidInput, Conflict."""
        source = f"service {file.name}"
        runnable(checked(file, source), source)
        declarations.checked(file, source, (await self._wishes.read()).services)
        return self._card(await self._wishes.declare(file), await self._views())

    async def restart(self, name: str) -> ServiceCard:
        """Replace every instance by a fresh one. Raises NotFound, Conflict."""
        if name in (role.value for role in _OWN):
            return self._role_card(Role(name), await self._wishes.restart_role(Role(name)), await self._views())
        return self._card(await self._wishes.restart(name), await self._views())

    async def remove(self, name: str, revision: int | None) -> None:
        """End a service, if it is still at that revision. Raises NotFound, Conflict."""
        await self._wishes.remove(name, revision)

    async def _views(self) -> list[NodeView]:
        return living.checked(await self._board.read())

    def _card(self, wish: Wish, views: list[NodeView]) -> ServiceCard:
        wanted = wish.wanted(len(self._region.zones))
        return _made(wish.file.name, wanted, wish.revision, _of(views, Role.SERVICE, wish.file.name), wish.file)

    def _role_card(self, role: Role, revision: int, views: list[NodeView]) -> ServiceCard:
        wanted = int(getattr(self._region.counts, role.value))
        return _made(role.value, wanted, revision, _of(views, role, role.value), None)


def _of(views: list[NodeView], role: Role, service: str) -> list[NodeView]:
    return [view for view in views if view.role == role.value and view.service == service]


def _made(name: str, wanted: int, revision: int, views: list[NodeView], file: ServiceFile | None) -> ServiceCard:
    found = standing(views, wanted, revision)
    return ServiceCard(
        name=name,
        state=found.state,
        because=found.because,
        wanted=wanted,
        ready=found.ready,
        revision=revision,
        instances=[_instance(view, revision) for view in views],
        file=file,
    )


def _instance(view: NodeView, revision: int) -> ServiceInstance:
    return ServiceInstance(
        id=view.node_id,
        zone=view.zone,
        state=view.state.value,
        pid=view.pid or None,
        address=f"{view.host}:{view.port}" if view.port else "",
        version=view.version,
        restarts=view.restarts,
        because=view.because,
        current=view.revision >= revision,
        spare=view.spare,
    )
