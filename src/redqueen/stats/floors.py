"""Harmless in absolute terms: so few of the treatment's units are affected that no ratio matters.

Without this a change could not be proven harmless where nothing ever fails: no events, no ratio.
Harm at the margin is then both, a ratio of at least the margin and a share of affected units of at
least the floor; against both together the average of the two E's is an e-value. The floor's own is
a mixture of binomial likelihood ratios of smaller shares against the floor: a supermartingale
while the share is at least the floor, whatever the control does. Enter at `relieved`.
"""

from __future__ import annotations

import numpy as np

from redqueen.stats.arrays import Counts, Floats, floats, log_mean_exp
from redqueen.stats.model import TREATMENT

_PARTS = floats([0.02, 0.3, 0.5, 0.65])
"""Shares that the mixture looks for, as parts of the floor."""


def log_e_below(affected: Counts, units: Counts, floor: Floats) -> Floats:
    """Return log E against "at least a share `floor` is affected"; `floor` in (0, 1). Shapes [...]."""
    share = floor[..., None] * _PARTS
    spared = floats(units - affected)[..., None]
    logs = affected[..., None] * np.log(_PARTS) + spared * (np.log1p(-share) - np.log1p(-floor[..., None]))
    return log_mean_exp(floats(logs))


def relieved(log_e_safe: Floats, totals: Floats, floor: Floats, divisor: Floats) -> Floats:
    """Return log E against "harm at the margin" with the floors heard. [B, R], [B, R, 2, 2], [R], [R] to [B, R]."""
    rows = np.flatnonzero(floor)
    if not rows.size:
        return log_e_safe
    treated: Floats = totals[..., rows, TREATMENT, :] / divisor[rows, None]
    below = log_e_below(treated[..., 0], treated[..., 1], floor[rows])
    answer = log_e_safe.copy()
    answer[..., rows] = log_mean_exp(np.stack([log_e_safe[..., rows], below], axis=-1))
    return answer
