"""What the HTTP edge asks of the studio and the fleet, and the shapes of the fleet's answers.

The composition root adapts the real ones. The structs are the API's JSON, field by field.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import msgspec


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

    async def logs(self, role: str | None, node: str | None, lines: int) -> list[LogLine]:
        """Return the last `lines` log lines, oldest first, of one role, one node or all."""
        ...
