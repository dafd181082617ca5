"""What the HTTP edge asks of the studio and the fleet, and the shapes of the fleet's answers.

The composition root adapts the real ones. The structs are the API's JSON, field by field.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import msgspec

from redqueen.fleet.declared import ServiceFile
from redqueen.fleet.rotation import LogQuery

if TYPE_CHECKING:  # a worker knows the studio's port and no releases
    from redqueen.delivery.manifest import Manifest
    from redqueen.delivery.model import Artifact, Provenance, ReleaseRecord


class FleetNode(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One process of the region as the operator sees it."""

    id: str
    role: str
    service: str
    zone: str
    pid: int | None
    address: str
    state: str
    version: str
    restarts: int = 0
    because: str = ""
    snapshot: str = ""
    """A gateway's: the version of the routes and endpoints it serves by."""
    warning: str = ""
    """What is wrong with a process that serves all the same."""


class FleetPicture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole region at `as_of` (UTC)."""

    region: str
    public_url: str
    as_of: datetime
    zones: list[str]
    nodes: list[FleetNode]
    leader: str | None


class LogLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of one node's log."""

    node: str
    line: str


class ServiceInstance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One node of a service; `current` says whether it is what was last asked for."""

    id: str
    zone: str
    state: str
    pid: int | None
    address: str
    version: str
    restarts: int
    because: str
    current: bool
    spare: bool


class ServiceCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A service as it is: `state` is up, starting, replacing or failing; `file` is absent for our own roles."""

    name: str
    state: str
    because: str
    wanted: int
    ready: int
    revision: int
    instances: list[ServiceInstance]
    file: ServiceFile | None
    group_of: str = ""
    """Of a release's group (`<service>--<release>-<part>`): the service it belongs to."""


class ServicesPort(Protocol):
    """What keeps and runs declared services."""

    async def all(self) -> list[ServiceCard]:
        """Return every declared service, by name."""
        ...

    async def get(self, name: str) -> ServiceCard:
        """Return one service, or one of the region's own roles. Raises NotFound."""
        ...

    async def declare(self, file: ServiceFile) -> ServiceCard:
        """Keep a service as it shall be. Raises InvalidInput, Conflict."""
        ...

    async def restart(self, name: str) -> ServiceCard:
        """Replace every instance by a fresh one. Raises NotFound, Conflict."""
        ...

    async def remove(self, name: str, revision: int | None) -> None:
        """End a service, if it is still at that revision. Raises NotFound, Conflict."""
        ...


class ReleasesPort(Protocol):
    """What ships, keeps and undoes releases."""

    async def ship(
        self,
        manifest: Manifest,
        artifact: Artifact,
        by: str,
        *,
        provenance: Provenance,
        because: str = "",
        key: str = "",
    ) -> ReleaseRecord:
        """Take a release whose artifact is kept. Raises InvalidInput, Conflict, Exhausted."""
        ...

    async def rollback(self, service: str, by: str, because: str = "") -> ReleaseRecord:
        """Undo what is being tried, or what was promoted last. Raises NotFound, Conflict."""
        ...

    async def stop(self, service: str, number: int, by: str, because: str = "") -> ReleaseRecord:
        """End a release that has no verdict yet. Raises NotFound, Conflict."""
        ...

    async def get(self, service: str, number: int) -> ReleaseRecord:
        """Return one release. Raises NotFound."""
        ...

    async def all(self, service: str = "", limit: int = 100) -> list[ReleaseRecord]:
        """Return the newest releases of a service, or of each."""
        ...


class StudioPort(Protocol):
    """What makes films watchable."""

    async def submit(self, title_id: str, source_key: str) -> None:
        """Take a film that has arrived whole; taking the same one again changes nothing."""
        ...

    async def set_subtitles(self, title_id: str, lang: str, label: str, text: str) -> None:
        """Clean SRT or WebVTT text and add it to the title. Raises InvalidInput."""
        ...

    async def remove(self, title_id: str) -> None:
        """Stop work on a title and remove its bytes; no error when there are none."""
        ...


class FleetPort(Protocol):
    """What knows and can end the region's processes."""

    async def view(self) -> FleetPicture:
        """Return the region's nodes now."""
        ...

    async def kill(self, node_id: str) -> None:
        """End exactly that process at once (SIGKILL). Raises NotFound."""
        ...

    async def logs(self, query: LogQuery) -> list[LogLine]:
        """Return the last log lines that are asked for, oldest first."""
        ...
