"""Which arm a viewer is in: the same answer on every node, for as long as a trial runs.

A viewer's bucket is the upper 20 bits of XXH64 of the eight key bytes (little-endian), seeded by a
salt of 64 bits. The layer's bucket says whether a trial may have the viewer at all, the trial's own
bucket says the arm; the audience says who is meant. A viewer whom a trial may not have, or who is
not of its audience, is in no arm of it and is not counted. Pure. Enter at `Assigner` (all trials of
a node), `arm_of` (one), `buckets` (many viewers at once). (XXH64: Collet, xxHash specification.)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from xxhash import xxh64_intdigest

from redqueen.trials.model import Armed, Audience, Viewer

BUCKET_SHIFT = 44
"""64 bits less the 20 of a bucket."""
_AT_ONCE = 1 << 15
"""Keys hashed together: their temporaries stay in a core's cache."""

Keys: TypeAlias = npt.NDArray[np.uint64]
_Prepared: TypeAlias = tuple[str, Audience | None, int, tuple[int, ...], tuple[str, ...]]
_Layer: TypeAlias = tuple[int, tuple[tuple[int, int, _Prepared], ...]]

_P1, _P2, _P3, _P4, _P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
_MASK = (1 << 64) - 1


def salt_of(text: str) -> int:
    """Return the 64 bits that seed a trial's or a layer's hash."""
    return xxh64_intdigest(text.encode())


def bucket(key: int, salt: int) -> int:
    """Return a viewer's bucket in [0, 2^20). `key` and `salt` have 64 bits."""
    return xxh64_intdigest(key.to_bytes(8, "little"), salt) >> BUCKET_SHIFT


def buckets(keys: Keys, salt: int) -> npt.NDArray[np.uint32]:
    """Return many viewers' buckets. Shapes [N]."""
    found = np.empty(keys.size, dtype=np.uint32)
    for start in range(0, keys.size, _AT_ONCE):
        found[start : start + _AT_ONCE] = _hashed(keys[start : start + _AT_ONCE], salt) >> np.uint64(BUCKET_SHIFT)
    return found


def eligible(audience: Audience, viewer: Viewer) -> bool:
    """Tell whether a trial with this audience means the viewer."""
    return (
        (not audience.devices or viewer.device in audience.devices)
        and (not audience.zones or viewer.zone in audience.zones)
        and (not audience.countries or viewer.country in audience.countries)
        and (audience.returning is None or viewer.returning == audience.returning)
    )


def arm_of(armed: Armed, viewer: Viewer) -> str | None:
    """Return the viewer's arm in one trial; None: not in it."""
    if not eligible(armed.audience, viewer):
        return None
    if not armed.layer_first <= bucket(viewer.key, armed.layer_salt) < armed.layer_last:
        return None
    at = bucket(viewer.key, armed.salt)
    return next((arm.name for arm in armed.arms if arm.first <= at < arm.last), None)


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


class Assigner:
    """All trials of a node, prepared for one viewer after the other. Never changes: make a new one for new trials."""

    def __init__(self, armed: Iterable[Armed]) -> None:
        by_layer: dict[int, list[Armed]] = {}
        for one in armed:
            by_layer.setdefault(one.layer_salt, []).append(one)
        self._layers: tuple[_Layer, ...] = tuple(
            (salt, tuple((one.layer_first, one.layer_last, _prepared(one)) for one in trials))
            for salt, trials in by_layer.items()
        )

    def arms(self, viewer: Viewer) -> dict[str, str]:
        """Return the viewer's arm by trial, for each trial that has the viewer."""
        found: dict[str, str] = {}
        key = viewer.key.to_bytes(8, "little")
        for layer_salt, trials in self._layers:
            at = xxh64_intdigest(key, layer_salt) >> BUCKET_SHIFT
            for first, last, (trial, audience, salt, ends, names) in trials:
                if first <= at < last and (audience is None or eligible(audience, viewer)):
                    name = names[bisect_right(ends, xxh64_intdigest(key, salt) >> BUCKET_SHIFT)]
                    if name:
                        found[trial] = name
        return found


def _prepared(armed: Armed) -> _Prepared:
    """Return ranges as ascending ends with the name of each; buckets between arms, and past the last, have none."""
    ends: list[int] = []
    names: list[str] = []
    for arm in sorted(armed.arms, key=lambda arm: arm.first):
        if arm.first >= arm.last:
            continue
        if arm.first > (ends[-1] if ends else 0):
            ends.append(arm.first)
            names.append("")
        ends.append(arm.last)
        names.append(arm.name)
    return (
        armed.trial,
        None if armed.audience == Audience() else armed.audience,
        armed.salt,
        tuple(ends),
        (*names, ""),
    )


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


def counted(positions: npt.NDArray[np.int32], arms: int) -> Sequence[int]:
    """Return how many viewers `arms_of` put into each of the `arms`."""
    return np.bincount(positions[positions >= 0], minlength=arms).tolist()


Assign: TypeAlias = Callable[[Viewer], dict[str, str]]
"""What others need of an `Assigner`."""
