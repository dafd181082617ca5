"""Observations gathered, commands carried out: the only place of delivery that touches the region.

Every command names what shall be; what is so already is not done again. Before nodes are asked for,
the artifacts that they run are there. Enter at `Executor`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redqueen.delivery.acting import (
    Command,
    DeclareService,
    Nodes,
    Observation,
    Pin,
    PutFlags,
    RemoveGroup,
    RemoveService,
    ReportTrial,
    StartGroup,
    StartTrial,
    StopTrial,
    Unpin,
)
from redqueen.delivery.groups import group_file
from redqueen.delivery.manifest import OWN
from redqueen.delivery.model import Build, Release
from redqueen.delivery.observing import group_nodes, own_nodes
from redqueen.delivery.ports import DeliveryPorts, Size
from redqueen.fleet.declared import Wishes
from redqueen.fleet.model import Edition, NodeView

REGION: Final = "redqueen"
"""Who acts when no person asked."""
_DIGEST = re.compile(r"/releases/([0-9a-f]{64})(?:/|$)")


@dataclass(frozen=True, slots=True)
class World:
    """What is wished for, seen and pinned in one moment."""

    wishes: Wishes
    views: Sequence[NodeView]
    pins: dict[str, str]
    size: Size

    def own(self, service: str) -> Nodes | None:
        """Return a service's own nodes; None where there is no such service."""
        return own_nodes(service, self.wishes, self.views, self.size)


class Executor:
    """Looks at the region and does what a release asks of it."""

    def __init__(self, ports: DeliveryPorts) -> None:
        self._ports = ports

    async def look(self) -> World:
        """Read what all releases are judged by."""
        fleet = self._ports.fleet
        return World(await fleet.wishes(), await fleet.views(), dict(await self._ports.pins.all()), fleet.size)

    async def seen(self, release: Release, world: World, ahead: str) -> Observation:
        """Return what one release may know."""
        flags = release.manifest.flags
        return Observation(
            service=world.own(release.service),
            groups=group_nodes(release, world.wishes, world.views, world.size),
            trial=await self._ports.trials.seen(release.trial),
            flags=await self._ports.flags.values(list(flags)) if flags else {},
            pinned=world.pins.get(release.service, ""),
            ahead=ahead,
        )

    async def carry_out(self, release: Release, command: Command) -> None:
        """Do what is asked; again does nothing more."""
        ports = self._ports
        match command:
            case StartGroup(name, build, count):
                await self.ready(build)
                await ports.fleet.declare(group_file(name, build, count, release.manifest.owner), _edition(build))
            case DeclareService(service, build):
                await self.ready(build)
                await self._declare(service, build)
            case RemoveGroup(name) | RemoveService(name):
                await ports.fleet.remove(name)
            case StartTrial(trial):
                await ports.trials.start(trial)
            case ReportTrial(trial_id, problem):
                await ports.trials.report(trial_id, problem)
            case StopTrial(trial_id, because):
                await ports.trials.stop(trial_id, because, REGION)
            case PutFlags(flags):
                await ports.flags.put(flags, f"release {release.trial}")
            case Pin(service, group):
                await ports.pins.pin(service, group)
            case Unpin(service):
                await ports.pins.unpin(service)

    async def _declare(self, service: str, build: Build) -> None:
        if service in OWN:
            await self._ports.fleet.set_edition(service, build.edition)
        elif build.file is not None:
            await self._ports.fleet.declare(build.file)

    async def ready(self, build: Build) -> None:
        """Have unpacked what a build runs. Raises NotFound where it is not kept any more."""
        for digest in digests_of(build):
            await self._ports.folders.unpacked(digest)


def _edition(build: Build) -> Edition | None:
    """Return what a group of our own role runs: as installed is an edition too; None for a declared service."""
    return Edition("") if build == Build() else build.edition


def digests_of(build: Build) -> list[str]:
    """Return the digests of the artifacts in whose folders a build runs."""
    places = [build.file.directory] if build.file else []
    places += [build.edition.code, build.edition.web] if build.edition else []
    return [found for place in places for found in _DIGEST.findall(place)]
