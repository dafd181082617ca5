"""The catalogue of what a trial may measure, with the margins that hold where a trial sets none.

Proportions are judged by odds ratios, tails at five thresholds by the odds of lying above, means by
differences of logs, counts by rate ratios (hence they need the treatment's share). `margin` is the
least harm that may not be promoted, `expected` the harm that is looked for first; below a `floor`
nothing is harm (of a service that never fails no ratio is ever known); what is `tolerated` rolls
nobody back (two groups of nodes are never quite alike). `bench/margins.py` shows what they make of
bad versions and of harmless ones. Control is everybody eligible outside; only `request_latency`
compares with the fresh baseline alone, because nodes that were just started are slower by
themselves. Refuses unknown names, saying which there are. Enter at `defined` and `usual`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from redqueen.errors import InvalidInput
from redqueen.stats.model import Harm, Kind
from redqueen.trials.model import Subject


class Source(Enum):
    """Who tells."""

    SESSIONS = "sessions"
    FIGURES = "figures"


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric as it is judged where a trial says nothing else. Units as in `stats.model.Metric`."""

    name: str
    kind: Kind
    harm: Harm
    margin: float
    expected: float
    words: str
    unit: str
    source: Source = Source.SESSIONS
    guardrail: bool = True
    weight: float = 1.0
    floor: float = 0.0
    """A share of affected units that is harmless by itself."""
    tolerated: float | None = None
    noise: float = 1.0
    """Dispersion while no A/A trial has shown it. Requests come in clusters (a page, a retry), sessions do not."""
    optional: bool = False
    """Judged only when players (here) have been telling it: what nobody tells would hold the trial for ever."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Which quantiles of the history a tail's thresholds are, what they are without one, and what is harmless then."""

    quantiles: tuple[float, float, float, float, float]
    thresholds: tuple[float, float, float, float, float]
    floors: tuple[float, float, float, float, float]


START_FAILURES = Definition(
    "start_failures",
    Kind.PROPORTION,
    Harm.MORE,
    margin=1.8,
    expected=2.0,
    words="plays that never showed a first frame",
    unit="sessions",
    floor=0.01,
)
PLAY_DELAY = Definition(
    "play_delay",
    Kind.MEAN,
    Harm.MORE,
    margin=math.log(1.15),
    expected=math.log(1.2),
    words="time from asking to the first frame (typical, as a ratio)",
    unit="sessions",
    weight=0.5,
    tolerated=math.log(1.02),
)
PLAY_DELAY_TAIL = Definition(
    "play_delay:tail",
    Kind.TAIL,
    Harm.MORE,
    margin=2.0,
    expected=1.7,
    words="plays slower to start than today's slowest",
    unit="sessions",
    weight=0.5,
    tolerated=1.1,
)
PLAY_DELAY_DEVICE = Definition(
    "play_delay:device",
    Kind.TAIL,
    Harm.MORE,
    margin=2.5,
    expected=2.5,
    words="plays slower to start than today's on this kind of device",
    unit="sessions",
    weight=0.25,
    tolerated=1.1,
)
REBUFFERING = Definition(
    "rebuffering",
    Kind.PROPORTION,
    Harm.MORE,
    margin=2.0,
    expected=2.0,
    words="plays that stood still for more than 1% of their time",
    unit="sessions",
    floor=0.02,
)
PLAYBACK_ERRORS = Definition(
    "playback_errors",
    Kind.PROPORTION,
    Harm.MORE,
    margin=2.0,
    expected=2.0,
    words="plays with an error after the first frame",
    unit="sessions",
    weight=0.5,
    floor=0.01,
)
BITRATE = Definition(
    "bitrate",
    Kind.MEAN,
    Harm.LESS,
    margin=math.log(0.85),
    expected=math.log(0.8),
    words="average bitrate (typical, as a ratio)",
    unit="sessions",
    weight=0.25,
    tolerated=math.log(0.98),
    optional=True,
)
STARTS = Definition(
    "starts",
    Kind.COUNT,
    Harm.LESS,
    margin=0.85,
    expected=0.9,
    words="viewers new to the trial whose first play started, against the share drawn",
    unit="viewers",
    guardrail=False,
    weight=0.25,
)
PLAYED = Definition(
    "played",
    Kind.MEAN,
    Harm.LESS,
    margin=-1.0,
    expected=-1.0,
    words="seconds played within the session's window",
    unit="sessions",
    guardrail=False,
    weight=0.25,
)
REQUEST_ERRORS = Definition(
    "request_errors",
    Kind.PROPORTION,
    Harm.MORE,
    margin=2.0,
    expected=4.0,
    words="requests answered 500 to 599 after all tries",
    unit="requests",
    source=Source.FIGURES,
    floor=0.005,
    noise=2.0,
)
REQUEST_LATENCY = Definition(
    "request_latency",
    Kind.TAIL,
    Harm.MORE,
    margin=3.0,
    expected=3.0,
    words="requests slower than today's slowest, against fresh nodes of today's version",
    unit="requests",
    source=Source.FIGURES,
    weight=0.5,
    tolerated=1.5,
    noise=2.0,
)

CATALOGUE: Final = MappingProxyType(
    {
        one.name: one
        for one in (
            START_FAILURES,
            PLAY_DELAY,
            REBUFFERING,
            PLAYBACK_ERRORS,
            BITRATE,
            STARTS,
            PLAYED,
            REQUEST_ERRORS,
            REQUEST_LATENCY,
        )
    }
)
"""What a trial may name. `play_delay` brings its tail and one tail for each kind of device with it."""

TOLD_BY_PLAYERS: Final = tuple(name for name, one in CATALOGUE.items() if one.source is Source.SESSIONS)
"""What can be judged of a flag: whose request felt it no gateway knows."""

TAILS: Final = MappingProxyType(
    {
        PLAY_DELAY_TAIL.name: Tail(
            (0.5, 0.75, 0.9, 0.95, 0.99), (1000, 2000, 4000, 6000, 10_000), (0.7, 0.4, 0.15, 0.08, 0.03)
        ),
        PLAY_DELAY_DEVICE.name: Tail(
            (0.5, 0.6, 0.7, 0.8, 0.9), (1000, 1500, 2000, 3000, 5000), (0.7, 0.55, 0.4, 0.25, 0.12)
        ),
        REQUEST_LATENCY.name: Tail((0.5, 0.75, 0.9, 0.95, 0.97), (20, 50, 100, 300, 1000), (0.6, 0.35, 0.2, 0.1, 0.05)),
    }
)
"""Delays in milliseconds; of requests upper bounds of the gateways' histogram."""

PLAYERS_FEEL: Final = frozenset({"api"})
"""Services whose release every play passes."""
_OF_PLAYERS: Final = ("start_failures", "play_delay", "rebuffering", "playback_errors", "bitrate", "starts")
_OF_GATEWAYS: Final = ("request_errors", "request_latency")


def defined(name: str) -> Definition:
    """Return a metric of the catalogue. Raises InvalidInput for a name that is not in it."""
    found = CATALOGUE.get(name)
    if found is None:
        raise InvalidInput("metric", f"There is no metric {name!r}.", hint=f"Known: {', '.join(sorted(CATALOGUE))}.")
    return found


def usual(subject: Subject, target: str) -> tuple[str, ...]:
    """Return what is judged where a trial names nothing."""
    if subject is not Subject.RELEASE:
        return _OF_PLAYERS
    return (*_OF_PLAYERS, *_OF_GATEWAYS) if target in PLAYERS_FEEL else _OF_GATEWAYS
