"""What a running trial asks of the region: what its players and gateways saw.

`Sources` is answered by the composition root, which asks every node. A node that does not answer
is named, so that what it saw counts as missing and not as nothing. Enter at `Sources`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from redqueen.telemetry.model import FigureBin, SessionRow

Row = TypeVar("Row", SessionRow, FigureBin)


@dataclass(frozen=True, slots=True)
class Answers(Generic[Row]):
    """What the nodes said of some seconds; `asked` names all of them, `silent` those that did not answer."""

    rows: tuple[Row, ...]
    asked: tuple[str, ...]
    silent: tuple[str, ...] = ()
    counts: tuple[FigureBin, ...] = ()
    """With sessions: what the same nodes counted by arm, as far as they told (`arm_counts`)."""


class Sources(Protocol):
    """All nodes that know of sessions (api nodes) and of requests (gateways)."""

    async def sessions(self, since: int, until: int) -> Answers[SessionRow]:
        """Return the sessions granted in the seconds [since, until), with what api nodes counted; never raises."""
        ...

    async def figures(self, since: int, until: int) -> Answers[FigureBin]:
        """Return the gateways' bins of the seconds [since, until), from every gateway; never raises for one node."""
        ...
