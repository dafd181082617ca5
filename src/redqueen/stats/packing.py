"""A look brought into the plan's rows, checked.

Metrics that are absent become rows of nothing and are remembered as silent. Refuses arrays of a
wrong shape, and more affected units than units. Enter at `pack`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redqueen.stats import means
from redqueen.stats.arrays import Bools, Counts, Floats, floats
from redqueen.stats.model import Kind, Look, Metric
from redqueen.stats.plan import Plan, rows_by_kind

WIDTHS = {Kind.COUNT: (0,), Kind.PROPORTION: (2,), Kind.MEAN: (3, 6), Kind.TAIL: (6,)}
"""Numbers in a metric's last axis; 0: the axis is not there."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A look by families of rows."""

    events: Floats
    """[B, Nc, 2, S]: events."""
    pairs: Floats
    """[B, Np, 2, S, 2]: affected, units."""
    values: Floats
    """[B, Nm, 2, S, 6]: n, sums of y, y^2, x, x^2, xy."""
    units: Floats
    """[B, R, 2]: units per arm; of a count, the viewers who reported, or by whom the split is tested."""
    present: Bools
    """[K]: metrics that the look held."""


def pack(plan: Plan, look: Look) -> Packed:
    """Return the look in the plan's rows. Raises ValueError for a wrong shape or impossible counts."""
    n_counts, n_pairs, n_means = plan.families
    exposed, reported = (_arm_by_stratum(plan, name, getattr(look, name)) for name in ("exposed", "reported"))
    lead = exposed.shape[:-2]
    events = np.zeros((*lead, n_counts, 2, plan.strata))
    pairs = np.zeros((*lead, n_pairs, 2, plan.strata, 2))
    values = np.zeros((*lead, n_means, 2, plan.strata, 6))
    drawn = exposed if look.split is None else _arm_by_stratum(plan, "split", look.split)
    events[..., 0, :, :] = drawn
    pairs[..., 0, :, :, 0], pairs[..., 0, :, :, 1] = np.minimum(reported, exposed), exposed
    for position, rows in rows_by_kind(plan):
        metric = plan.metrics[position]
        bins = look.bins.get(metric.name)
        if bins is not None:
            _put(metric, _shaped(plan, metric, bins, lead), rows, (events, pairs, values), n_counts)
    if bool((pairs[..., 0] > pairs[..., 1]).any()):
        raise ValueError("more affected units than units")
    viewers = reported if look.split is None else drawn
    of_counts = np.repeat(viewers.sum(axis=-1)[..., None, :], n_counts, axis=-2)
    units = np.concatenate([of_counts, pairs[..., 1].sum(axis=-1), values[..., 0].sum(axis=-1)], axis=-2)
    present = np.array([metric.name in look.bins for metric in plan.metrics], dtype=np.bool_)
    return Packed(events, pairs, values, units, present)


def totals(packed: Packed) -> Floats:
    """Return (events or sum, units) per row and arm. [B, R, 2, 2]."""
    observed = [packed.events.sum(axis=-1), packed.pairs[..., 0].sum(axis=-1), packed.values[..., 1].sum(axis=-1)]
    return np.stack([np.concatenate(observed, axis=-2), packed.units], axis=-1)


def seen(look: Look) -> Floats:
    """Return (exposed, reported) per arm. [B, 2, 2]."""
    return np.stack([look.exposed.sum(axis=-1), look.reported.sum(axis=-1)], axis=-1).astype(np.float64)


def silence(plan: Plan, before: Floats, packed: Packed, look: Look) -> Floats:
    """Return (seconds, exposed) since each arm last said anything, then each metric. [B, K + 1, 2, 2]."""
    exposed = look.exposed.sum(axis=-1)
    of_metrics = packed.units[..., plan.rows_of[:, 0], :] * packed.present[:, None]
    heard = look.reported if look.heard is None else look.heard
    spoke = np.concatenate([heard.sum(axis=-1)[..., None, :], of_metrics], axis=-2) > 0
    span_s = np.broadcast_to(floats(look.span_s)[..., None], exposed.shape)
    passed = np.stack([np.stack([span_s, one], axis=-1) for one in _awaited(plan, look, exposed)], axis=-3)
    return np.where(spoke[..., None], 0.0, before + passed)


def _awaited(plan: Plan, look: Look, exposed: Floats) -> list[Floats]:
    """Return the exposed viewers from whom a report is awaited: of any kind first, then of each metric. [B, 2]."""
    own = [metric.strata for metric in plan.metrics]
    return [exposed, *(look.exposed[..., list(strata)].sum(axis=-1) if strata else exposed for strata in own)]


def _put(metric: Metric, bins: Floats, rows: slice, families: tuple[Floats, Floats, Floats], n_counts: int) -> None:
    events, pairs, values = families
    if metric.kind is Kind.COUNT:
        events[..., rows.start, :, :] = bins
    elif metric.kind is Kind.PROPORTION:
        pairs[..., rows.start - n_counts, :, :, :] = bins
    elif metric.kind is Kind.TAIL:
        for step, row in enumerate(range(rows.start - n_counts, rows.stop - n_counts)):
            pairs[..., row, :, :, 0], pairs[..., row, :, :, 1] = bins[..., 1 + step], bins[..., 0]
    else:
        values[..., rows.start - n_counts - pairs.shape[-4], :, :, :] = means.with_covariate(bins)


def _shaped(plan: Plan, metric: Metric, bins: Counts, lead: tuple[int, ...]) -> Floats:
    arms = (*lead, 2, plan.strata)
    wanted = [arms if width == 0 else (*arms, width) for width in WIDTHS[metric.kind]]
    if bins.shape not in wanted:
        raise ValueError(f"{metric.name}: bins must be of shape {wanted[0]}, not {bins.shape}")
    return bins.astype(np.float64)


def _arm_by_stratum(plan: Plan, name: str, values: Counts) -> Floats:
    if values.shape[-2:] != (2, plan.strata):
        raise ValueError(f"{name}: must end in (2, {plan.strata}), not {values.shape}")
    return values.astype(np.float64)
