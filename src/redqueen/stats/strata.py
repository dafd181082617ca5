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
from redqueen.stats.special import log_inverse_factorials

_WIDEST = 640
"""Widest support summed outside log space: half of it is the highest power of an odds ratio, 8 ** 320 < 1e289."""
_AT_ONCE = 1 << 15
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
    order = np.argsort(width, kind="stable")
    ends = np.searchsorted(width[order], (0, *_STEPS), side="right").tolist()
    half, centre = _WIDEST // 2, np.zeros_like(width)
    powers = np.exp(np.arange(-half, half + 1.0)[:, None] * log_odds)
    sums = np.ones((width.size, log_odds.size))
    for widest, first, last in zip(_STEPS, ends, ends[1:], strict=False):
        own = powers[half - widest // 2 : half - widest // 2 + widest + 1]
        size = max(_BLOCK, _AT_ONCE // (widest + 1))
        for start in range(first, last, size):
            some = order[start : min(start + size, last)]
            centre[some] = widest // 2
            sums[some] = _times(_log_ways(treated[some], controls[some], total[some], low[some], widest), own)
    grown = (affected - low - centre)[:, None] * log_odds
    grown -= np.log(sums, out=sums)
    for row in order[ends[-1] :]:
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


def _times(log_ways: Floats, powers: Floats) -> Floats:
    """Return the ways, up to a constant of each row, times the powers. [N, W] and [W, G] to [N, G].

    The bits do not depend on how many rows there are: only blocks of one shape are multiplied.
    """
    rows, wide = log_ways.shape
    ways = np.zeros((-(-rows // _BLOCK) * _BLOCK, wide))
    np.subtract(log_ways, log_ways.max(axis=1, keepdims=True), out=ways[:rows])
    np.exp(ways[:rows], out=ways[:rows])
    product = ways.reshape(-1, _BLOCK, wide) @ powers
    return product.reshape(-1, powers.shape[1])[:rows]


def _log_ways(treated: Counts, controls: Counts, total: Counts, low: Counts, widest: int) -> Floats:
    """Return log C(treated, u) C(controls, total - u) up to a constant, u from `low`; -inf outside. [N, widest + 1]."""
    logs = log_inverse_factorials(low, widest + 1, 1) + log_inverse_factorials(treated - low, widest + 1, -1)
    logs += log_inverse_factorials(total - low, widest + 1, -1)
    logs += log_inverse_factorials(controls - total + low, widest + 1, 1)
    return logs
