"""The judge: what the evidence of a trial supports at this look, and why.

`step` takes the newest bins into the state, `judge` reads the state for people and for the trial's
lifecycle. Both are pure. The choice is ROLL_BACK when harm is proven (it stays so), HOLD while the
measurement is off, PROMOTE when every guardrail is proven harmless, else GO_ON; the horizon, and
how long a hold may last, are the lifecycle's. Replaying the looks gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat

import numpy as np

from redqueen.stats import blocks, dispersion, families, means, mixtures, packing, weighing
from redqueen.stats.arrays import Bools, Floats, floats
from redqueen.stats.evidence import Evidence, stack, unstack
from redqueen.stats.model import CONTROL, TREATMENT, Choice, Hold, Kind, Look, MetricReading, Reading, Trouble, shown_e
from redqueen.stats.plan import Plan

ARMS = ("treatment", "control")


def step(plan: Plan, before: Evidence, look: Look) -> Evidence:
    """Return the state after the newest bins. Raises ValueError for bins of a wrong shape or an impossible share."""
    packed = packing.pack(plan, look)
    share, span_s = (np.broadcast_to(floats(value), before.looks.shape) for value in (look.share, look.span_s))
    if not bool(((share > 0.0) & (share < 1.0) & (span_s > 0.0)).all()):
        raise ValueError(f"share must lie between 0 and 1, span_s above 0; not {look.share} and {look.span_s}")
    changed = (before.looks > 0) & (before.share != share)
    if bool(changed.any()):
        before = _closed_where(plan, before, changed)
    likelihood, scores = before.likelihood.copy(), before.scores.copy()
    blocks.add_events(plan, likelihood, scores, packed.events, share)
    pairs, values = before.open_pairs + packed.pairs, before.open_values + packed.values
    age_s = before.age_s + span_s[..., None, None]
    closing = blocks.full(pairs, values, age_s)
    kept = blocks.close(plan, likelihood, scores, before.kept, pairs, values, closing)
    after = replace(
        _emptied(before, pairs, values, age_s, closing),
        likelihood=likelihood,
        kept=kept,
        share=share,
        totals=before.totals + packing.totals(packed),
        scores=_with_means(plan, scores, kept),
        window=before.window * np.exp(-span_s / weighing.MEMORY_S)[..., None, None] + packing.seen(look),
        silence=packing.silence(plan, before.silence, packed, look),
        looks=before.looks + 1,
        elapsed_s=before.elapsed_s + span_s,
    )
    return weighing.weighed(plan, _noise_block(after, span_s))


def look_all(plan: Plan, before: Sequence[Evidence], looks: Sequence[Look]) -> tuple[list[Evidence], list[Reading]]:
    """Step and judge many trials that share a plan: the same bits as one by one, much sooner.

    Metrics are taken as present only when every trial's look has them; hand the others in one by one.
    """
    told = set[str].intersection(*(set(look.bins) for look in looks))
    together = Look(
        span_s=np.array([look.span_s for look in looks], dtype=np.float64),
        share=np.array([look.share for look in looks], dtype=np.float64),
        exposed=np.array([look.exposed for look in looks]),
        reported=np.array([look.reported for look in looks]),
        bins={one.name: np.array([look.bins[one.name] for look in looks]) for one in plan.metrics if one.name in told},
        heard=np.array([look.reported if look.heard is None else look.heard for look in looks]),
        split=_splits(looks),
    )
    after = step(plan, stack(before), together)
    return unstack(after), _readings(plan, after)


def _splits(looks: Sequence[Look]) -> Floats | None:
    if all(look.split is None for look in looks):
        return None
    return np.array([look.exposed if look.split is None else look.split for look in looks], dtype=np.float64)


def judge(plan: Plan, evidence: Evidence) -> Reading:
    """Say what the evidence supports. `evidence` without leading dimensions."""
    return _readings(plan, stack([evidence]))[0]


def noise(plan: Plan, evidence: Evidence) -> dict[str, dispersion.Noise]:
    """Return what an A/A trial teaches of each metric's noise (of a tail: its noisiest threshold)."""
    taught: dict[str, dispersion.Noise] = {}
    for metric, rows in zip(plan.metrics, plan.rows_of, strict=True):
        found = [dispersion.Noise(float(b), float(chi)) for b, chi in evidence.noise[rows]]
        taught[metric.name] = max(found, key=lambda one: one.chi_square)
    return taught


