"""What the API asks about services: the wishes beside what the fleet shows of them.

Refuses what could not run on this machine or be routed beside the other services, and to change by
hand what a release is changing: a group, or a service of which a release is under way.
"""

from __future__ import annotations

import contextlib

from redqueen.api import declarations
from redqueen.api.ports import ServiceCard, ServiceInstance
from redqueen.delivery.archive import Archive
from redqueen.delivery.pins import Pins
from redqueen.errors import Conflict, InvalidInput, NotFound
from redqueen.fleet import living
from redqueen.fleet.declared import ServiceFile, Wish, checked
from redqueen.fleet.drivers.command import runnable
from redqueen.fleet.groups import group_of
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
        self._archive = Archive(node.stores.records)
        self._pins = Pins(node.stores.records)

    async def all(self) -> list[ServiceCard]:
        """Return every declared service by name, its groups behind it."""
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
        known = (await self._wishes.read()).services
        await self._refuse_under_way(file.name)
        declarations.checked(file, source, known)
        return self._card(await self._wishes.declare(file), await self._views())

    async def restart(self, name: str) -> ServiceCard:
        """Replace every instance by a fresh one. Raises NotFound, Conflict, InvalidInput for a group."""
        _refuse_group(name)
        if name in (role.value for role in _OWN):
            return self._role_card(Role(name), await self._wishes.restart_role(Role(name)), await self._views())
        return self._card(await self._wishes.restart(name), await self._views())

    async def remove(self, name: str, revision: int | None) -> None:
        """End a service and what is kept warm of it, if it is still at that revision.

        Raises NotFound, Conflict (also while a release of it is tried), InvalidInput for a group.
        """
        _refuse_group(name)
        await self._refuse_under_way(name)
        known = (await self._wishes.read()).services
        await self._wishes.remove(name, revision)
        await self._pins.unpin(name)
        for group in _groups(name, known):
            with contextlib.suppress(NotFound):
                await self._wishes.remove(group, None)

    async def _refuse_under_way(self, name: str) -> None:
        for kept in await self._archive.open():
            state = kept.record.state
            if kept.release.service == name and state.phase.under_way:
                raise Conflict(
                    "service.under_trial",
                    f"{kept.release.id} of {name} is {state.phase.value}",
                    why="it is compared with what runs now, which would change",
                    hint=f"Wait for its verdict, or end it with: redqueen rollback {name}",
                )

    async def _views(self) -> list[NodeView]:
        return living.checked(await self._board.read())

    def _card(self, wish: Wish, views: list[NodeView]) -> ServiceCard:
        wanted = wish.wanted(len(self._region.zones))
        role = Role.API if wish.edition else Role.SERVICE
        return _made(wish.file.name, wanted, wish.revision, _of(views, role, wish.file.name), wish.file)

    def _role_card(self, role: Role, revision: int, views: list[NodeView]) -> ServiceCard:
        wanted = int(getattr(self._region.counts, role.value))
        return _made(role.value, wanted, revision, _of(views, role, role.value), None)


def _groups(service: str, known: tuple[Wish, ...]) -> list[str]:
    found = [(wish.file.name, group_of(wish.file.name)) for wish in known]
    return [name for name, group in found if group is not None and group.service == service]


def _refuse_group(name: str) -> None:
    if group_of(name) is not None:
        raise InvalidInput(
            "service.group", f"{name} is a release's group", why="its release decides about it", hint="See releases"
        )


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
        group_of=group.service if (group := group_of(name)) is not None else "",
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
