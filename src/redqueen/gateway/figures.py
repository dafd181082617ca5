"""Envoy's counters as figures by the second: requests, first exposures, errors and latency of each service and arm.

Envoy only ever counts up, from its own birth: what a second brought is the difference of two looks.
A counter that went down belongs to another Envoy and is taken whole. A service has one figure for
what its nodes and its groups' nodes answered (no trial; each try counts), and one for each arm of its
trials (each request counts, as it ended). Kept are
the last ten minutes. Pure. Enter at `totals_in`, `between` and `Kept`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

import msgspec

from redqueen.gateway.arms import base_service
from redqueen.gateway.counting import CLUSTER, REQUESTS, TIMES

KEPT_S = 600


class Place(NamedTuple):
    """Whose requests a figure counts; without a trial all of a service's (of a group's, among totals)."""

    service: str
    trial: str = ""
    arm: str = ""


@dataclass(slots=True)
class Total:
    """What Envoy has counted of one place since its birth."""

    requests: int = 0
    errors: int = 0
    first: int = 0
    latency: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Figures:
    """What one second brought to one place; `latency` by the histogram's bounds, the last above them all."""

    place: Place
    requests: int
    first: int
    errors: int
    latency: tuple[int, ...]


Totals = Mapping[Place, Total]


class _Bucket(msgspec.Struct, frozen=True):
    upper_bound: float
    cumulative: int


class _Histogram(msgspec.Struct, frozen=True):
    name: str
    buckets: tuple[_Bucket, ...] = ()


class _Stat(msgspec.Struct, frozen=True):
    name: str = ""
    value: int = 0
    histograms: tuple[_Histogram, ...] = ()


class _Stats(msgspec.Struct, frozen=True):
    stats: tuple[_Stat, ...] = ()


_DECODER = msgspec.json.Decoder(_Stats)


def totals_in(answer: bytes) -> Totals:
    """Read the admin's answer (JSON, histograms in disjoint buckets). Raises msgspec.DecodeError."""
    found: dict[Place, Total] = {}
    for stat in _DECODER.decode(answer).stats:
        _count(found, stat)
        for histogram in stat.histograms:
            place = _timed(histogram.name)
            if place is not None:
                total = found.setdefault(place, Total())
                total.latency = _sum(total.latency, [bucket.cumulative for bucket in histogram.buckets])
    return {place: total for place, total in found.items() if not _again(place, found)}


def _again(place: Place, found: Totals) -> bool:
    """Tell whether it is a cluster's second count, for requests from outside; nobody is inside here."""
    cluster, _, kind = place.service.rpartition(".")
    return not place.trial and kind in ("external", "internal") and Place(cluster) in found


def _count(found: dict[Place, Total], stat: _Stat) -> None:
    cluster = CLUSTER.fullmatch(stat.name)
    if cluster is not None:
        total = found.setdefault(Place(cluster[1]), Total())
        if cluster[2] == "completed":
            total.requests += stat.value
        else:
            total.errors += stat.value
        return
    counted = REQUESTS.fullmatch(stat.name)
    # Who is in no trial of the service is counted with its clusters alone.
    if counted is not None:
        total = found.setdefault(_exposed(counted[1], counted[2]), Total())
        total.requests += stat.value
        total.errors += stat.value if int(counted[3]) >= 500 else 0
        total.first += stat.value if counted[2].endswith("/first") else 0


def _timed(name: str) -> Place | None:
    cluster, timed = CLUSTER.fullmatch(name), TIMES.fullmatch(name)
    if cluster is not None:
        return Place(cluster[1])
    return None if timed is None else _exposed(timed[1], timed[2])


def _exposed(service: str, exposed: str) -> Place:
    trial, arm, _ = exposed.split("/")
    return Place(service, trial, arm)


def _sum(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip_longest(one, other, fillvalue=0))


def between(before: Totals, now: Totals) -> list[Figures]:
    """Return what happened between two looks, by place, a group's part with its service's.

    Places where nothing happened are left out.
    """
    found: dict[Place, Figures] = {}
    for source, total in now.items():
        brought = _brought(source, before.get(source, Total()), total)
        if brought.requests or any(brought.latency):
            known = found.get(brought.place)
            found[brought.place] = brought if known is None else _together(known, brought)
    return list(found.values())


def _brought(source: Place, before: Total, now: Total) -> Figures:
    place = source if source.trial else Place(base_service(source.service))
    if _went_down(before, now):
        before = Total()
    latency = tuple(new - old for old, new in zip_longest(before.latency, now.latency, fillvalue=0))
    requests, errors = now.requests - before.requests, now.errors - before.errors
    return Figures(place, requests, now.first - before.first, errors, latency)


def _went_down(before: Total, now: Total) -> bool:
    if now.requests < before.requests or now.errors < before.errors or now.first < before.first:
        return True
    return any(new < old for old, new in zip_longest(before.latency, now.latency, fillvalue=0))


def _together(one: Figures, other: Figures) -> Figures:
    requests, first, errors = one.requests + other.requests, one.first + other.first, one.errors + other.errors
    return Figures(one.place, requests, first, errors, _sum(one.latency, other.latency))


class Kept:
    """The figures of the last ten minutes by second, and the totals they came from."""

    def __init__(self) -> None:
        self.totals: Totals = {}
        self.until = 0
        """The last second that is complete."""
        self._by_second: dict[int, tuple[Figures, ...]] = {}

    def add(self, second: int, figures: Iterable[Figures], totals: Totals) -> None:
        """Take what a second brought; of a second that came twice (a clock set back) both stand."""
        self.totals, self.until = totals, second
        self._by_second[second] = (*self._by_second.get(second, ()), *figures)
        for old in [known for known in self._by_second if not second - KEPT_S < known <= second + KEPT_S]:
            del self._by_second[old]

    def since(self, second: int) -> list[tuple[int, Figures]]:
        """Return all figures from that second (Unix time) on, oldest first."""
        seconds = sorted(known for known in self._by_second if known >= second)
        return [(known, one) for known in seconds for one in self._by_second[known]]
