"""A clock that tests move by hand: nothing really sleeps.

`advance` moves time and wakes the sleepers that became due; `run_for` moves it from one due
sleeper to the next and lets tasks run in between, so that a chain of sleeps plays out in order.
Wall and monotonic time move together; time never goes back. Refuses negative steps.
Enter at `VirtualClock`.
"""

from __future__ import annotations

import heapq
from itertools import count

import anyio
import anyio.lowlevel


class VirtualClock:
    """A `redqueen.clock.Clock` whose time passes only when told to."""

    def __init__(self, start_s: float = 1_800_000_000.0) -> None:
        """Start at `start_s` (seconds, epoch); monotonic time starts at 0."""
        self._start_s = start_s
        self._elapsed_s = 0.0
        self._order = count()
        self._sleepers: list[tuple[float, int, anyio.Event]] = []

    def now(self) -> float:
        """Return virtual seconds since the Unix epoch, UTC."""
        return self._start_s + self._elapsed_s

    def monotonic(self) -> float:
        """Return virtual seconds since this clock was made."""
        return self._elapsed_s

    async def sleep(self, delay_s: float) -> None:
        """Wait until time has been moved by `delay_s` seconds (a cancellation point)."""
        if delay_s <= 0:
            await anyio.lowlevel.checkpoint()
            return
        entry = (self._elapsed_s + delay_s, next(self._order), anyio.Event())
        heapq.heappush(self._sleepers, entry)
        try:
            await entry[2].wait()
        except BaseException:
            if entry in self._sleepers:
                self._sleepers.remove(entry)
                heapq.heapify(self._sleepers)
            raise

    def advance(self, step_s: float) -> None:
        """Move time by `step_s` seconds, 0 or more, and wake whoever is due, earliest first.

        The woken tasks run when the caller next awaits, and all of them see the new time.
        """
        if not step_s >= 0:
            raise ValueError(f"time cannot go back: step_s={step_s!r}")
        self._move_to(self._elapsed_s + step_s)

    async def run_for(self, duration_s: float, *, turns: int = 64) -> None:
        """Let `duration_s` seconds pass sleeper by sleeper, each seeing the time it asked for.

        After each wake-up all tasks get `turns` turns of the event loop; raise it for tasks that
        await more often than that between two sleeps.
        """
        end = self._elapsed_s + duration_s
        await _settle(turns)
        while self._sleepers and self._sleepers[0][0] <= end:
            self._move_to(self._sleepers[0][0])
            await _settle(turns)
        self.advance(end - self._elapsed_s)
        await _settle(turns)

    def _move_to(self, elapsed_s: float) -> None:
        self._elapsed_s = max(self._elapsed_s, elapsed_s)
        while self._sleepers and self._sleepers[0][0] <= self._elapsed_s:
            heapq.heappop(self._sleepers)[2].set()


async def _settle(turns: int) -> None:
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
