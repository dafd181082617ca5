"""What a trial measures, what arrives at a look, and what the judge answers.

Only values, no rules. A ratio is treatment over control. Arrays in a `Look` are sums over the
newest seconds whose attribution window has closed; index 0 of an arm axis is the treatment,
1 the control. Enter at `Metric`, `Look` and `Reading`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # who only names a metric needs no arrays
    from redqueen.stats.arrays import Counts, Floats

TREATMENT, CONTROL = 0, 1
TAIL_QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
"""Where a tail is cut, as quantiles of the metric's history (exceedance mixture)."""


class Kind(Enum):
    """How a metric's bins are to be read, with the shape of a look's array (S strata)."""

    COUNT = "count"
    """[2, S]: events. Its null rests on the treatment's share of the traffic."""
    PROPORTION = "proportion"
    """[2, S, 2]: affected, all. One unit (a session) counts once, however often it retried."""
    MEAN = "mean"
    """[2, S, 3]: units, sum, sum of squares; or [2, S, 6] with sum of x, of x^2 and of xy (CUPED)."""
    TAIL = "tail"
    """[2, S, 6]: units, units above each of five thresholds fixed before the start."""


class Harm(Enum):
    """Which direction hurts viewers."""

    MORE = "more"
    LESS = "less"


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is judged; everything here is fixed before the first viewer is exposed.

    `margin` and `expected` are ratios (a MEAN: differences in its own unit; of logs, log ratios),
    above 1 (0) for Harm.MORE and below for Harm.LESS. `margin` is the least harm that may not be
    promoted, `expected` the harm that the test is sharpest for. `dispersion` >= 1 is the noise
    beyond chance that permanent A/A trials have shown. `weight` is the relative share of the
    rollback's error that this metric may spend. `tolerated` (as `margin`) is harm that nobody is rolled
    back for: the null against harm lies there. `floors`: shares of affected units below which a
    PROPORTION (or a TAIL, one for each threshold) is harmless whatever its ratio. `strata`: where the
    metric lives, if not everywhere; only viewers there can make it silent.
    """

    name: str
    kind: Kind
    harm: Harm
    margin: float
    expected: float
    guardrail: bool = True
    dispersion: float = 1.0
    weight: float = 1.0
    tolerated: float | None = None
    floors: tuple[float, ...] = ()
    strata: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """The error bounds and the demands on telemetry, fixed before the start."""

    alpha: float = 0.05
    """Bound on a wrong rollback by any metric, and on a wrong promotion at the margin."""
    mismatch_alpha: float = 0.001
    """Bound on a false alarm of the sample ratio, and of reporting that differs between the arms."""
    least_reported: float = 0.9
    """Share of exposed sessions that must have reported, in each arm."""
    least_units: int = 100
    """Units per arm before a mean may speak: its test is exact only for many."""
    silent_s: float = 120.0
    """Longest time without a single report of an arm."""


@dataclass(frozen=True, slots=True)
class Look:
    """The newest mature bins. A metric that is absent from `bins` counts as silent."""

    span_s: float | Floats
    """Seconds these bins cover; an array only where arrays carry leading dimensions."""
    share: float | Floats
    """Treatment's share of the traffic that is in the trial, in (0, 1)."""
    exposed: Counts
    """[2, S]: viewers first exposed, by the assignment's own log."""
    reported: Counts
    """[2, S]: those of them who reported anything within the window."""
    bins: Mapping[str, Counts]
    heard: Counts | None = None
    """[2, S]: all units heard of, those of viewers exposed before included; None: as `reported`. It ends a silence."""
    split: Counts | None = None
    """[2, S]: viewers by whom the split is tested, where they are exposed before they can report; None: `exposed`."""


class Choice(Enum):
    """What the evidence supports now."""

    ROLL_BACK = "roll back"
    PROMOTE = "promote"
    HOLD = "hold"
    """The measurement itself is off: neither harm nor safety may be concluded."""
    GO_ON = "go on"


class Trouble(Enum):
    """Why a trial is held."""

    MISMATCH = "sample ratio mismatch"
    SILENT = "silent"
    THIN = "too few reports"
    UNEQUAL = "unequal reports"


@dataclass(frozen=True, slots=True)
class Hold:
    """One reason to hold, in words."""

    trouble: Trouble
    because: str


class MetricReading(NamedTuple):
    """What is known of one metric. `estimate`, `low`, `high`: ratios (MEAN: differences); a bound may be inf or 0.

    `log_e_harm` speaks against "no harm", `log_e_safe` against "harm of at least the margin". A tuple, because a
    hundred trials make thousands of them at a look, ten times as fast as frozen dataclasses.
    """

    metric: Metric
    treatment: tuple[float, float]
    """(events or sum, units); a COUNT's units are exposed viewers."""
    control: tuple[float, float]
    estimate: float
    low: float
    high: float
    log_e_harm: float
    log_e_safe: float
    harmed: bool
    """Harm is proven for this metric by itself, with the whole trial's error kept (e-Bonferroni)."""
    safe: bool
    """Harm at the margin is ruled out."""
    rules: Rules

    @property
    def name(self) -> str:
        """Return the metric's name."""
        return self.metric.name

    @property
    def missing(self) -> str:
        """Say what promotion still lacks here; empty when nothing."""
        metric, rules = self.metric, self.rules
        if self.safe or not metric.guardrail:
            return ""
        fewest = min(self.treatment[1], self.control[1])
        if metric.kind is Kind.MEAN and fewest < rules.least_units:
            return f"{fewest:.0f} of {rules.least_units} units in the smaller arm"
        what = "difference" if metric.kind is Kind.MEAN else "ratio"
        sign = ">=" if metric.harm is Harm.MORE else "<="
        return f"E {shown_e(self.log_e_safe)} of {1 / rules.alpha:.0f} against a {what} {sign} {metric.margin:g}"


@dataclass(frozen=True, slots=True)
class Reading:
    """The whole trial at one look."""

    choice: Choice
    because: str
    metrics: tuple[MetricReading, ...]
    holds: tuple[Hold, ...]
    log_e_harm: float
    """Against "no metric is harmed": the weighted average of the metrics' E."""
    log_e_mismatch: float
    log_e_unequal: float
    guilty: tuple[str, ...] = field(default=())
    """Metrics that explain a rollback, the strongest evidence first."""


def shown_e(log_e: float) -> str:
    """Write an e-value that is known by its log."""
    return f"{math.exp(log_e):.2g}" if log_e < 20 else f"e^{log_e:.0f}"
