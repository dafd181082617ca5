"""Which seconds make the next look: never across a change of the split, never what was drawn on the way.

A stretch is a time in which viewers are drawn alike. Nodes follow a change within SETTLE_S; what
was granted meanwhile belongs to neither side and is not judged. Looks come every second at first
and more slowly later (an e-value may be looked at whenever one likes; this bounds what is stored).
Pure. Enter at `next_look`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redqueen.trials.life import Stretch

SETTLE_S: Final = 4
"""Nodes read the armed trials each second; a gateway then writes its files; one second to spare."""
_SLOWER: Final = 600.0
"""A look spans the elapsed time over this: in the first ten minutes a second, after an hour six."""
_LONGEST_S: Final = 10
PERMANENT_S: Final = 30
"""A look of a permanent A/A trial: nobody waits for it, and it is stored for a day."""


@dataclass(frozen=True, slots=True)
class Window:
    """The seconds [first, until) of one look, drawn as `stretch` says."""

    first: int
    until: int
    stretch: Stretch


def next_look(stretches: Sequence[Stretch], cursor: int, known_until: int, *, slow: bool = False) -> Window | None:
    """Return the look after `cursor` of what is known up to `known_until`; None: wait for more."""
    for position, stretch in enumerate(stretches):
        later = stretches[position + 1 :]
        begin = max(cursor, settled(stretch))
        end = math.floor(later[0].from_s) if later else known_until
        if begin >= end:
            continue
        until = min(end, known_until)
        # What a change of the split leaves over is taken as it is: nothing can be added to it.
        whole = until == end and bool(later)
        if until - begin < (1 if whole else PERMANENT_S if slow else pace_s(stretches[0], begin)):
            return None
        return Window(begin, until, stretch)
    return None


def settled(stretch: Stretch) -> int:
    """Return the first second in which every node draws viewers as the stretch says."""
    return math.ceil(stretch.from_s) + SETTLE_S


def pace_s(first: Stretch, second: int) -> int:
    """Return how many seconds a look spans, at a second of the trial."""
    return min(_LONGEST_S, max(1, int((second - first.from_s) / _SLOWER)))
