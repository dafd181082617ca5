"""The judge's two errors and its speed, over thousands of simulated trials (seeded: the same on any number of cores).

Every row of the reference's "Figures to beat" (60 one-minute looks, 1% failures, log-normal delay,
shared daily and wandering traffic), and what breaks judges elsewhere: a day of looks, viewers who
retry, moody nodes, thin slices, a split that changes, events that are late or lost. Bars: a whole
harmless trial of 20 metrics raises a false alarm, and a change exactly at the margin is promoted,
in at most 5% (false alarms: by the upper 99% bound); detection is no later than the anytime-valid
column; lost telemetry is always held. Enter at `main`; `--runs 300` for a quick look.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import TypeAlias

import numpy as np
from scipy import stats

import judge_traffic as sim
from judge_traffic import DELAY, FAILURES, STARTS, TAIL, Traffic, Watched
from record import Bar, publish
from redqueen.stats import counts, dispersion, judge
from redqueen.stats.evidence import begin
from redqueen.stats.model import Harm, Kind, Look, Metric
from redqueen.stats.plan import Plan, compile_plan

ALPHA = 0.05
SEED = 20261122
A_CHUNK = 250
"""Runs judged at once, and seeded by themselves: what is found does not depend on who judged them."""


Looks: TypeAlias = Callable[[int, np.random.Generator], Iterator[Look]]
"""Makes the looks of so many trials."""

_at_work: list[Callable[[int], Watched]] = []
"""What forked processes find to do."""


class Findings:
    """Bars and figures as they come in; `watched` simulates and judges in several processes."""

    def __init__(self, runs: int, processes: int) -> None:
        self.runs = runs
        self._processes = processes
        self.bars: list[Bar] = []
        self.figures: dict[str, object] = {}
        self._began = time.monotonic()

    def bar(self, what: str, value: float, limit: float, unit: str = "") -> None:
        """Keep a promise and its measurement."""
        self.bars.append(Bar(what, round(value, 5), limit, unit))
        verdict = "met" if self.bars[-1].met else "MISSED"
        print(f"{time.monotonic() - self._began:7.0f} s  {what}: {value:.4g} (at most {limit:g}) {verdict}", flush=True)

    def watched(self, plan: Plan, looks: Looks, runs: int, seed: int) -> Watched:
        """Judge `runs` trials in chunks, spread over the processes, and put what was seen together."""

        def chunk(start: int) -> Watched:
            size = min(A_CHUNK, runs - start)
            return sim.watch(plan, looks(size, np.random.default_rng([SEED, seed, start])), size)

        seen: list[Watched] = []
        for one in _in_processes(chunk, range(0, runs, A_CHUNK), self._processes):
            seen.append(one)
            done = min(len(seen) * A_CHUNK, runs)
            print(f"{time.monotonic() - self._began:7.0f} s  {done} of {runs} runs", end="\r", file=sys.stderr)
        return Watched(*(np.concatenate([getattr(one, each.name) for one in seen]) for each in fields(Watched)))

    def run(self, metrics: Sequence[Metric], told: Traffic, runs: int, seed: int) -> Watched:
        """Do so with usual traffic."""
        plan = compile_plan(metrics)
        return self.watched(plan, lambda size, rng: sim.traffic(plan, told, size, rng), runs, seed)

    def rate(self, what: str, hits: np.ndarray, limit: float = ALPHA, *, bounded: bool = True) -> None:
        """Promise that something happens in at most `limit` of the runs, by the upper 99% bound or plainly."""
        self.figures[what] = round(float(np.mean(hits)), 4)
        above = upper(int(np.sum(hits)), len(hits)) if bounded else float(np.mean(hits))
        self.bar(f"{what}, {'upper 99% bound' if bounded else 'share of runs'}", above, limit)


def main(argv: Sequence[str]) -> int:
    """Run everything; exit 0 when every bar was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4000, help="simulated trials a scenario")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="", help="only the scenarios whose name holds this")
    told = parser.parse_args(argv)
    found = Findings(told.runs, told.processes)
    for scenario in SCENARIOS:
        if told.only in scenario.__name__:
            scenario(found)
    return publish(
        "judge" if not told.only else f"judge-{told.only}",
        "a trial may be looked at every minute and still be wrong in at most 1 of 20",
        found.bars,
        found.figures,
        settings={
            "runs": told.runs,
            "processes": told.processes,
            "seed": SEED,
            "alpha": ALPHA,
            "looks": "60 of one minute where not said otherwise",
        },
    )


