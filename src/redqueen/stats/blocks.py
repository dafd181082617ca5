"""How bins become likelihood: counts at once, proportions and means block by block.

Proportions and means are compared within blocks: a stratum for a while. A block closes when it
holds enough units, by numbers of units and age alone, never by what was observed in them; so the
moment of closing tells nothing of the outcome. A changed split closes all blocks: nothing is pooled
across splits. Enter at `full`, `close` and `add_events`, which the judge calls in that spirit.
"""

from __future__ import annotations

import numpy as np

from redqueen.stats import counts, means, strata
from redqueen.stats.arrays import Bools, Counts, Floats
from redqueen.stats.model import CONTROL, TREATMENT
from redqueen.stats.plan import Plan

ENOUGH = 50
"""Units in each arm at which a block closes at once: conditioning then costs 1% of the information."""
SETTLED_S, SETTLED = 60.0, 8
"""A block this old closes with this many units in each arm ..."""
OLDEST_S = 600.0
"""... and with any number when it is this old."""


def full(open_pairs: Floats, open_values: Floats, age_s: Floats) -> Bools:
    """Tell which blocks close now. [B, Np, 2, S, 2], [B, Nm, 2, S, 6] and [B, Np + Nm, S] to [B, Np + Nm, S]."""
    units = np.concatenate([open_pairs[..., 1], open_values[..., 0]], axis=-3)
    least = units.min(axis=-2)
    old = (age_s >= OLDEST_S) & (units.sum(axis=-2) > 0)
    return (least >= ENOUGH) | ((age_s >= SETTLED_S) & (least >= SETTLED)) | old


def add_events(plan: Plan, likelihood: Floats, scores: Floats, events: Floats, share: Floats) -> None:
    """Add the newest counts [B, Nc, 2, S] to `likelihood` [B, Nc + Np, G] and `scores` [B, R, 2], in place."""
    rows = plan.families[0]
    flipped = plan.flipped[:rows]
    summed: Floats = events.sum(axis=-1)
    turned: Floats = np.where(flipped[:, None], summed[..., ::-1], summed)
    harmful, other = turned[..., TREATMENT], turned[..., CONTROL]
    shares = np.where(flipped, 1.0 - share[..., None], share[..., None])
    likelihood[..., :rows, :] += counts.log_likelihood(harmful, other, shares, plan.nodes[:rows])
    scores[..., :rows, :] += np.stack(counts.score(harmful, other, shares), axis=-1)


def close(
    plan: Plan, likelihood: Floats, scores: Floats, kept: Floats, pairs: Floats, values: Floats, closing: Bools
) -> Floats:
    """Add the blocks in `closing` [B, Np + Nm, S] to `likelihood` and `scores` in place; return the new `kept`."""
    n_pairs = plan.families[1]
    if closing[..., :n_pairs, :].any():
        _close_pairs(plan, likelihood, scores, pairs, closing[..., :n_pairs, :])
    if not closing[..., n_pairs:, :].any():
        return kept
    first = plan.families[0] + n_pairs
    flipped = plan.flipped[first:, None, None, None]
    turned = np.where(flipped, values[..., ::-1, :, :], values)
    return kept + np.where(closing[..., n_pairs:, :, None], means.block(turned), 0.0)


def _close_pairs(plan: Plan, likelihood: Floats, scores: Floats, pairs: Floats, closing: Bools) -> None:
    first, rows = plan.families[0], plan.families[1]
    turned = np.where(plan.flipped[first : first + rows, None, None, None], pairs[..., ::-1, :, :], pairs)
    treated, controls = turned[..., TREATMENT, :, 1], turned[..., CONTROL, :, 1]
    affected = turned[..., TREATMENT, :, 0]
    total = affected + turned[..., CONTROL, :, 0]
    telling = closing & (treated > 0) & (controls > 0) & (total > 0) & (total < treated + controls)
    cells = [part[telling] for part in (treated, controls, affected, total)]
    whole: list[Counts] = [part.astype(np.int64) for part in cells]
    grown = strata.log_likelihood(whole[0], whole[1], whole[2], whole[3], plan.log_odds)
    scored = np.stack(strata.score(cells[0], cells[1], cells[2], cells[3]), axis=-1)
    likelihood[..., first : first + rows, :] += _summed(telling, grown)
    scores[..., first : first + rows, :] += _summed(telling, scored)


def _summed(where: Bools, added: Floats) -> Floats:
    """Add the rows found in the cells `where` [B, Np, S] up over the strata, in their order. [N, X] to [B, Np, X]."""
    cells = np.zeros((*where.shape, added.shape[-1]))
    cells[where] = added
    return cells[..., 0, :] if where.shape[-1] == 1 else cells.sum(axis=-2)
