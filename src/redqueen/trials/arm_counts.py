"""What an api node counts by arm, second by second: who was exposed to a flag, and how A/A trials' requests fared.

Decides who is counted as exposed when a page or a flag is served, which is long before a play:
each viewer once a trial. Its own cookie says so first; because a cookie can be left out, the last
viewers are remembered here too, and beyond what one address may have in trials nobody is counted,
whatever the arm: so nobody moves a split alone. Refuses to grow: ten minutes, MOST_PLACES a second.
Every node serves every arm alike, so what dies with a node is missing from all arms alike. No clock,
no I/O. Enter at `ArmCounts`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from redqueen.telemetry.limits import Budgets, Limits, Rate, network
from redqueen.telemetry.model import LATENCY_BOUNDS_MS, FigureBin

KEPT_S: Final = 600
MOST_PLACES: Final = 512
"""Arms of trials in one second; what is beyond is not counted."""
_ONCE: Final = Rate(1, 1 / 86_400)
"""One exposure of a viewer to a trial; a viewer who comes without the cookie after a day may count again."""

Place = tuple[str, str, str]
"""A flag's key (an A/A trial: nothing), a trial, an arm."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """A viewer is served what a trial tries; `again`: its cookie says that it was in the trial before."""

    place: Place
    viewer: int
    address: str
    again: bool


@dataclass(slots=True)
class _Count:
    requests: int = 0
    first: int = 0
    errors: int = 0
    latency: list[int] = field(default_factory=list[int])


class ArmCounts:
    """The counts of one node; `limits` are those of plays."""

    def __init__(self, node: str = "", zone: str = "", limits: Limits | None = None) -> None:
        self._node = node
        self._zone = zone
        limits = limits or Limits()
        self._viewers = Budgets(_ONCE, limits.most_keys)
        self._addresses = Budgets(limits.address_judged, limits.most_keys)
        self._seconds: dict[int, dict[Place, _Count]] = {}

    def exposed(self, exposure: Exposure, now: float, steady_s: float) -> None:
        """Count a page or a flag as served, at `now` (Unix time) and `steady_s` (monotonic)."""
        count = self._count(exposure.place, now)
        if count is None:
            return
        count.requests += 1
        count.first += self._is_first(exposure, steady_s)

    def requested(self, arms: Mapping[str, str], status: int, took_ms: float | None, now: float) -> None:
        """Count an A/A trials' viewer's request that ended at `now`; without `took_ms` (a stream) it is not timed."""
        for trial, arm in arms.items():
            count = self._count(("", trial, arm), now)
            if count is None:
                return
            count.requests += 1
            count.errors += status >= 500
            if took_ms is not None:
                count.latency = count.latency or [0] * (len(LATENCY_BOUNDS_MS) + 1)
                count.latency[bisect_left(LATENCY_BOUNDS_MS, took_ms)] += 1

    def bins(self, since: int, until: int) -> list[FigureBin]:
        """Return what was counted in the seconds [since, until), oldest first."""
        return list(self._bins(since, until))

    def _bins(self, since: int, until: int) -> Iterator[FigureBin]:
        for second in sorted(known for known in self._seconds if since <= known < until):
            for (flag, trial, arm), one in self._seconds[second].items():
                told = one.requests, one.first, one.errors, tuple(one.latency)
                yield FigureBin(second, self._node, self._zone, flag, trial, arm, *told)

    def _is_first(self, exposure: Exposure, steady_s: float) -> bool:
        if exposure.again or self._viewers.take((exposure.place[1], exposure.viewer), 1, steady_s):
            return False
        return not self._addresses.take(network(exposure.address), 1, steady_s)

    def _count(self, place: Place, now: float) -> _Count | None:
        second = int(now)
        places = self._seconds.get(second)
        if places is None:
            for old in [known for known in self._seconds if not second - KEPT_S < known <= second + KEPT_S]:
                del self._seconds[old]
            places = self._seconds.setdefault(second, {})
        found = places.get(place)
        if found is None and len(places) < MOST_PLACES:
            found = places.setdefault(place, _Count())
        return found