def upper(hits: int, runs: int) -> float:
    """Return the upper 99% confidence bound of a share (Clopper-Pearson, one-sided)."""
    return 1.0 if hits >= runs else float(stats.beta.ppf(0.99, hits + 1, runs - hits))


def _in_processes(work: Callable[[int], Watched], what: Sequence[int], processes: int) -> Iterator[Watched]:
    """Yield `work` of each, in order. The processes are forked for it, so that `work` may be a closure."""
    if processes == 1 or len(what) == 1:
        yield from map(work, what)
        return
    _at_work.append(work)
    try:
        with multiprocessing.get_context("fork").Pool(min(processes, len(what))) as pool:
            yield from pool.imap(_work, what)
    finally:
        _at_work.pop()


def _work(what: int) -> Watched:
    return _at_work[-1](what)


def harmless(found: Findings) -> None:
    """20 metrics, nothing changed: any false alarm while looking every minute."""
    for name, rate in (("300", 600.0), ("30", 60.0)):
        watched = found.run(sim.twenty(), Traffic(rate=rate), found.runs, 1)
        found.rate(f"20 harmless metrics, {name}/min/arm: false alarm", np.isfinite(watched.rolled_back))


def a_day(found: Findings) -> None:
    """The same over 1,440 looks at 30 starts a minute and arm."""
    watched = found.run(sim.twenty(tails=0), Traffic(rate=60.0, looks=1440), max(found.runs // 2, 100), 2)
    found.rate("20 harmless metrics, 1,440 looks: false alarm", np.isfinite(watched.rolled_back))


def thin_slice(found: Findings) -> None:
    """5% against 95%: harmless, and doubled failures at 30 starts a minute in the treatment."""
    five = Traffic(rate=600.0, share=lambda look: 0.05)
    watched = found.run(sim.twenty(), five, found.runs // 2, 3)
    found.rate("20 harmless metrics, a slice of 5%: false alarm", np.isfinite(watched.rolled_back))
    doubled = replace(five, effects={"failures": 2.0}, reports=lambda look: (1.0, 1.0))
    watched = found.run([FAILURES], doubled, found.runs, 4)
    seen = np.isfinite(watched.harm[:, 0])
    found.figures["failures x2, 30/min against 570/min: seen"] = round(float(seen.mean()), 4)
    found.bar("failures x2, 5% against 95%: not seen in 60 min", float(1 - seen.mean()), 0.16)


def changing_split(found: Findings) -> None:
    """The split goes from 5% to 50% half-way."""
    told = Traffic(rate=600.0, share=lambda look: 0.05 if look < 30 else 0.5)
    watched = found.run(sim.twenty(), told, found.runs // 2, 5)
    found.rate("20 harmless metrics, split changes half-way: false alarm", np.isfinite(watched.rolled_back))


def late(found: Findings) -> None:
    """Events that come after their window are dropped: 5% of the viewers of both arms, unevenly in time."""
    told = Traffic(rate=600.0, reports=lambda look: (0.92, 0.92) if look % 10 < 3 else (0.97, 0.97))
    watched = found.run(sim.twenty(), told, found.runs // 2, 6)
    found.rate("20 harmless metrics, late events dropped: false alarm", np.isfinite(watched.rolled_back))


def detection(found: Findings) -> None:
    """Each row of "Figures to beat", one metric at .05."""
    rows = (
        ("failures x2, 300/min", FAILURES, 2.0, 600.0, 7.0, 7.5, 0.01),
        ("failures x2, 30/min", FAILURES, 2.0, 60.0, None, None, 0.456),
        ("starts -5%, 300/min", STARTS, 0.95, 600.0, 19.0, None, 0.02),
        ("starts -10%, 300/min", STARTS, 0.9, 600.0, 5.0, None, 0.005),
        ("delay +20%, 300/min", DELAY, 1.2, 600.0, 2.0, 1.25, 0.005),
        ("5% of starts three times as slow, 300/min", TAIL, 0.05, 600.0, 6.0, 8.75, 0.005),
    )
    for place, (name, metric, effect, rate, column, stretch, missed) in enumerate(rows):
        told = Traffic(rate=rate, effects={metric.name: effect}, reports=lambda look: (1.0, 1.0))
        first = found.run([metric], told, found.runs, 10 + place).harm[:, 0]
        found.figures[f"{name}: seen within the hour"] = round(float(np.isfinite(first).mean()), 4)
        found.bar(f"{name}: not seen within the hour", float(np.isinf(first).mean()), missed)
        if column is not None:
            found.bar(f"{name}: minute (median)", float(np.median(first)), column, "min")
        if stretch is not None:
            found.bar(f"{name}: minute, 1.25 x the best possible", float(np.median(first)), stretch, "min")


def events_needed(found: Findings) -> None:
    """Doubled errors, counted: events in both arms together until they are seen (log(1/alpha) / KL would be 53)."""
    errors, most = Metric("errors", Kind.COUNT, Harm.MORE, 1.5, 2.0), 500
    looks: Looks = lambda size, rng: sim.by_event(errors, 2.0, most, size, rng)  # noqa: E731 - a closure like the others
    first = found.watched(compile_plan([errors]), looks, found.runs // 4, 100).harm[:, 0]
    found.bar("errors x2: events until seen (mean)", float(np.minimum(first, most).mean()), 64.0)


def promotion(found: Findings) -> None:
    """Nothing changed: when is harm at the margin ruled out?"""
    watched = found.run([FAILURES, DELAY, STARTS], Traffic(reports=lambda look: (1.0, 1.0)), found.runs, 20)
    found.bar("harmless: delay < +10% proven, minute (median)", float(np.median(watched.safe[:, 1])), 4.0, "min")
    found.bar("harmless: failures < x1.5 proven, minute (median)", float(np.median(watched.safe[:, 0])), 26.0, "min")
    found.bar("harmless: failures < x1.5 not proven in 60 min", float(np.isinf(watched.safe[:, 0]).mean()), 0.09)
    found.figures["harmless, 3 guardrails: promoted"] = round(float(np.isfinite(watched.promoted).mean()), 4)
    found.figures["harmless, 3 guardrails: promoted at minute (median)"] = float(np.median(watched.promoted))


def wrong_promotion(found: Findings) -> None:
    """One guardrail exactly at its margin, the others harmless: promoted at any look."""
    worst = {FAILURES: 1.5, STARTS: 0.95, DELAY: 1.1}
    for place, (metric, effect) in enumerate(worst.items()):
        told = Traffic(effects={metric.name: effect})
        alone = found.run([metric], told, found.runs, 30 + place)
        found.rate(f"{metric.name} at the margin, alone: promoted", np.isfinite(alone.promoted), bounded=False)
        beside = found.run([FAILURES, STARTS, DELAY], told, found.runs, 40 + place)
        found.rate(f"{metric.name} at the margin, beside two: promoted", np.isfinite(beside.promoted), bounded=False)


def retries(found: Findings) -> None:
    """Viewers who come back and retry: counted raw, by session, by viewer; noise learned from an A/A trial."""
    units = {
        "events": replace(STARTS, name="trouble", harm=FAILURES.harm, margin=1.5, expected=2.0),
        "sessions": replace(FAILURES, name="trouble"),
        "viewers": replace(FAILURES, name="trouble"),
    }
    for place, (unit, metric) in enumerate(units.items()):
        looks = _clustered(unit, 60)
        naive = np.isfinite(found.watched(compile_plan([metric]), looks, found.runs, 50 + place).rolled_back)
        if unit == "viewers":
            found.rate("retrying viewers, viewers counted once: false alarm", naive)
            continue
        found.figures[f"retrying viewers, raw {unit}, no dispersion: false alarm"] = round(float(naive.mean()), 4)
        phi = taught(compile_plan([metric]), _clustered(unit, 120), 50 + place)
        found.figures[f"retrying viewers, {unit}: dispersion learned"] = round(phi, 3)
        plan = compile_plan([replace(metric, dispersion=phi)])
        wary = found.watched(plan, looks, found.runs, 60 + place)
        found.rate(f"retrying viewers, {unit}, learned dispersion: false alarm", np.isfinite(wary.rolled_back))


def moody_nodes(found: Findings) -> None:
    """Each arm has a mood of its own (AR .7, sd .3 of the log odds), 300 starts a minute and arm."""
    told = Traffic(rate=600.0, arm_noise=0.3)
    naive = found.run([FAILURES], told, found.runs, 70)
    found.figures["moody nodes, no dispersion: false alarm"] = round(float(np.isfinite(naive.rolled_back).mean()), 4)
    plan = compile_plan([FAILURES])
    phi = taught(plan, lambda size, rng: sim.traffic(plan, replace(told, looks=120), size, rng), 71, "failures")
    found.figures["moody nodes: dispersion learned"] = round(phi, 3)
    wary = found.run([replace(FAILURES, dispersion=phi)], told, found.runs, 72)
    found.rate("moody nodes, learned dispersion: false alarm", np.isfinite(wary.rolled_back))


def taught(plan: Plan, looks: Looks, seed: int, name: str = "trouble") -> float:
    """Return the dispersion that 100 hours of A/A trials teach (50 trials of two hours)."""
    rng = np.random.default_rng([SEED, 900, seed])
    state, noise = begin(plan, (50,)), dispersion.Noise()
    for look in looks(50, rng):
        state = judge.step(plan, state, look)
    row = plan.rows_of[[metric.name for metric in plan.metrics].index(name), 0]
    for blocks, chi_square in state.noise[:, row]:
        noise = noise + dispersion.Noise(float(blocks), float(chi_square))
    return dispersion.learned(noise)


def lost(found: Findings) -> None:
    """A change that triples failures, and telemetry that goes missing: held, and never promoted."""
    base = Traffic(effects={"failures": 3.0})
    calm = Traffic()
    cases = {
        "the treatment never reports": replace(base, reports=lambda look: (0.0, 0.98)),
        "the treatment stops reporting after minute 2": replace(calm, reports=lambda look: (0.98 * (look < 2), 0.98)),
        "nobody reports after minute 2": replace(calm, reports=lambda look: (0.98 * (look < 2), 0.98 * (look < 2))),
        "a fifth of both arms is lost": replace(calm, reports=lambda look: (0.8, 0.8)),
        "4% more of the treatment is lost": replace(calm, reports=lambda look: (0.95, 0.99)),
        "one guardrail never arrives": replace(calm, absent=frozenset({"delay"})),
    }
    for place, (name, told) in enumerate(cases.items()):
        watched = found.run([FAILURES, STARTS, DELAY], told, found.runs // 4, 80 + place)
        found.bar(f"lost telemetry, {name}: promoted", float(np.isfinite(watched.promoted).mean()), 0.0)
        found.bar(f"lost telemetry, {name}: neither held nor over", float(1 - _stopped(watched).mean()), 0.0)
    told = replace(base, failures_lost=0.9)
    watched = found.run([FAILURES, STARTS, DELAY], told, found.runs // 4, 90)
    found.bar(
        "lost telemetry, failing viewers never report: promoted", float(np.isfinite(watched.promoted).mean()), 0.0
    )
    found.bar(
        "lost telemetry, failing viewers never report: neither held nor over", float(1 - _stopped(watched).mean()), 0.0
    )


def _stopped(watched: Watched) -> np.ndarray:
    return watched.held_at_end | np.isfinite(watched.rolled_back)


def speed(found: Findings) -> None:
    """100 trials of 20 metrics at one look: new bins taken in and every verdict read."""
    plan = compile_plan(sim.twenty())
    rng = np.random.default_rng(SEED)
    states = [begin(plan) for _ in range(100)]
    spent: list[float] = []
    for look in sim.traffic(plan, Traffic(rate=600.0, looks=25), 100, rng):
        looks = [
            Look(60.0, look.share, look.exposed[k], look.reported[k], {name: v[k] for name, v in look.bins.items()})
            for k in range(100)
        ]
        began = time.process_time()
        states, _ = judge.look_all(plan, states, looks)
        spent.append(1000 * (time.process_time() - began))
    found.bar("100 trials x 20 metrics judged, CPU time (median)", float(np.median(spent[5:])), 50.0, "ms")
    found.figures["100 trials x 20 metrics judged, CPU ms (best)"] = round(min(spent), 2)
    events = rng.poisson(40.0, (2, 100_000))
    began = time.process_time()
    counts.log_e_more(events[0], events[1], 0.5, 1.0, 10.0)
    found.bar("one E of counts, in bulk, CPU time", 10 * (time.process_time() - began), 1e6 / 270_000, "us")


def _clustered(unit: str, looks: int) -> Looks:
    return lambda size, rng: sim.clustered(unit, size, looks, rng)


SCENARIOS = (
    speed,
    detection,
    events_needed,
    promotion,
    wrong_promotion,
    lost,
    retries,
    moody_nodes,
    harmless,
    thin_slice,
    changing_split,
    late,
    a_day,
)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