def _readings(plan: Plan, state: Evidence) -> list[Reading]:
    """Say what the evidence supports, of each trial in the leading dimension."""
    off, verdicts = weighing.trouble(plan, state), weighing.verdicts(plan, state)
    troubled = (off.unsound | off.mute.any(axis=(-1, -2))).tolist()
    choices = zip(verdicts.roll_back.tolist(), verdicts.hold.tolist(), verdicts.promote.tolist(), strict=True)
    together = families.log_average(state.log_e_harm, plan.weights).tolist()
    peaks: list[list[float]] = state.peaks.tolist()
    readings: list[Reading] = []
    for k, ((roll_back, hold, promote), metrics) in enumerate(zip(choices, _metric_readings(plan, state), strict=True)):
        holds = _holds(plan, off, k) if troubled[k] else ()
        guilty = _guilty(metrics, peaks[k]) if roll_back else ()
        if roll_back:
            choice, because = Choice.ROLL_BACK, _why_harm(plan, metrics, guilty, peaks[k])
        elif hold:
            choice, because = Choice.HOLD, "; ".join(one.because for one in holds)
        elif promote:
            choice, because = Choice.PROMOTE, "harm at the margin is ruled out for every guardrail"
        else:
            choice, because = Choice.GO_ON, _why_not_yet(metrics)
        readings.append(Reading(choice, because, metrics, holds, together[k], peaks[k][-2], peaks[k][-1], guilty))
    return readings


def _closed_where(plan: Plan, before: Evidence, changed: Bools) -> Evidence:
    """Close every block of the trials in `changed`: what comes next was split otherwise."""
    likelihood, scores = before.likelihood.copy(), before.scores.copy()
    closing = np.broadcast_to(changed[..., None, None], before.age_s.shape)
    kept = blocks.close(plan, likelihood, scores, before.kept, before.open_pairs, before.open_values, closing)
    emptied = _emptied(before, before.open_pairs, before.open_values, before.age_s, closing)
    return replace(emptied, likelihood=likelihood, scores=scores, kept=kept)


def _emptied(before: Evidence, pairs: Floats, values: Floats, age_s: Floats, closing: Bools) -> Evidence:
    """Keep only what stays open."""
    still, n_pairs = ~closing, before.open_pairs.shape[-4]
    return replace(
        before,
        open_pairs=pairs * still[..., :n_pairs, None, :, None],
        open_values=values * still[..., n_pairs:, None, :, None],
        age_s=age_s * still,
    )


def _with_means(plan: Plan, scores: Floats, kept: Floats) -> Floats:
    if plan.families[2]:
        scores[..., plan.families[0] + plan.families[1] :, :] = np.stack(means.combine(kept), axis=-1)
    return scores


def _noise_block(evidence: Evidence, span_s: Floats) -> Evidence:
    """Count time towards the dispersion's block; close it when it is long enough."""
    age_s = evidence.noise_age_s + span_s
    ended = age_s >= dispersion.BLOCK_S
    if not bool(ended.any()):
        return replace(evidence, noise_age_s=age_s)
    grown = evidence.scores - evidence.scores_before
    closed = np.stack([(grown[..., 1] > 0).astype(np.float64), dispersion.close(grown[..., 0], grown[..., 1])], axis=-1)
    mine = ended[..., None, None]
    return replace(
        evidence,
        noise=evidence.noise + np.where(mine, closed, 0.0),
        scores_before=np.where(mine, evidence.scores, evidence.scores_before),
        noise_age_s=np.where(ended, 0.0, age_s),
    )


