"""Who gets which part of a layer: trials that stand in it side by side never share a viewer.

A layer is one hash of all viewers into 2^20 buckets. A running trial holds a range of it from the
start to the end; two layers are independent of each other. The top of a layer may be held out:
viewers there are in none of its trials, so that what all of them together changed can be seen.
Refuses a trial when what is left in one piece is too small, and says who holds the rest; and one
whose service or flag is tried in another layer already, where both would have the same viewers and
only one could be given to them. Pure. Enter at `placed` and `unrivalled`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from redqueen.errors import Conflict, InvalidInput
from redqueen.trials.model import BUCKETS, Armed, Subject, Trial


@dataclass(frozen=True, slots=True)
class Range:
    """Buckets [first, last) of a layer, held by a trial."""

    first: int
    last: int
    trial: str = ""


def taken(layer_salt: int, armed: Iterable[Armed]) -> list[Range]:
    """Return what running trials hold of a layer."""
    return [Range(one.layer_first, one.layer_last, one.trial) for one in armed if one.layer_salt == layer_salt]


def unrivalled(trial: Trial, running: Iterable[Armed | Trial]) -> None:
    """Raise Conflict where a trial of the same service or flag runs in another layer."""
    for one in running:
        name = one.trial if isinstance(one, Armed) else one.id
        same = (one.subject, one.target) == (trial.subject, trial.target) and trial.subject is not Subject.NOTHING
        if same and one.layer != trial.layer and name != trial.id:
            raise Conflict(
                "layer-rival",
                f"{trial.target} is tried by {name} already, in the layer {one.layer}.",
                why=f"A viewer in both could be given only one of them; {trial.id} asks for the layer {trial.layer}.",
                hint=f"Use the layer {one.layer}, or wait until {name} has ended.",
            )


def placed(layer: str, share: float, held: Iterable[Range], *, trial: str = "", holdout: float = 0.0) -> Range:
    """Return the first free range of `share` of the layer. Shares in (0, 1], `holdout` in [0, 1).

    Raises InvalidInput for a share out of range and Conflict when the layer has no such piece left.
    """
    if not (0.0 < share <= 1.0 and 0.0 <= holdout < 1.0):
        raise InvalidInput(
            "layer-share",
            f"A trial cannot have {share:g} of a layer with {holdout:g} held out.",
            hint="The share must be above 0 and at most 1, the holdout at least 0 and below 1.",
        )
    end, need = BUCKETS - round(holdout * BUCKETS), max(1, round(share * BUCKETS))
    others = sorted((one for one in held if one.trial != trial or not trial), key=lambda one: one.first)
    first = 0
    for one in (*others, Range(end, end)):
        if min(one.first, end) - first >= need:
            return Range(first, first + need, trial)
        first = max(first, one.last)
    names = ", ".join(sorted({one.trial for one in others if one.trial})) or "nobody"
    raise Conflict(
        "layer-full",
        f"The layer {layer} has no {share:.0%} of its viewers left in one piece.",
        why=f"Held by {names}" + (f"; {holdout:.0%} are held out." if holdout else "."),
        hint="Wait until a trial there has ended, ask for a smaller share, or use a layer of its own.",
    )
