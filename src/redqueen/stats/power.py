"""What a trial will be able to see, said before it starts.

Seeded simulation of the very test that will judge: no formula that could disagree with it. Answers
are shares of simulated trials, good to about two points with the default 500. Refuses means and
tails, whose spread is not known before the start. Enter at `chance_to_see`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from redqueen.stats import judge
from redqueen.stats.arrays import Counts
from redqueen.stats.evidence import begin
from redqueen.stats.model import Harm, Kind, Look, Metric, Rules
from redqueen.stats.plan import compile_plan


def chance_to_see(
    metric: Metric,
    *,
    per_minute: float,
    share: float,
    minutes: int,
    usual: float = 0.01,
    rules: Rules | None = None,
    runs: int = 500,
    seed: int = 1,
) -> float:
    """Return the chance that harm of the size `metric.expected` is proven within `minutes`.

    `per_minute`: units (a COUNT: events) in both arms together; `usual`: share of units affected today.
    The metric stands alone: with K metrics hand in `rules` with alpha / K. Raises ValueError for a MEAN or a TAIL.
    """
    if metric.kind not in (Kind.COUNT, Kind.PROPORTION):
        raise ValueError(
            f"{metric.name}: the power of a {metric.kind.value} needs its spread, which only a trial shows"
        )
    plan = compile_plan([replace(metric, weight=1.0)], rules=rules)
    rng, state = np.random.default_rng(seed), begin(plan, (runs,))
    everyone = np.full((runs, 2, 1), 1)
    limit, seen = -np.log(plan.rules.alpha), np.zeros(runs, dtype=np.bool_)
    for _ in range(minutes):
        bins = _minute(metric, rng.poisson(per_minute * np.array([share, 1.0 - share]), (runs, 2)), usual, rng)
        state = judge.step(plan, state, Look(60.0, share, everyone, everyone, {metric.name: bins}))
        seen |= state.log_e_harm[:, 0] >= limit
    return float(seen.mean())


def _minute(metric: Metric, units: Counts, usual: float, rng: np.random.Generator) -> Counts:
    """Draw a minute in which the treatment does the expected harm. Returns [runs, 2, 1] or [runs, 2, 1, 2]."""
    if metric.kind is Kind.COUNT:
        treated = rng.binomial(units[:, 0], metric.expected) if metric.harm is Harm.LESS else units[:, 0]
        extra = rng.poisson(units[:, 0] * (metric.expected - 1.0)) if metric.harm is Harm.MORE else 0
        return np.stack([treated + extra, units[:, 1]], axis=-1)[:, :, None]
    odds = usual / (1.0 - usual) * np.array([metric.expected, 1.0])
    return np.stack([rng.binomial(units, odds / (1.0 + odds)), units], axis=-1)[:, :, None, :]
