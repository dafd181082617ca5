"""The special functions of scipy that the judge needs, loaded when one is first asked for.

Half a second of a core goes into loading them, and most nodes and commands never judge anything.
Whoever is about to judge calls `load` beside its event loop. Enter at `gammaln` and `log_factorial`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from redqueen.stats.arrays import Counts, Floats, floats

_TABLE_SIZE = 1 << 14


def load() -> None:
    """Load them now."""
    _log_factorials()


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


def log_factorial(values: Counts) -> Floats:
    """Return log(values!) of whole numbers, from a table where that is long enough; any number for negative ones."""
    table = _log_factorials()
    if values.size and values.max() >= table.size:
        return gammaln(floats(values) + 1.0)
    return table[values.astype(np.intp, copy=False)]


@lru_cache(maxsize=1)
def _log_factorials() -> Floats:
    table = gammaln(np.arange(1.0, _TABLE_SIZE + 1.0))
    table.setflags(write=False)
    return table
