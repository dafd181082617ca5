"""For whom a change does what: each metric by device and by zone, worse and better tested apart.

A segment is a slice of the strata that the trial's looks have anyway; its e-values grow by the same
judge, one step for what is new, so that a look costs the same after a week. What stands out is
chosen by e-BH over all segments, metrics and directions together: at most alpha of what is named is
expected to be noise (Wang & Ramdas arXiv 2009.02824). It informs and decides nothing. Tails are
left out: their thresholds are the whole trial's. Pure. Enter at `plan_of`, `grown` and `shown`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import msgspec
import numpy as np

from redqueen.stats import families, judge
from redqueen.stats.arrays import Counts
from redqueen.stats.evidence import Evidence, begin
from redqueen.stats.model import Harm, Kind, Look, Metric, MetricReading, Rules
from redqueen.stats.plan import Plan, compile_plan
from redqueen.trials.measures import DEVICES, Measures

_JUDGED = (Kind.PROPORTION.value, Kind.MEAN.value)
WORSE, BETTER = "worse", "better"


class Segment(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one treatment does to one metric in one slice of the viewers, against the control there."""

    arm: str
    metric: str
    device: str
    """Empty: all devices of the zone."""
    zone: str
    """Empty: the device in all zones."""
    direction: str
    """Which of both the evidence speaks for more: `worse` or `better`."""
    treatment: tuple[float, float]
    """(events or sum, units)"""
    control: tuple[float, float]
    estimate: float | None
    """None (as its bounds) while there is too little to tell."""
    low: float | None
    high: float | None
    difference: bool
    """The estimate is a difference of logs or units, else a ratio."""
    log_e: float
    """Against "no difference in this direction"."""
    stands_out: bool
    """Chosen by e-BH at the trial's alpha over everything that is shown."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where a segment's metric comes from."""

    metric: str
    device: str
    zone: str
    direction: str


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """The judge's plan over all segments, and what each of its metrics is."""

    plan: Plan
    cuts: tuple[_Cut, ...]


@lru_cache(maxsize=16)
def plan_of(measures: Measures) -> SegmentPlan | None:
    """Return what is followed of a trial; None where nothing can be told by segment."""
    found = list(_metrics(measures))
    if not found:
        return None
    plan = compile_plan([metric for _, metric in found], strata=measures.strata, rules=Rules(alpha=measures.alpha))
    return SegmentPlan(plan, tuple(cut for cut, _ in found))


def fresh(plan: SegmentPlan) -> Evidence:
    """Return the evidence before the first look."""
    return begin(plan.plan)


def grown(plan: SegmentPlan, before: Evidence, looks: Iterable[Look]) -> Evidence:
    """Return the evidence after these looks of one treatment; looks of one split are one step."""
    for look in _joined(looks):
        bins = {
            metric.name: _there(look.bins[cut.metric], metric.strata)
            for metric, cut in zip(plan.plan.metrics, plan.cuts, strict=True)
            if cut.metric in look.bins
        }
        before = judge.step(plan.plan, before, replace(look, bins=bins))
    return before


def shown(plan: SegmentPlan, evidence: Mapping[str, Evidence], alpha: float) -> list[Segment]:
    """Return what is known of every segment of every treatment, the strongest evidence first."""
    read = [
        (arm, cut, metric)
        for arm, state in evidence.items()
        for cut, metric in zip(plan.cuts, judge.judge(plan.plan, state).metrics, strict=True)
        if metric.treatment[1] > 0 and metric.control[1] > 0
    ]
    if not read:
        return []
    chosen = families.e_bh(np.array([metric.log_e_harm for _, _, metric in read]), alpha)
    found = [_shown(*one, bool(out)) for one, out in zip(read, chosen, strict=True)]
    best: dict[tuple[str, str, str, str], Segment] = {}
    for one in found:
        key = (one.arm, one.metric, one.device, one.zone)
        if key not in best or one.log_e > best[key].log_e:
            best[key] = one
    return sorted(best.values(), key=lambda one: -one.log_e)


def _metrics(measures: Measures) -> Iterable[tuple[_Cut, Metric]]:
    zones, count = measures.zones, len(DEVICES)
    slices = [(device.value, "", tuple(range(at, measures.strata, count))) for at, device in enumerate(DEVICES)]
    if len(zones) > 1:
        slices += [("", zone, tuple(range(at * count, (at + 1) * count))) for at, zone in enumerate(zones)]
    for measure in measures.judged:
        if measure.kind not in _JUDGED or measure.device:
            continue
        whole = measure.judged(max(1, len(zones)))
        for device, zone, strata in slices:
            for direction in (WORSE, BETTER):
                own = _turned(whole) if direction == BETTER else whole
                name = f"{measure.name}/{device}/{zone}/{direction}"
                plain = replace(own, name=name, guardrail=False, weight=1.0, tolerated=None, floors=(), strata=strata)
                yield _Cut(measure.name, device, zone, direction), plain


def _turned(metric: Metric) -> Metric:
    """Return the test in the other direction: it speaks when there is less of the harm."""
    mean = metric.kind is Kind.MEAN
    margin, expected = (-one if mean else 1.0 / one for one in (metric.margin, metric.expected))
    harm = Harm.LESS if metric.harm is Harm.MORE else Harm.MORE
    return replace(metric, harm=harm, margin=margin, expected=expected)


def _shown(arm: str, cut: _Cut, metric: MetricReading, stands_out: bool) -> Segment:
    fewest = min(metric.treatment[1], metric.control[1])
    mean = metric.metric.kind is Kind.MEAN
    told = not mean or fewest >= metric.rules.least_units
    estimate, low, high = (
        value if told and np.isfinite(value) else None for value in (metric.estimate, metric.low, metric.high)
    )
    return Segment(
        arm=arm,
        metric=cut.metric,
        device=cut.device,
        zone=cut.zone,
        direction=cut.direction,
        treatment=metric.treatment,
        control=metric.control,
        estimate=estimate,
        low=low,
        high=high,
        difference=mean,
        log_e=metric.log_e_harm,
        stands_out=stands_out,
    )


def _there(bins: Counts, strata: Sequence[int]) -> Counts:
    """Return the bins of some strata, nothing elsewhere. [2, S, …]."""
    kept = np.zeros_like(bins)
    kept[:, list(strata)] = bins[:, list(strata)]
    return kept


def _joined(looks: Iterable[Look]) -> Sequence[Look]:
    """Add looks of one split up: within it units are exchangeable, and one step costs what many would."""
    joined: list[Look] = []
    for look in looks:
        last = joined[-1] if joined else None
        same = last is not None and last.share == look.share and last.bins.keys() == look.bins.keys()
        if last is not None and same and all(last.bins[name].shape == one.shape for name, one in look.bins.items()):
            joined[-1] = _sum(last, look)
        else:
            joined.append(look)
    return joined


def _sum(one: Look, other: Look) -> Look:
    return Look(
        span_s=one.span_s + other.span_s,
        share=one.share,
        exposed=one.exposed + other.exposed,
        reported=one.reported + other.reported,
        bins={name: one.bins[name] + bins for name, bins in other.bins.items()},
        heard=None if one.heard is None or other.heard is None else one.heard + other.heard,
        split=None if one.split is None or other.split is None else one.split + other.split,
    )
