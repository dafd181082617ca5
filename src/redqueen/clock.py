"""Time as a thing that is handed in, so that rules and tests decide what time it is.

Everything that waits or stamps takes a `Clock`; only the composition root makes a `SystemClock`.
The virtual clock for tests is `redqueen.testing.clock`.
"""

from __future__ import annotations

import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """Wall time, monotonic time and sleep."""

    def now(self) -> float:
        """Return seconds since the Unix epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, from an arbitrary start."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait for `delay_s` seconds (a cancellation point)."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return seconds since the Unix epoch, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back, from an arbitrary start."""
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        """Wait for `delay_s` seconds (a cancellation point)."""
        await anyio.sleep(delay_s)
