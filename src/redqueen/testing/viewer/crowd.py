"""Many viewers at once in one process.

Decides when each viewer begins (evenly staggered), which film it takes (in turn), and whether it
comes back when its session is over. Refuses an empty list of films. Enter at `crowd`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import anyio

from redqueen.clock import Clock, SystemClock
from redqueen.errors import InvalidInput
from redqueen.testing.viewer.player import Wishes, watch
from redqueen.testing.viewer.policy import RetryPolicy
from redqueen.testing.viewer.report import CrowdReport, Report, summarise


@dataclass(frozen=True, slots=True)
class Gathering:
    """How a crowd comes and goes; times in seconds."""

    duration_s: float
    """The crowd is sent home after so many seconds."""
    stagger_s: float = 10.0
    """The first and the last viewer begin so far apart."""
    session_s: float | None = None
    """Length of one session; None: until the film or the crowd's time is over."""
    again: bool = True
    """A viewer whose session is over begins a new one, with the next film."""


async def crowd(
    urls: Sequence[str],
    count: int,
    *,
    gathering: Gathering,
    wishes: Wishes | None = None,
    retry: RetryPolicy | None = None,
    headers: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    on_report: Callable[[Report], None] | None = None,
) -> CrowdReport:
    """Let `count` viewers watch `urls` (master playlists, taken in turn) and sum up what they saw.

    `on_report` is called with each session as it ends. Raises InvalidInput without an address.
    """
    if not urls:
        raise InvalidInput("viewer.no_films", "There is nothing to watch", hint="Give at least one address")
    clock = clock or SystemClock()
    session = partial(watch, retry=retry, headers=headers, clock=clock)
    ends_at = clock.monotonic() + gathering.duration_s
    visit = _Visit(tuple(urls), gathering, wishes or Wishes(), session, clock, ends_at, on_report)
    return await visit.run(count)


@dataclass(frozen=True, slots=True)
class _Visit:
    urls: tuple[str, ...]
    gathering: Gathering
    wishes: Wishes
    session: Callable[..., Awaitable[Report]]
    clock: Clock
    ends_at: float
    on_report: Callable[[Report], None] | None
    reports: list[Report] = field(default_factory=list[Report])

    async def run(self, count: int) -> CrowdReport:
        async with anyio.create_task_group() as group:
            for number in range(count):
                group.start_soon(self._viewer, number, self.gathering.stagger_s * number / count)
        return summarise(count, self.reports)

    async def _viewer(self, number: int, begin_in_s: float) -> None:
        await self.clock.sleep(begin_in_s)
        turn = 0
        while (left_s := self.ends_at - self.clock.monotonic()) > 0:
            length_s = min(left_s, self.gathering.session_s or left_s)
            report = await self.session(
                self.urls[(number + turn) % len(self.urls)],
                wishes=replace(self.wishes, duration_s=length_s),
                seed=number * 1000 + turn,
            )
            self.reports.append(report)
            if self.on_report:
                self.on_report(report)
            turn += 1
            if not self.gathering.again:
                return
            # A viewer who met an error, or a very short film, does not come back in the same moment.
            await self.clock.sleep(0.0 if report.wall_s > 1.0 else 1.0)
