"""Simulated viewers for `bench/judge.py`: thousands of trials at once, as sums the judge takes.

Shared traffic swings by the day and wanders (AR); arms are drawn from it. Sums are drawn from their
exact distributions (binomial failures, multinomial exceedances, normal and chi-square sums of log
delays), so no single viewer has to be made. Enter at `Traffic` and `watch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import special

from redqueen.stats import judge, weighing
from redqueen.stats.evidence import begin
from redqueen.stats.model import TAIL_QUANTILES, Harm, Kind, Look, Metric
from redqueen.stats.plan import Plan

SIGMA = 0.7
"""Spread of log play delay; the median (.8 s) cancels."""
FAILING = 0.01

FAILURES = Metric("failures", Kind.PROPORTION, Harm.MORE, 1.5, 2.0)
STARTS = Metric("starts", Kind.COUNT, Harm.LESS, 0.95, 0.95)
DELAY = Metric("delay", Kind.MEAN, Harm.MORE, float(np.log(1.1)), float(np.log(1.2)))
TAIL = Metric("slow tail", Kind.TAIL, Harm.MORE, 1.5, 1.5)


def twenty(tails: int = 3) -> list[Metric]:
    """Return a trial of 20 metrics: 3 counts, 4 means, `tails` tails, proportions for the rest."""
    kinds = [STARTS] * 3 + [DELAY] * 4 + [TAIL] * tails + [FAILURES] * (13 - tails)
    return [replace(metric, name=f"{metric.name} {k}") for k, metric in enumerate(kinds)]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What happens to viewers: `rate` starts a minute in both arms together, on average; `effects` on the treatment.

    An effect: failures, a ratio of their odds; starts and delay, a ratio; a tail, the share that takes thrice as long.
    """

    rate: float = 600.0
    looks: int = 60
    share: Callable[[int], float] = field(default=lambda look: 0.5)
    effects: Mapping[str, float] = field(default_factory=dict[str, float])
    reports: Callable[[int], tuple[float, float]] = field(default=lambda look: (0.98, 0.98))
    failures_lost: float = 0.0
    absent: frozenset[str] = frozenset()
    arm_noise: float = 0.0
    arm_memory: float = 0.7


@dataclass(frozen=True, slots=True)
class Watched:
    """When things happened first in each run (minutes; inf: never), and how it stood at the end."""

    rolled_back: np.ndarray
    promoted: np.ndarray
    harm: np.ndarray
    """[runs, K]: first look at which a metric's own E reaches 1/alpha."""
    safe: np.ndarray
    held_at_end: np.ndarray


def watch(plan: Plan, looks: Iterator[Look], runs: int) -> Watched:
    """Judge `runs` trials at every look; the first final verdict counts."""
    state, limit = begin(plan, (runs,)), -np.log(plan.rules.alpha)
    rolled_back, promoted = np.full(runs, np.inf), np.full(runs, np.inf)
    harm, safe = (np.full((runs, len(plan.metrics)), np.inf) for _ in range(2))
    held = np.zeros(runs, dtype=bool)
    for minute, look in enumerate(looks, start=1):
        state = judge.step(plan, state, look)
        found = weighing.verdicts(plan, state)
        running = np.isinf(rolled_back) & np.isinf(promoted)
        rolled_back[running & found.roll_back] = minute
        promoted[running & found.promote] = minute
        harm[np.isinf(harm) & (state.log_e_harm >= limit)] = minute
        safe[np.isinf(safe) & (state.log_e_safe >= limit)] = minute
        held = found.hold
    return Watched(rolled_back, promoted, harm, safe, held)


def traffic(plan: Plan, told: Traffic, runs: int, rng: np.random.Generator) -> Iterator[Look]:
    """Yield one-minute looks of `runs` trials."""
    phase, wander = rng.uniform(0, 2 * np.pi, (runs, 1)), np.zeros((runs, 1))
    mean = np.mean([_day(look, phase) for look in range(told.looks)], axis=0)
    noise = rng.standard_normal((runs, 2)) * told.arm_noise
    for look in range(told.looks):
        wander = 0.9 * wander + 0.1 * np.sqrt(1 - 0.81) * rng.standard_normal((runs, 1))
        fresh = told.arm_noise * np.sqrt(1 - told.arm_memory**2)
        noise = told.arm_memory * noise + fresh * rng.standard_normal((runs, 2))
        common = told.rate * _day(look, phase) / mean * np.exp(wander)
        share = told.share(look)
        exposed = rng.poisson(common * np.array([share, 1 - share]))
        reported = rng.binomial(exposed, np.array(told.reports(look)))
        drawn = {metric.name: _bins(metric, told, reported, noise, rng) for metric in plan.metrics}
        if told.failures_lost:
            reported = reported - _lost(drawn, told.failures_lost, rng)
        yield Look(
            span_s=60.0,
            share=share,
            exposed=exposed[:, :, None],
            reported=reported[:, :, None],
            bins={name: np.expand_dims(bins, 2) for name, bins in drawn.items() if name not in told.absent},
        )


