"""The array types of this package, and the few numerics that must not leave log space.

E-values span hundreds of orders of magnitude, so they are kept as logs. Enter at `log_mean_exp`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Counts: TypeAlias = npt.NDArray[Any]
"""Whole numbers, as integers or as floats."""


def floats(values: npt.ArrayLike) -> Floats:
    """Return `values` as an array of doubles."""
    return np.asarray(values, dtype=np.float64)


def log_sum_exp(logs: Floats, axis: int = -1) -> Floats:
    """Return log(sum(exp(logs))) along `axis`; all -inf gives -inf."""
    peak = logs.max(axis=axis, keepdims=True)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(logs - peak).sum(axis=axis, keepdims=True))
    return np.squeeze(total + peak, axis=axis)


def log_mean_exp(logs: Floats, axis: int = -1) -> Floats:
    """Return the log of the average of e-values given as logs: itself an e-value."""
    return log_sum_exp(logs, axis=axis) - np.log(logs.shape[axis])
