"""Which arms many viewers are in, at a million a second and more: for benches and for planning.

The same answers as `assignment.py` gives one by one; nodes that assign load none of this. Pure.
Enter at `arms_of` and `buckets`. (XXH64: Collet, xxHash specification.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from redqueen.trials.assignment import BUCKET_SHIFT
from redqueen.trials.model import Armed

_AT_ONCE = 1 << 15
"""Keys hashed together: their temporaries stay in a core's cache."""

Keys: TypeAlias = npt.NDArray[np.uint64]

_P1, _P2, _P3, _P4, _P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
_MASK = (1 << 64) - 1


def buckets(keys: Keys, salt: int) -> npt.NDArray[np.uint32]:
    """Return many viewers' buckets. Shapes [N]."""
    found = np.empty(keys.size, dtype=np.uint32)
    for start in range(0, keys.size, _AT_ONCE):
        found[start : start + _AT_ONCE] = _hashed(keys[start : start + _AT_ONCE], salt) >> np.uint64(BUCKET_SHIFT)
    return found


def arms_of(armed: Armed, keys: Keys) -> npt.NDArray[np.int32]:
    """Return the position in `armed.arms` of each viewer; -1: not in the trial. The audience is not asked. [N]."""
    edges = np.array([arm.first for arm in armed.arms], dtype=np.int64)
    ends = np.array([arm.last for arm in armed.arms], dtype=np.int64)
    at = buckets(keys, armed.salt).astype(np.int64)
    where = np.searchsorted(edges, at, side="right") - 1
    inside = (where >= 0) & (at < ends[where])
    if (armed.layer_first, armed.layer_last) != (0, 1 << 20):
        layer = buckets(keys, armed.layer_salt)
        inside &= (layer >= armed.layer_first) & (layer < armed.layer_last)
    return np.where(inside, where, -1).astype(np.int32)


def counted(positions: npt.NDArray[np.int32], arms: int) -> Sequence[int]:
    """Return how many viewers `arms_of` put into each of the `arms`."""
    return np.bincount(positions[positions >= 0], minlength=arms).tolist()


def _hashed(keys: Keys, salt: int) -> Keys:
    """Return XXH64 of eight bytes each, as the reference computes it for so short an input."""
    mixed = _turned(keys * np.uint64(_P2), 31) * np.uint64(_P1)
    mixed ^= np.uint64((salt + _P5 + 8) & _MASK)
    mixed = _turned(mixed, 27) * np.uint64(_P1) + np.uint64(_P4)
    for shift, factor in ((33, _P2), (29, _P3)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(32)
    return mixed


def _turned(values: Keys, bits: int) -> Keys:
    return (values << np.uint64(bits)) | (values >> np.uint64(64 - bits))
