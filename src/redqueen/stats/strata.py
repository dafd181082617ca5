"""Proportions whose denominators differ: failures per session by minute, device, zone, edge.

Within one block (a stratum for a while) the affected of both arms together are held fixed; the
treatment's share of them is then Fisher's noncentral hypergeometric, whose only parameter is the
odds ratio. Likelihoods of blocks multiply, so any baseline, any drift and any stratification
cancel exactly. Enter at `log_likelihood`; `score` gives the same block's surprise under no effect.
(Turner, Ly, Grunwald arXiv 2106.02693; Fisher 1935.)
"""

from __future__ import annotations

import numpy as np

from redqueen.stats.arrays import Counts, Floats, floats, log_sum_exp
from redqueen.stats.special import log_factorial

_WIDEST = 640
"""Widest support summed outside log space: half of it is the highest power of an odds ratio, 8 ** 320 < 1e289."""
_AT_ONCE = 1 << 14
"""Doubles made at once: what a core keeps near itself."""
_BLOCK = 32
"""Rows of one matrix product: its order of additions follows from its shape alone."""
_STEPS = (4, 8, 16, 32, 64, 96, 128, 192, 256, 320, 384, 512, _WIDEST)


def log_likelihood(treated: Counts, controls: Counts, affected: Counts, total: Counts, log_odds: Floats) -> Floats:
    """Return each block's log-likelihood at each log odds ratio, up to a constant of the block.

    Arrays are [N]: units in treatment and in control, affected units in treatment and in both.
    `log_odds` [G], within [-ln 8, ln 8]. Returns [N, G]. Costs O(N G min(treated, controls, total)).
    """
    low = np.maximum(total - controls, 0)
    width = np.minimum(treated, total) - low
    grown = np.zeros((treated.size, log_odds.size))
    narrowest = 0
    for widest in _STEPS:
        rows = np.flatnonzero((width > narrowest) & (width <= widest))
        size = max(1, _AT_ONCE // (widest + 1))
        powers = np.exp((np.arange(widest + 1.0) - widest // 2)[:, None] * log_odds)
        for some in (rows[start : start + size] for start in range(0, rows.size, size)):
            logs = _log_ways(treated[some], controls[some], total[some], low[some], widest)
            ways = np.exp(logs - logs.max(axis=1, keepdims=True))
            grown[some] = (affected - low - widest // 2)[some, None] * log_odds - np.log(_times(ways, powers))
        narrowest = widest
    for row in np.flatnonzero(width > _WIDEST):
        logs = _log_ways(treated[[row]], controls[[row]], total[[row]], low[[row]], int(width[row]))[0]
        tilted = logs + np.arange(float(logs.size)) * log_odds[:, None]
        grown[row] = (affected[row] - low[row]) * log_odds - log_sum_exp(tilted)
    return grown


def score(treated: Counts, controls: Counts, affected: Counts, total: Counts) -> tuple[Floats, Floats]:
    """Return (affected in treatment minus expectation, its variance) under no effect. Shapes [...]."""
    everyone = floats(treated) + floats(controls)
    safe = np.maximum(everyone, 1.0)
    expected = treated * total / safe
    rest = np.maximum(everyone - 1.0, 1.0)
    variance = expected * (controls / safe) * (everyone - total) / rest
    return floats(affected - expected), floats(variance)


def _times(ways: Floats, powers: Floats) -> Floats:
    """Return `ways @ powers` with bits that do not depend on how many rows there are: blocks of one shape only."""
    rows = ways.shape[0]
    padded = np.zeros((-(-rows // _BLOCK) * _BLOCK, ways.shape[1]))
    padded[:rows] = ways
    product = padded.reshape(-1, _BLOCK, ways.shape[1]) @ powers
    return product.reshape(-1, powers.shape[1])[:rows]


def _log_ways(treated: Counts, controls: Counts, total: Counts, low: Counts, widest: int) -> Floats:
    """Return log C(treated, u) C(controls, total - u) up to a constant, u from `low`; -inf outside. [N, widest + 1]."""
    u = low[:, None] + np.arange(widest + 1)
    spared, others = treated[:, None] - u, total[:, None] - u
    logs = log_factorial(u) + log_factorial(spared)
    logs += log_factorial(others)
    logs += log_factorial(controls[:, None] - others)
    outside = (spared < 0) | (others < 0)
    return np.where(outside, -np.inf, -logs)