def _metric_readings(plan: Plan, state: Evidence) -> list[tuple[MetricReading, ...]]:
    """Read each metric of each trial; a tail is shown by its threshold at the historical p95."""
    count, trials = len(plan.metrics), state.looks.shape[0]
    totals = np.moveaxis(state.totals[:, plan.rows_of[:, 3]].reshape(-1, 2, 2), 0, -1).tolist()
    estimate, low, high = (bound.ravel().tolist() for bound in _bounds(plan, state))
    harmed = families.bonferroni(state.peaks[..., :-3], plan.weights, plan.rules.alpha)
    columns = zip(
        plan.metrics * trials,
        zip(*totals[TREATMENT], strict=True),
        zip(*totals[CONTROL], strict=True),
        estimate,
        low,
        high,
        state.log_e_harm.ravel().tolist(),
        state.log_e_safe.ravel().tolist(),
        harmed.ravel().tolist(),
        (state.log_e_safe >= -np.log(plan.rules.alpha)).ravel().tolist(),
        repeat(plan.rules),
        strict=False,
    )
    read = [*map(MetricReading._make, columns)]
    return [tuple(read[start : start + count]) for start in range(0, len(read), count)]


def _bounds(plan: Plan, state: Evidence) -> tuple[Floats, Floats, Floats]:
    """Return (estimate, low, high) of each metric, as people read it. Each [B, K]."""
    shown = plan.rows_of[:, 3]
    logs = weighing.likelihoods(plan, state, shown)
    floor = mixtures.log_mixture(logs, plan.both[shown]) + np.log(plan.rules.alpha)
    peak, low, high = mixtures.interval(logs, plan.nodes[shown], floor)
    flipped = plan.flipped[shown]
    ratios = np.array([metric.kind is not Kind.MEAN for metric in plan.metrics])

    def read(more: Floats, less: Floats) -> Floats:
        turned = np.where(flipped, -less, more)
        return np.where(ratios, np.exp(np.where(ratios, turned, 0.0)), turned)

    return read(peak, peak), read(low, high), read(high, low)


def _guilty(metrics: tuple[MetricReading, ...], peaks: Sequence[float]) -> tuple[str, ...]:
    """Name the metrics whose harm is proven by itself, or else the one with the most evidence."""
    strongest = [metrics[k] for k in sorted(range(len(metrics)), key=lambda k: -peaks[k])]
    return tuple(one.name for one in strongest if one.harmed) or (strongest[0].name,)


def _why_harm(plan: Plan, metrics: tuple[MetricReading, ...], guilty: tuple[str, ...], peaks: Sequence[float]) -> str:
    alone = any(one.harmed for one in metrics)
    named = ", ".join(guilty) if alone else f"all metrics together, {guilty[0]} first"
    return f"harm is proven by {named}: E {shown_e(peaks[-3])} against no harm, {1 / plan.rules.alpha:.0f} needed"


def _why_not_yet(metrics: tuple[MetricReading, ...]) -> str:
    lacking = [one.name for one in metrics if one.metric.guardrail and not one.safe]
    return f"no harm is proven, nor yet ruled out for {', '.join(lacking) or 'any guardrail'}"


def _holds(plan: Plan, off: weighing.Troubles, trial: int) -> tuple[Hold, ...]:
    found: list[Hold] = []
    if bool(off.mismatch[trial]):
        found.append(Hold(Trouble.MISMATCH, "viewers are not split between the arms as drawn"))
    if bool(off.unequal[trial]):
        found.append(Hold(Trouble.UNEQUAL, "viewers of one arm report more often than those of the other"))
    for arm, name in enumerate(ARMS):
        if bool(off.silent[trial, arm]):
            found.append(Hold(Trouble.SILENT, f"no report from the {name} for {plan.rules.silent_s:.0f} s"))
        elif bool(off.thin[trial, arm]):
            found.append(Hold(Trouble.THIN, f"under {plan.rules.least_reported:.0%} of the {name}'s viewers report"))
    for metric, mute in zip(plan.metrics, off.mute[trial], strict=True):
        arms = [name for name, quiet in zip(ARMS, mute, strict=True) if bool(quiet)]
        if arms:
            found.append(Hold(Trouble.SILENT, f"nothing of {metric.name} from {' and '.join(arms)}"))
    return tuple(found)
