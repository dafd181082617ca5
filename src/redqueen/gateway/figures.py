"""Envoy's counters as figures by the second: requests, first exposures, errors and latency of each arm.

Envoy only ever counts up, from its own birth: what a second brought is the difference of two looks.
A counter that went down belongs to another Envoy and is taken whole. Each service has one figure for
everything that it was asked (no trial) and one for each arm of its trials. Kept are the last ten
minutes. Pure. Enter at `totals_in`, `between` and `Kept`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import NamedTuple

import msgspec

from redqueen.gateway.counting import REQUESTS, TIMES

KEPT_S = 600


class Place(NamedTuple):
    """Whose requests a figure counts; without a trial all of the service's."""

    service: str
    trial: str = ""
    arm: str = ""


@dataclass(slots=True)
class Total:
    """What Envoy has counted of one place since its birth; `codes` by status, 0 for requests that were given up."""

    codes: dict[int, int] = field(default_factory=dict[int, int])
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
        counted = REQUESTS.fullmatch(stat.name)
        if counted is not None:
            for place in _places(counted[1], counted[2]):
                total = found.setdefault(place, Total())
                code = int(counted[3])
                total.codes[code] = total.codes.get(code, 0) + stat.value
                total.first += stat.value if counted[2].endswith("/first") else 0
        for histogram in stat.histograms:
            timed = TIMES.fullmatch(histogram.name)
            for place in _places(timed[1], timed[2]) if timed is not None else ():
                total = found.setdefault(place, Total())
                total.latency = _sum(total.latency, [bucket.cumulative for bucket in histogram.buckets])
    return found


def _places(service: str, exposed: str) -> list[Place]:
    # What has no route of a service's (a refusal at the edge, a redirect) is nobody's.
    if service in ("", "-"):
        return []
    trial, _, rest = exposed.partition("/")
    whole = Place(service)
    return [whole] if exposed in ("", "-") else [whole, Place(service, trial, rest.partition("/")[0])]


def _sum(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip_longest(one, other, fillvalue=0))


def between(before: Totals, now: Totals) -> list[Figures]:
    """Return what happened between two looks, by place; places where nothing did are left out."""
    found: list[Figures] = []
    for place, total in now.items():
        known = before.get(place, Total())
        codes = {code: _rise(known.codes.get(code, 0), count) for code, count in total.codes.items()}
        pairs = zip_longest(known.latency, total.latency, fillvalue=0)
        latency = tuple(_rise(old, new) for old, new in pairs)
        requests = sum(codes.values())
        if requests or any(latency):
            errors = sum(count for code, count in codes.items() if code >= 500)
            found.append(Figures(place, requests, _rise(known.first, total.first), errors, latency))
    return found


def _rise(before: int, now: int) -> int:
    return now - before if now >= before else now


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
