"""What the agent needs from the rest of the region: where services are, and what is routed where.

Owned here, implemented by the composition root. Both may fail at any time (`RedQueenError` or
`OSError`): the agent then keeps what it knows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

from redqueen.gateway.evidence import Suspected
from redqueen.gateway.figures import Figures, Totals
from redqueen.gateway.model import Endpoint, GatewayState, RouteInputs
from redqueen.gateway.player_log import PlayerLine
from redqueen.processes import ProcessId


class EndpointSource(Protocol):
    """The registry, as seen from a gateway."""

    def watch(self) -> AsyncIterator[tuple[Endpoint, ...]]:
        """Yield the whole set of endpoints, first at once, then after each change."""
        ...


class RouteSource(Protocol):
    """The product's decisions about the front door."""

    async def read(self) -> RouteInputs:
        """Return the routes and media keys of now."""
        ...


class OnEnvoy(Protocol):
    """Where the agent tells which Envoy runs beside it (the fleet's view)."""

    def __call__(self, process: ProcessId | None) -> None:
        """Take the process of the Envoy that runs now; None: there is none."""
        ...


class Report(Protocol):
    """Where the agent tells what it serves."""

    def __call__(self, state: GatewayState) -> None:
        """Take the state after a change."""
        ...


class EvidenceSink(Protocol):
    """Where the agent tells which endpoints seem dead: whoever can ask them."""

    async def suspect(self, suspects: Sequence[Suspected]) -> None:
        """Take news of endpoints that Envoy could not reach; may raise, then the news is lost."""
        ...


class PlayerSink(Protocol):
    """Where the agent tells what players say of themselves on media requests."""

    def told(self, lines: Sequence[PlayerLine], dropped: int) -> None:
        """Take what was read, and how many more lines there were."""
        ...


class FigureSink(Protocol):
    """Where the agent tells what Envoy counted."""

    def add(self, second: int, figures: Iterable[Figures], totals: Totals) -> None:
        """Take what a second (Unix time, complete) brought, and what was counted since Envoy's birth."""
        ...


class NoEvidence:
    """Drops the news: for a gateway without a registry."""

    async def suspect(self, suspects: Sequence[Suspected]) -> None:
        """Drop the news."""


class NoPlayers:
    """Drops what players say: for a gateway without telemetry."""

    def told(self, lines: Sequence[PlayerLine], dropped: int) -> None:
        """Drop it."""


def ignore_envoy(process: ProcessId | None) -> None:
    """Drop the news: for a gateway outside a fleet."""


def ignore_state(state: GatewayState) -> None:
    """Drop the news: for a gateway outside a fleet."""
