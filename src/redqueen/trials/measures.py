"""What one trial measures, fixed before its first viewer is exposed and stored beside it.

Only values: a `Measure` is a metric of the catalogue for all devices or for one, with its margin,
its thresholds and its noise as they were known at the start; `Measures` are all of a trial. Enter
at `Measures`; `planning.planned` makes them, `looks.looks` fills looks with them.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from redqueen.stats.model import Harm, Kind, Metric, Rules
from redqueen.stats.plan import Plan, compile_plan
from redqueen.telemetry.model import Device

DEVICES = (Device.DESKTOP, Device.MOBILE, Device.TV, Device.OTHER)
"""Their order within a zone's strata."""


class Measure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that is judged. Ratios, or differences of logs for a mean; see `stats.model.Metric`."""

    name: str
    """Of the catalogue; `<name>:<device>` where it is judged for one device alone."""
    metric: str
    kind: str
    harm: str
    margin: float
    expected: float
    guardrail: bool
    weight: float
    dispersion: float = 1.0
    device: str = ""
    tolerated: float | None = None
    floors: tuple[float, ...] = ()
    thresholds: tuple[float, ...] = ()
    """A tail's five, in its unit."""
    words: str = ""
    """What it is, for people."""
    unit: str = ""
    """What one of its units is (sessions, requests)."""

    def judged(self, zones: int) -> Metric:
        """Return it as the judge takes it."""
        own = DEVICES.index(Device(self.device)) if self.device else 0
        return Metric(
            name=self.name,
            kind=Kind(self.kind),
            harm=Harm(self.harm),
            margin=self.margin,
            expected=self.expected,
            guardrail=self.guardrail,
            dispersion=self.dispersion,
            weight=self.weight,
            tolerated=self.tolerated,
            floors=self.floors,
            strata=tuple(zone * len(DEVICES) + own for zone in range(zones)) if self.device else (),
        )


class Measures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that a trial judges."""

    zones: tuple[str, ...]
    """Strata are zones x devices, zone by zone; a zone unknown here counts as the first."""
    judged: tuple[Measure, ...]
    alpha: float
    """One treatment's part of the trial's alpha."""
    goal: Measure | None = None
    """The goal's flipped test: it speaks when the treatment is better."""
    by_sessions: bool = True
    """Exposures are sessions' grants; else the gateways' figures."""
    notes: tuple[str, ...] = ()
    """What was decided from the history, or without one."""

    @property
    def strata(self) -> int:
        """Return how many strata a look has."""
        return max(1, len(self.zones)) * len(DEVICES)

    def plan(self) -> Plan:
        """Return what the judge compiles of it (kept: a plan costs a millisecond)."""
        return _plan(self.judged, max(1, len(self.zones)), self.alpha)

    def goal_plan(self) -> Plan | None:
        """Return the goal's flipped test; None without a goal."""
        return _plan((self.goal,), max(1, len(self.zones)), self.alpha) if self.goal else None


@lru_cache(maxsize=64)
def _plan(measures: tuple[Measure, ...], zones: int, alpha: float) -> Plan:
    metrics = [one.judged(zones) for one in measures]
    return compile_plan(metrics, strata=zones * len(DEVICES), rules=Rules(alpha=alpha))
