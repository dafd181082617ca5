"""Evidence from a likelihood that is kept on a grid of effects.

An effect is a log ratio (or a difference of means). While a trial runs, only the log-likelihood
at each node of its metric's grid is kept; it grows by the newest bins in O(1). Then
  E against "effect <= null"  = sum of w_j exp(L_j - L_null) over nodes above the null,
  E against "effect >= null"  = the same over nodes below, and
  the confidence sequence     = {g: sum of w_j exp(L_j - L_g) < 1/alpha}.
Weights w sum to one and are fixed in advance, so each is a mixture of likelihood ratios: a
martingale under its null. One-sided nulls are valid for every effect beyond the null because all
families here have monotone likelihood ratios. (Method of mixtures: Robbins 1970; Howard et al.
arXiv 1810.08240; Lindon & Malek arXiv 2011.03567.) L is concave, which `interval` relies on.
"""

from __future__ import annotations

import numpy as np

from redqueen.stats.arrays import Bools, Counts, Floats

NODES = 41
"""Nodes of the symmetric grid, zero in the middle."""
ZERO = NODES // 2
_CURVE = 4.0
"""How much denser the grid is near zero (an asinh-spaced grid)."""


def grid(reach: float) -> Floats:
    """Return `NODES` effects in [-reach, reach], dense near zero. Shape [NODES]."""
    steps = np.linspace(-1.0, 1.0, NODES)
    nodes = reach * np.sinh(_CURVE * steps) / np.sinh(_CURVE)
    nodes[ZERO] = 0.0
    return nodes


def one_sided_weights(nodes: Floats, null: float, typical: float, spread: float) -> Floats:
    """Weigh the effects above `null` by a log-normal about `null + typical`; those below get zero.

    `nodes` [G] in any order, `spread` the standard deviation of the log distance. For effects
    below the null hand in negated nodes and null.
    """
    distance = nodes - null
    above = distance > 1e-12
    log_distance = np.log(np.where(above, distance, 1.0) / typical)
    density = np.where(above, np.exp(-0.5 * (log_distance / spread) ** 2) / np.where(above, distance, 1.0), 0.0)
    weights = density * _cells(nodes)
    return weights / weights.sum()


def two_sided_weights(nodes: Floats, typical: float) -> Floats:
    """Weigh all effects by a Cauchy density of half-width `typical` about zero. Shape [G]."""
    weights = _cells(nodes) / (1.0 + (nodes / typical) ** 2)
    return weights / weights.sum()


def log_mixture(likelihood: Floats, weights: Floats) -> Floats:
    """Return log(sum_j w_j exp(L_j)). `likelihood` [..., G], `weights` broadcastable to it."""
    peak = likelihood.max(axis=-1)
    heights = likelihood - peak[..., None]
    heights = np.exp(heights, out=heights)
    heights *= weights
    total = heights.sum(axis=-1)
    with np.errstate(divide="ignore"):
        return peak + np.log(total)


def interval(likelihood: Floats, nodes: Floats, floor: Floats) -> tuple[Floats, Floats, Floats]:
    """Return (peak, low, high) of the effects whose log-likelihood exceeds `floor`.

    `likelihood` [..., G] concave in `nodes` ([..., G] ascending), `floor` [...]. Between nodes the
    bounds are rounded outward: the chord of the two nodes inside, prolonged, lies above a concave
    curve. A set that reaches the end of the grid is open there (inf); an empty one is (nan, nan).
    """
    inside = likelihood > floor[..., None]
    nodes = np.broadcast_to(nodes, likelihood.shape)
    low = _lower_bound(likelihood, nodes, floor, inside)
    high = -_lower_bound(likelihood[..., ::-1], -nodes[..., ::-1], floor, inside[..., ::-1])
    return _peak(likelihood, nodes), low, high


def _cells(nodes: Floats) -> Floats:
    """Return the width of the grid that belongs to each node."""
    order = np.argsort(nodes, kind="stable")
    sizes = np.empty_like(nodes)
    sizes[order] = np.gradient(nodes[order])
    return np.maximum(sizes, 0.0)


def _lower_bound(likelihood: Floats, nodes: Floats, floor: Floats, inside: Bools) -> Floats:
    first = inside.argmax(axis=-1)
    near = np.stack([np.maximum(first - 1, 0), first, np.minimum(first + 1, nodes.shape[-1] - 1)], axis=-1)
    outer, here, second = _at(nodes, near)
    _, height, next_height = _at(likelihood, near)
    slope = (next_height - height) / np.maximum(second - here, 1e-300)
    rising = slope > 0
    crossing = here - (height - floor) / np.where(rising, slope, 1.0)
    bound = np.where(rising, np.maximum(crossing, outer), outer)
    bound = np.where(first == 0, -np.inf, bound)
    return np.where(inside.any(axis=-1), bound, np.nan)


def _peak(likelihood: Floats, nodes: Floats) -> Floats:
    """Return the effect of greatest likelihood, by the parabola through the three best nodes."""
    best = np.clip(likelihood.argmax(axis=-1), 1, nodes.shape[-1] - 2)
    near = np.stack([best - 1, best, best + 1], axis=-1)
    x0, x1, x2 = _at(nodes, near)
    y0, y1, y2 = _at(likelihood, near)
    left, right = (x1 - x0) * (y1 - y2), (x1 - x2) * (y1 - y0)
    bend = left - right
    flat = np.abs(bend) < 1e-300
    shift = ((x1 - x0) * left - (x1 - x2) * right) / np.where(flat, 1.0, 2.0 * bend)
    return np.clip(np.where(flat, x1, x1 - shift), x0, x2)


def _at(values: Floats, places: Counts) -> tuple[Floats, Floats, Floats]:
    """Return the values at three places of the last axis. [..., G], [..., 3] to three of [...]."""
    found = np.take_along_axis(values, places, axis=-1)
    return found[..., 0], found[..., 1], found[..., 2]