def by_event(metric: Metric, ratio: float, events: int, runs: int, rng: np.random.Generator) -> Iterator[Look]:
    """Yield one event of a count a look, in the treatment `ratio` times as often as in the control."""
    nobody = np.zeros((runs, 2, 1))
    for _ in range(events):
        treated = rng.random(runs) < ratio / (1.0 + ratio)
        yield Look(1.0, 0.5, nobody, nobody, {metric.name: np.stack([treated, ~treated], axis=-1)[..., None]})


def _day(look: int, phase: np.ndarray) -> np.ndarray:
    return 1 + 0.3 * np.sin(2 * np.pi * look / 1440 + phase)


def _bins(metric: Metric, told: Traffic, units: np.ndarray, noise: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    effect = told.effects.get(metric.name)
    if metric.kind is Kind.COUNT:
        return np.stack([rng.binomial(units[:, 0], effect or 1.0), units[:, 1]], axis=-1)
    if metric.kind is Kind.PROPORTION:
        odds = FAILING / (1 - FAILING) * np.array([effect or 1.0, 1.0]) * np.exp(noise)
        return np.stack([rng.binomial(units, odds / (1 + odds)), units], axis=-1)
    if metric.kind is Kind.MEAN:
        shift = np.array([np.log(effect or 1.0), 0.0])
        spread = SIGMA**2 * rng.chisquare(np.maximum(units - 1, 1)) * (units > 1)
        total = units * shift + SIGMA * np.sqrt(units) * rng.standard_normal(units.shape)
        return np.stack([units, total, spread + total**2 / np.maximum(units, 1)], axis=-1)
    return np.stack([_exceedances(units[:, arm], (effect or 0.0) * (arm == 0), rng) for arm in (0, 1)], axis=1)


def _exceedances(units: np.ndarray, thrice: float, rng: np.random.Generator) -> np.ndarray:
    """Draw units above the historical quantiles when a share of them takes three times as long. [runs, 6]."""
    cuts = special.ndtri(np.array(TAIL_QUANTILES))
    above = (1 - thrice) * (1 - special.ndtr(cuts)) + thrice * (1 - special.ndtr(cuts - np.log(3.0) / SIGMA))
    edges = np.concatenate([[1.0], above, [0.0]])
    cells = rng.multinomial(units, edges[:-1] - edges[1:])
    return np.cumsum(cells[:, ::-1], axis=1)[:, ::-1]


def _lost(drawn: dict[str, np.ndarray], chance: float, rng: np.random.Generator) -> np.ndarray:
    """Take failing viewers of the first failure metric out of the bins (their players never report)."""
    bins = drawn["failures"]
    gone = rng.binomial(bins[..., 0], chance)
    drawn["failures"] = bins - gone[..., None]
    return gone


def clustered(
    unit: str, runs: int, looks: int, rng: np.random.Generator, viewers: float = 200.0, stay: int = 5
) -> Iterator[Look]:
    """Yield looks of viewers who come back and retry; `unit` of the metric "trouble": events, sessions or viewers.

    3% of the viewers are prone: they start 1.5 sessions within `stay` minutes, six in ten fail, and each failure is
    retried until it plays or they give up (2.3 more events on average). Of the others one session in 200 fails.
    """
    cohorts = [np.zeros((runs, 2), dtype=np.int64) for _ in range(stay)]
    for _ in range(looks):
        arrived = rng.poisson(viewers / 2, (runs, 2))
        prone = rng.binomial(arrived, 0.03)
        cohorts = [*cohorts[1:], prone]
        sessions = [rng.poisson(1.5 / stay * cohort) for cohort in cohorts]
        failed = rng.binomial(np.sum(sessions, axis=0), 0.6)
        usual = rng.poisson(1.5 * (arrived - prone))
        failed_usual = rng.binomial(usual, 0.005)
        every = failed + failed_usual
        if unit == "events":
            bins = every + rng.negative_binomial(np.maximum(every, 1), 0.3) * (every > 0)
        elif unit == "sessions":
            bins = np.stack([every, np.sum(sessions, axis=0) + usual], axis=-1)
        else:
            touched = rng.binomial(prone, 1 - np.exp(-1.5 * 0.6)) + rng.binomial(arrived - prone, 1 - np.exp(-0.0075))
            bins = np.stack([touched, arrived], axis=-1)
        yield Look(60.0, 0.5, arrived[:, :, None], arrived[:, :, None], {"trouble": np.expand_dims(bins, 2)})
