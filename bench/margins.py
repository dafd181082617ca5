"""Five versions tried on simulated viewers: what the catalogue's margins make of them, and how fast.

The whole pure engine runs: measures planned from an hour's history, looks of five seconds, the judge,
the ladder, data 24 s old. One start in a hundred fails, delays are log-normal (median .8 s), a fifth
of the plays are on televisions, a play asks for one thing. Bars: of the bad versions at most alpha
are promoted, of the harmless ones at most alpha are rolled back. Real viewers: `bench/ship.py`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from record import Bar, publish
from redqueen.stats import judge
from redqueen.stats.evidence import Evidence, begin
from redqueen.stats.model import Look
from redqueen.telemetry.model import LATENCY_BOUNDS_MS
from redqueen.trials import arming, lifecycle
from redqueen.trials.history import History
from redqueen.trials.life import Begin, Life, Looked, Tick
from redqueen.trials.measures import DEVICES, Measure, Measures
from redqueen.trials.model import MetricPlan, Status, Subject, Trial, TrialArm
from redqueen.trials.planning import planned

FAULTS = ("none", "failures", "delay", "errors", "device", "tail")
"""Doubled failures; +20% delay; 2% answers 500; +0.8 s on televisions; 5% of the starts three times as long."""
DEVICE_SHARES = (0.4, 0.35, 0.2, 0.05)
FAILING, LOOK_S, AGE_S, SETTLE_S, TV = 0.01, 5, 24, 4, 2


@dataclass(frozen=True, slots=True)
class Plays:
    """Plays of many trials in one look; arrays over plays. `trial` and `side` say whose."""

    trial: np.ndarray
    side: np.ndarray
    fresh: np.ndarray
    """On fresh nodes: of the treatment or of its baseline."""
    device: np.ndarray
    failed: np.ndarray
    delay_ms: np.ndarray
    request_failed: np.ndarray
    latency_ms: np.ndarray
    reported: np.ndarray
    new: np.ndarray


@dataclass(slots=True)
class Tried:
    """One simulated trial."""

    evidence: Evidence
    life: Life
    waiting: list[tuple[int, float, Look]] = field(default_factory=list[tuple[int, float, Look]])
    harmed: int = 0


def main(argv: Sequence[str]) -> int:
    """Simulate every version; exit 0 when both errors are within alpha."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="trials of each version")
    parser.add_argument("--rate", type=float, default=900.0, help="plays a minute")
    parser.add_argument("--step-s", type=float, default=45.0, help="shortest time at a step")
    parser.add_argument("--only", default="", help="only these versions, with commas between")
    told = parser.parse_args(argv)
    wanted = [fault for fault in FAULTS if not told.only or fault in told.only.split(",")]
    figures: dict[str, Any] = {}
    bars: list[Bar] = []
    for fault in wanted:
        tried = simulated(fault, told.rate, told.step_s, told.runs)
        wrong = Status.ROLLED_BACK if fault == "none" else Status.PROMOTED
        share = sum(one.life.status is wrong for one in tried) / told.runs
        # A slow tail of this size lies at the margin: there the bound is met up to chance (three standard errors).
        chance = 3.0 * math.sqrt(0.05 * 0.95 / told.runs) if fault == "tail" else 0.0
        bars.append(Bar(f"{fault}: wrongly {wrong.value}", round(share, 4), 0.05 + chance))
        for status in sorted({one.life.status for one in tried}):
            mine = [one for one in tried if one.life.status is status]
            figures[f"{fault}: {status.value}"] = len(mine)
            figures[f"{fault}: {status.value} after, median s"] = statistics.median(one.life.ended_s for one in mine)
            figures[f"{fault}: {status.value}, plays on the canary, median"] = statistics.median(
                one.harmed for one in mine
            )
    claim = "no bad version is promoted and no harmless one rolled back but in one of twenty trials at most"
    return publish("margins", claim, bars, figures, settings=vars(told))


def simulated(fault: str, rate: float, step_s: float, runs: int) -> list[Tried]:
    """Let `runs` trials of one version live to their end, in lockstep."""
    metrics = ("start_failures", "play_delay", "request_errors", "request_latency")
    trial = Trial(
        id="door-r2",
        subject=Subject.RELEASE,
        target="door",
        owner="bench",
        because=fault,
        salt="salt",
        layer="door",
        treatments=(TrialArm("canary", "canary", baseline="fresh"),),
        metrics=tuple(MetricPlan(name) for name in metrics),
        step_s=step_s,
        horizon_s=2100.0,
    )
    rng = np.random.default_rng([20261122, FAULTS.index(fault)])
    measures = planned(trial, today(int(rate * 60), rng), zones=("z",))
    tried = [Tried(begin(measures.plan()), lifecycle.step(trial, Life(), Begin(), 0.0)[0]) for _ in range(runs)]
    now = 0
    while alive := [one for one in tried if not one.life.status.ended]:
        now += LOOK_S
        happened(trial, measures, fault, rate, alive, now, rng)
        judged(trial, measures, alive, now)
    return tried


