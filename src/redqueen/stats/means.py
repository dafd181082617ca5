"""Means of viewers or sessions: (log) play delay, hours watched, average bitrate.

Arms are compared within blocks (a stratum for a while), so drift they share cancels; the blocks'
differences are added with the weight nT nC / (nT + nC), and the sum's variance is estimated from
the spread within the arms. The evidence is that of a normal with this variance: asymptotic, hence
silent until each arm has many units. CUPED subtracts theta (x - mean x), x known from before the
exposure, theta pooled over the arms. Enter at `block` and `combine`; `half_width`,
`half_width_one_sided` and `log_e` are the closed forms of the reference.
(Waudby-Smith et al. arXiv 2103.06476; Lindon et al. 2210.08589; Deng et al. 2013 for CUPED.)
"""

from __future__ import annotations

from typing import Final

import numpy as np

from redqueen.stats.arrays import Counts, Floats

PARTS: Final = 13
"""Numbers kept per mean and stratum: y and x differences, weight, h^2/n per arm, then per arm df, yy, xx, xy."""


def with_covariate(bins: Counts) -> Floats:
    """Return bins [..., 2, S, 6] (n, y, yy, x, xx, xy), the last three zero where only three are given."""
    if bins.shape[-1] == 6:
        return bins.astype(np.float64)
    return np.concatenate([bins, np.zeros_like(bins)], axis=-1).astype(np.float64)


def block(bins: Floats) -> Floats:
    """Return what one block adds to the kept sums. `bins` [..., 2, S, 6]; returns [..., S, PARTS]."""
    units = bins[..., 0]
    safe = np.maximum(units, 1.0)
    y, yy, x, xx, xy = (bins[..., k] for k in (1, 2, 3, 4, 5))
    treated, controls = units[..., 0, :], units[..., 1, :]
    weight = treated * controls / np.maximum(treated + controls, 1.0)
    difference = [(v / safe)[..., 0, :] - (v / safe)[..., 1, :] for v in (y, x)]
    spread = [yy - y * y / safe, xx - x * x / safe, xy - x * y / safe]
    freedom = np.maximum(units - 1.0, 0.0)
    parts = [weight * difference[0], weight * difference[1], weight]
    parts += [weight**2 / safe[..., arm, :] for arm in (0, 1)]
    parts += [values[..., arm, :] for arm in (0, 1) for values in (freedom, *spread)]
    return np.stack(parts, axis=-1)


def combine(kept: Floats) -> tuple[Floats, Floats]:
    """Return (score, information) of the difference of means, adjusted by CUPED.

    `kept` [..., S, PARTS]: sums of blocks. Near the truth the log-likelihood of a difference d is
    score d - information d^2 / 2. Returns [...], zeros where nothing is known of the spread.
    """
    freedom, yy, xx, xy = (kept[..., [5 + k, 9 + k]] for k in range(4))
    theta = slope(xy, xx)[..., None]
    summed = kept[..., 0] - theta * kept[..., 1]
    spread = np.maximum(yy - 2.0 * theta[..., None] * xy + theta[..., None] ** 2 * xx, 0.0)
    variance = spread / np.maximum(freedom, 1.0)
    noise = (kept[..., 3] * variance[..., 0] + kept[..., 4] * variance[..., 1]).sum(axis=-1)
    weight = kept[..., 2].sum(axis=-1)
    known = noise > 0
    safe = np.where(known, noise, 1.0)
    score = np.where(known, summed.sum(axis=-1) * weight / safe, 0.0)
    return score, np.where(known, weight**2 / safe, 0.0)


def slope(xy: Floats, xx: Floats) -> Floats:
    """Return CUPED's theta, pooled over arms and strata; 0 without a covariate. [..., S, 2] to [...]."""
    spread = xx.sum(axis=(-1, -2))
    return np.where(spread > 0, xy.sum(axis=(-1, -2)) / np.where(spread > 0, spread, 1.0), 0.0)


def log_likelihood(score: Floats, information: Floats, differences: Floats) -> Floats:
    """Return score d - information d^2 / 2 at each difference. [...], [..., G] to [..., G]."""
    return differences * score[..., None] - 0.5 * differences**2 * information[..., None]


def tuning(alpha: float, units: float) -> float:
    """Return rho^2, which makes the two-sided interval narrowest at `units` units in all."""
    return float((-2.0 * np.log(alpha) + np.log(1.0 - 2.0 * np.log(alpha))) / units)


def half_width(error: Floats, units: Floats, rho2: float, alpha: float) -> Floats:
    """Return the half-width of the two-sided confidence sequence; `error` is the difference's standard error."""
    grown = units * rho2 + 1.0
    return error * np.sqrt(2.0 * grown / (units * rho2) * np.log(np.sqrt(grown) / alpha))


def half_width_one_sided(error: Floats, units: Floats, rho2: float, alpha: float) -> Floats:
    """Return the same for a bound on one side; take `rho2` from `tuning(2 alpha, units)`."""
    grown = units * rho2 + 1.0
    return error * np.sqrt(2.0 * grown / (units * rho2) * np.log1p(np.sqrt(grown) / (2.0 * alpha)))


def log_e(difference: Floats, error: Floats, units: Floats, rho2: float) -> Floats:
    """Return log E against "the difference is 0": the normal mixture, at its standard error."""
    grown = units * rho2 + 1.0
    surprise = units * (difference / error) ** 2
    return rho2 * surprise / (2.0 * grown) - 0.5 * np.log(grown)
