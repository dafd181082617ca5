"""Which arm a viewer is in: the same answer on every node, for as long as a trial runs.

A viewer's bucket is the upper 20 bits of XXH64 of the eight key bytes (little-endian), seeded by a
salt of 64 bits. The layer's bucket says whether a trial may have the viewer at all, the trial's own
bucket says the arm; the audience says who is meant. A viewer whom a trial may not have, or who is
not of its audience, is in no arm of it and is not counted. Pure. Enter at `Assigner` (all trials of
a node) and `arm_of` (one); `populations.py` does many viewers at once.
(XXH64: Collet, xxHash specification.)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import TypeAlias

from xxhash import xxh64_intdigest

from redqueen.trials.model import Armed, Audience, Viewer

BUCKET_SHIFT = 44
"""64 bits less the 20 of a bucket."""

_Prepared: TypeAlias = tuple[str, Audience | None, int, tuple[int, ...], tuple[str, ...]]
_Layer: TypeAlias = tuple[int, tuple[tuple[int, int, _Prepared], ...]]


def salt_of(text: str) -> int:
    """Return the 64 bits that seed a trial's or a layer's hash."""
    return xxh64_intdigest(text.encode())


def bucket(key: int, salt: int) -> int:
    """Return a viewer's bucket in [0, 2^20). `key` and `salt` have 64 bits."""
    return xxh64_intdigest(key.to_bytes(8, "little"), salt) >> BUCKET_SHIFT


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


Assign: TypeAlias = Callable[[Viewer], dict[str, str]]
"""What others need of an `Assigner`."""
