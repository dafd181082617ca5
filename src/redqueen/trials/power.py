"""What a trial will be able to see, said in a sentence before it starts.

Seeded simulation of the very tests that will judge, at the traffic and the failures of today: the
chance that harm is proven within the horizon, and that a harmless change is proven so; where these
are small, from the tests' information, what would do: a wider slice, more traffic, more time.
Proportions only: what a mean or a tail can see depends on a spread that only the trial shows. The
ladder's narrow steps are counted by their length. Pure, a second of a core. Enter at `forecast`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np

from redqueen.stats import judge
from redqueen.stats.evidence import begin
from redqueen.stats.model import Kind, Look, Metric, Rules
from redqueen.stats.plan import compile_plan
from redqueen.stats.power import chance_to_see
from redqueen.trials.arming import share_of
from redqueen.trials.history import KNOWN, History
from redqueen.trials.measures import Measure, Measures
from redqueen.trials.model import Trial

ENOUGH = 0.8
"""A chance that one may rely on; answers are good to some five points."""
UNKNOWN = 0.01
"""Share of affected units that is assumed where today shows none."""
WIDER = (0.1, 0.25, 0.5)
SLACK = 2.1
LOOKS = 30
_RUNS = 100


class Chance(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one metric can show within the horizon. Chances are shares of simulated trials."""

    metric: str
    usual: float
    """Share of units affected today."""
    harm: float
    """Chance that harm of the expected size is proven."""
    harmless: float
    """Chance that a change without effect is proven harmless."""
    advice: str = ""
    """What would do, where the chances are small."""


class Forecast(msgspec.Struct, frozen=True):
    """What a trial will be able to see."""

    per_minute: float
    minutes: int
    share: float
    """Of the viewers in the treatments, at the widest step."""
    chances: tuple[Chance, ...]
    sentence: str


def forecast(trial: Trial, measures: Measures, today: History, per_minute: float, *, runs: int = _RUNS) -> Forecast:
    """Return what a trial can see at `per_minute` units (sessions; without players, requests) of eligible traffic."""
    widest, minutes = trial.steps[-1], max(1, round((trial.horizon_s - _climb_s(trial)) / 60.0))
    whole = sum(one.weight for one in measures.judged)
    chances = tuple(
        _chance(trial, one, measures.alpha, whole, _usual(one, today), per_minute, minutes, runs)
        for one in measures.judged
        if one.kind == Kind.PROPORTION.value and one.guardrail
    )
    return Forecast(per_minute, minutes, widest, chances, _sentence(chances, per_minute, minutes, widest))


def _climb_s(trial: Trial) -> float:
    """Return the time that the narrower steps cost: at a tenth of the widest share a step tells a tenth as much."""
    return sum(trial.step_s * (1.0 - share / trial.steps[-1]) for share in trial.steps[:-1])


def _usual(measure: Measure, today: History) -> float:
    affected, units = today.affected.get(measure.metric, (0, 0))
    return min(max(affected / units, 1.0 / units), 0.5) if units >= KNOWN else UNKNOWN


def _chance(
    trial: Trial,
    measure: Measure,
    alpha: float,
    whole: float,
    usual: float,
    per_minute: float,
    minutes: int,
    runs: int,
) -> Chance:
    metric = replace(measure.judged(1), strata=())
    own = Rules(alpha=alpha * measure.weight / whole)
    each = math.ceil(minutes / LOOKS)

    part, traffic, looks = share_of(trial, trial.steps[-1]), per_minute * each, max(1, minutes // each)
    harm = chance_to_see(metric, per_minute=traffic, share=part, minutes=looks, usual=usual, rules=own, runs=runs)
    harmless = _chance_harmless(metric, Rules(alpha=alpha), traffic, part, looks, usual, runs)
    advice = "" if harm >= ENOUGH else _advice(trial, metric, own, usual, per_minute, minutes)
    return Chance(measure.name, usual, harm, harmless, advice)


def _chance_harmless(
    metric: Metric, rules: Rules, per_minute: float, share: float, minutes: int, usual: float, runs: int
) -> float:
    """Return the chance that harm at the margin is ruled out when nothing changed."""
    plan = compile_plan([replace(metric, weight=1.0)], rules=rules)
    rng, state = np.random.default_rng(2), begin(plan, (runs,))
    everyone, safe = np.full((runs, 2, 1), 1), np.zeros(runs, dtype=np.bool_)
    for _ in range(minutes):
        units = rng.poisson(per_minute * np.array([share, 1.0 - share]), (runs, 2))
        bins = np.stack([rng.binomial(units, usual), units], axis=-1)[:, :, None, :]
        state = judge.step(plan, state, Look(60.0, share, everyone, everyone, {metric.name: bins}))
        safe |= state.log_e_safe[:, 0] >= -math.log(rules.alpha)
    return float(safe.mean())


def _advice(trial: Trial, metric: Metric, rules: Rules, usual: float, per_minute: float, minutes: int) -> str:
    """Say which slice, or else which traffic, would make the expected harm seen."""
    now = trial.steps[-1]
    for share in (one for one in WIDER if one > now):
        if _units(metric, rules, usual, share_of(trial, share)) <= per_minute * minutes:
            return f"widen the slice to {share:.0%}"
    best = max(now, WIDER[-1])
    units = _units(metric, rules, usual, share_of(trial, best))
    slice_too = f" at a slice of {best:.0%}" if best > now else ""
    hours = f"{units / per_minute / 60.0:.1f} hours at this traffic" if per_minute > 0 else "no time without traffic"
    return f"about {units / minutes:.0f} a minute would do{slice_too}, or {hours}"


def _units(metric: Metric, rules: Rules, usual: float, share: float) -> float:
    """Return about how many units both arms need: the evidence wanted over what an affected unit tells.

    Given an affected unit it is the treatment's with odds `expected` times those of the split; what it tells is the
    divergence of the two (Kullback and Leibler 1951). `SLACK` pays for the mixture and for bad luck.
    """
    ratio = metric.expected
    affected = usual * (1.0 - share + share * ratio)
    theirs = share * ratio / (share * ratio + 1.0 - share)
    told = theirs * math.log(ratio) - math.log(share * ratio + 1.0 - share)
    return SLACK * -math.log(rules.alpha) * metric.dispersion / (told * affected)


def _sentence(chances: Sequence[Chance], per_minute: float, minutes: int, share: float) -> str:
    if not chances:
        return "It judges no proportion: what it can see depends on a spread that only the trial shows."
    parts = [
        f"harm to {one.metric} ({one.usual:.2%} today) is seen within {minutes} minutes with {one.harm:.0%}, "
        f"its absence with {one.harmless:.0%}" + (f" ({one.advice})" if one.advice else "")
        for one in chances
    ]
    return f"At {per_minute:g} a minute, {share:.0%} of the viewers in it: " + "; ".join(parts) + "."
