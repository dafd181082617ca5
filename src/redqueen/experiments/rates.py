"""How often one reader may evaluate flags at one node before it is told to wait. Enter at `Rates`."""

from __future__ import annotations

from typing import Final

from redqueen.clock import Clock
from redqueen.telemetry.limits import Budgets, Rate

CLIENT: Final = Rate(10_000, 2_000)
"""A program asks for each of its own requests; beyond this it is one that went wild."""
VIEWER: Final = Rate(120, 5)
"""A browser asks when a page opens and when something changed; several share one viewer behind many tabs."""
_MOST: Final = 50_000


class Rates:
    """The budgets of a node's readers."""

    def __init__(self, clock: Clock, client: Rate = CLIENT, viewer: Rate = VIEWER) -> None:
        """Count by `clock`."""
        self._clock = clock
        self._clients = Budgets(client, _MOST)
        self._viewers = Budgets(viewer, _MOST)

    def wait_s(self, holder: str) -> float:
        """Count one evaluation; return the seconds the holder (`client …` or `viewer …`) has to wait, 0: none."""
        budgets = self._clients if holder.startswith("client ") else self._viewers
        return budgets.take(holder, 1, self._clock.monotonic())
