"""Whole distributions and their tails, from mergeable histograms.

A tail is judged at five thresholds fixed before the start, the metric's historical quantiles: at
each the test of `strata` on "units above it", and the average of the five E's against "no harm";
"harm at the margin" falls only when it falls at every threshold. `bands` draws a histogram's
quantiles with an error that holds at all looks and all quantiles together: for plots, not gates.
(Howard & Ramdas arXiv 1906.09712.)
"""

from __future__ import annotations

import numpy as np

from redqueen.stats.arrays import Counts, Floats, floats
from redqueen.stats.model import TAIL_QUANTILES


def thresholds(history: Counts) -> Counts:
    """Return, for each tail quantile, the histogram bin after which it lies.

    `history` [B]: units per bin. Returns [5] positions p: "above" means bins p and later. Raises
    ValueError without history.
    """
    total = float(history.sum())
    if total <= 0:
        raise ValueError("a tail needs a history to find its thresholds in")
    below = np.cumsum(history) / total
    return np.minimum(np.searchsorted(below, TAIL_QUANTILES) + 1, history.size - 1)


def exceedances(histogram: Counts, positions: Counts) -> Counts:
    """Return units, and units above each threshold. `histogram` [..., B]; returns [..., 1 + T]."""
    reversed_sums = np.cumsum(histogram[..., ::-1], axis=-1)[..., ::-1]
    return np.concatenate([reversed_sums[..., :1], reversed_sums[..., positions]], axis=-1)


def band_width(units: Floats, first: float = 32.0) -> Floats:
    """Return how far the true quantile level may lie from the observed one, at 95% and for all times after `first`."""
    t = np.maximum(floats(units), first)
    return 0.85 * np.sqrt((np.log1p(np.log(t / first)) + 8.123) / t)


def bands(histogram: Counts, edges: Floats, levels: Floats) -> Floats:
    """Return (low, estimate, high) of each quantile. `histogram` [B], `edges` [B + 1], `levels` [Q]; returns [Q, 3].

    A bound beyond the seen range is the end of the histogram.
    """
    total = float(histogram.sum())
    if total <= 0:
        return np.tile(floats([edges[0], np.nan, edges[-1]]), (levels.size, 1))
    reached = np.concatenate([[0.0], np.cumsum(histogram) / total])
    slack = band_width(floats(total))
    low = edges[np.maximum(np.searchsorted(reached, levels - slack, side="right") - 1, 0)]
    high = edges[np.minimum(np.searchsorted(reached, levels + slack), edges.size - 1)]
    return np.stack([low, np.interp(levels, reached, edges), high], axis=-1)
