"""The special functions of scipy that the judge needs, loaded when one is first asked for.

Half a second of a core goes into loading them, and most nodes and commands never judge anything.
Whoever is about to judge calls `load` beside its event loop. Enter at `gammaln` and `log_inverse_factorials`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from redqueen.stats.arrays import Counts, Floats, floats

_TABLE_SIZE, _BELOW = 1 << 14, 1 << 10
"""Numbers in the table of factorials: from 0, and below it."""


def load() -> None:
    """Load them now."""
    for step in (1, -1):
        _table(step)


def gammaln(x: Floats | float) -> Floats:
    """Return log |gamma(x)|."""
    from scipy import special

    return floats(special.gammaln(x))


def betaln(a: Floats | float, b: Floats | float) -> Floats:
    """Return log |beta(a, b)|."""
    from scipy import special

    return floats(special.betaln(a, b))


def betaincc(a: Floats | float, b: Floats | float, x: Floats | float) -> Floats:
    """Return the regularized incomplete beta function's complement."""
    from scipy import special

    return floats(special.betaincc(a, b, x))


def gammaincinv(a: Floats | float, y: Floats | float) -> Floats:
    """Return the x at which the regularized lower incomplete gamma function of `a` is `y`."""
    from scipy import special

    return floats(special.gammaincinv(a, y))


def log_inverse_factorials(first: Counts, count: int, step: int) -> Floats:
    """Return log(1 / n!) of the `count` whole numbers from `first` up (`step` 1) or down (-1). [N] to [N, count].

    It is -inf for numbers below 0: there are no ways to choose fewer than none. Runs come out of a table in one
    piece where it holds them.
    """
    if count > _BELOW or (first.size and int(first.max()) + count > _TABLE_SIZE):
        return -gammaln(first[:, None] + step * np.arange(float(count)) + 1.0)
    start = _BELOW + first if step > 0 else _TABLE_SIZE - 1 - first
    return _runs(count, step)[start]


@lru_cache(maxsize=64)
def _runs(count: int, step: int) -> Floats:
    """Return every run of `count` numbers of the table, up or down: views of one array. [_, count]."""
    return sliding_window_view(_table(step), count)


@lru_cache(maxsize=2)
def _table(step: int) -> Floats:
    """Return log(1 / n!) from -_BELOW up to _TABLE_SIZE - 1, or from there down."""
    table = -gammaln(np.arange(1.0 - _BELOW, _TABLE_SIZE + 1.0))[::step]
    table.setflags(write=False)
    return table