def happened(
    trial: Trial, measures: Measures, fault: str, rate: float, alive: list[Tried], now: int, rng: np.random.Generator
) -> None:
    """Draw what viewers did in the last seconds; it may be looked at when it is old enough."""
    shares = np.array([arming.share_of(trial, one.life.stretches[-1].share) for one in alive])
    plays = drawn(fault, shares, rate, rng)
    seen = [sums(plays, len(alive), mask, 1) for mask in (plays.new, plays.new & plays.reported, plays.reported)]
    bins = {one.name: bins_of(one, plays, len(alive)) for one in measures.judged}
    for k, one in enumerate(alive):
        one.harmed += int(((plays.trial == k) & (plays.side == 0)).sum())
        drawn_s = one.life.stretches[-1].from_s
        if now - LOOK_S >= drawn_s + SETTLE_S:
            exposed, reported, heard = (values[k, ..., 0] for values in seen)
            look = Look(LOOK_S, float(shares[k]), exposed, reported, {n: v[k] for n, v in bins.items()}, heard)
            one.waiting.append((now, drawn_s, look))


def judged(trial: Trial, measures: Measures, alive: list[Tried], now: int) -> None:
    """Judge what is old enough, all trials as one, and let each live on."""
    due = [one for one in alive if one.waiting and one.waiting[0][0] + AGE_S <= now]
    for one in alive:
        if not (one.waiting and one.waiting[0][0] + AGE_S <= now):
            one.life, _ = lifecycle.step(trial, one.life, Tick(), float(now))
    if not due:
        return
    taken = [one.waiting.pop(0) for one in due]
    after, readings = judge.look_all(measures.plan(), [one.evidence for one in due], [look for _, _, look in taken])
    for one, evidence, reading, (_, drawn_s, look) in zip(due, after, readings, taken, strict=True):
        units = float(look.reported[0].sum())
        one.evidence = evidence
        one.life, _ = lifecycle.step(
            trial, one.life, Looked({"canary": reading}, {"canary": units}, drawn_s), float(now)
        )


def drawn(fault: str, shares: np.ndarray, rate: float, rng: np.random.Generator) -> Plays:
    """Draw the plays of LOOK_S seconds of each trial."""
    trial = np.repeat(np.arange(shares.size), rng.poisson(rate / 60.0 * LOOK_S, shares.size))
    size, mine = trial.size, shares[trial]
    treated = rng.random(size) < mine
    baseline = ~treated & (rng.random(size) < mine / (1.0 - mine))
    device = rng.choice(len(DEVICES), size, p=DEVICE_SHARES)
    delay = 800.0 * np.exp(0.7 * rng.standard_normal(size))
    if fault == "delay":
        delay = np.where(treated, 1.2 * delay, delay)
    elif fault == "device":
        delay = delay + np.where(treated & (device == TV), 800.0 * np.exp(0.4 * rng.standard_normal(size)), 0.0)
    elif fault == "tail":
        delay = np.where(treated & (rng.random(size) < 0.05), 3.0 * delay, delay)
    return Plays(
        trial=trial,
        side=np.where(treated, 0, 1),
        fresh=treated | baseline,
        device=device,
        failed=rng.random(size) < FAILING * np.where(treated & (fault == "failures"), 2.0, 1.0),
        delay_ms=delay,
        request_failed=(rng.random(size) < 0.02) & treated & (fault == "errors"),
        latency_ms=2.0 * np.exp(0.6 * rng.standard_normal(size)),
        reported=rng.random(size) < 0.98,
        new=rng.random(size) < 0.5,
    )


def today(plays: int, rng: np.random.Generator) -> History:
    """Return an hour in which nothing was tried."""
    seen = drawn("none", np.array([0.0]), plays * 60.0 / LOOK_S, rng)
    started = ~seen.failed
    delays = {"": np.sort(seen.delay_ms[started])}
    delays |= {one.value: np.sort(seen.delay_ms[started & (seen.device == k)]) for k, one in enumerate(DEVICES)}
    size, edges = seen.trial.size, np.concatenate([[0.0], LATENCY_BOUNDS_MS, [np.inf]])
    affected = {"start_failures": (int(seen.failed.sum()), size), "request_errors": (0, size)}
    return History(size, affected, delays, size, tuple(np.histogram(seen.latency_ms, edges)[0].tolist()), 3600)


def bins_of(measure: Measure, plays: Plays, trials: int) -> np.ndarray:
    """Return a measure's bins of all trials. [trials, 2, S, ...]."""
    started = plays.reported & ~plays.failed
    if measure.device:
        started = started & (plays.device == [one.value for one in DEVICES].index(measure.device))
    if measure.metric == "start_failures":
        return sums(plays, trials, plays.reported, plays.failed, 1)[..., :2]
    if measure.metric == "request_errors":
        return sums(plays, trials, plays.trial >= 0, plays.request_failed, 1)[..., :2]
    if measure.metric == "request_latency":
        return sums(plays, trials, plays.fresh, 1, *(plays.latency_ms > cut for cut in measure.thresholds))
    if measure.kind == "tail":
        return sums(plays, trials, started, 1, *(plays.delay_ms > cut for cut in measure.thresholds))
    y = np.log(plays.delay_ms)
    return sums(plays, trials, started, 1, y, y * y)


def sums(plays: Plays, trials: int, mask: np.ndarray, *values: Any) -> np.ndarray:
    """Return sums of values over the plays in `mask`, by trial, side and device."""
    cell = ((plays.trial * 2 + plays.side) * len(DEVICES) + plays.device)[mask]
    size = trials * 2 * len(DEVICES)
    told = [np.broadcast_to(np.asarray(value, dtype=np.float64), mask.shape)[mask] for value in values]
    columns = [np.bincount(cell, weights=one, minlength=size) for one in told]
    return np.stack(columns, axis=-1).reshape(trials, 2, len(DEVICES), len(values))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
