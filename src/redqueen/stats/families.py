"""Many e-values at once: who may be blamed, what may be promoted, which segments stand out.

A wrong rollback by any of K metrics is bounded by averaging their e-values (weights fixed in
advance); the average reaches 1/alpha whenever one of them reaches its e-Bonferroni bound, and
sometimes sooner. Promotion needs every guardrail (intersection-union, no correction). Segments on
a dashboard go through e-BH, which bounds the share of false ones; running maxima must be adjusted
first. (Wang & Ramdas arXiv 2009.02824; Vovk & Wang 2021 for averages.)
"""

from __future__ import annotations

import numpy as np

from redqueen.stats.arrays import Bools, Floats, floats, log_sum_exp


def log_average(log_e: Floats, weights: Floats) -> Floats:
    """Return the log of the weighted average: an e-value against "no null is false". [..., K] to [...]."""
    shares = floats(weights) / np.sum(weights)
    return log_sum_exp(log_e + np.log(shares))


def bonferroni(log_e: Floats, weights: Floats, alpha: float) -> Bools:
    """Tell which nulls fall with the family's error at most `alpha` (each E at its share of alpha). [..., K]."""
    shares = floats(weights) / np.sum(weights)
    return log_e >= -np.log(alpha * shares)


def all_rejected(log_e: Floats, alpha: float) -> Bools:
    """Tell whether every null falls at level `alpha`: intersection-union, no correction. [..., K] to [...]."""
    return np.all(log_e >= -np.log(alpha), axis=-1)


def e_bh(log_e: Floats, alpha: float) -> Bools:
    """Tell which of K nulls fall with the false discovery rate at most `alpha` (any dependence). [K]."""
    count = log_e.size
    order = np.argsort(-log_e, kind="stable")
    enough = log_e[order] >= np.log(count / (alpha * np.arange(1.0, count + 1.0)))
    rejected = np.zeros(count, dtype=np.bool_)
    if enough.any():
        rejected[order[: np.flatnonzero(enough)[-1] + 1]] = True
    return rejected


def adjusted(log_peak: Floats) -> Floats:
    """Turn running maxima M of e-processes into e-values, A(M) = sqrt(M) - 1 (at least 0)."""
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(np.expm1(0.5 * np.maximum(log_peak, 0.0)), 0.0))
