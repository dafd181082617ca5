"""The flags that Red Queen itself reads: what they may be, and what they are where nobody changed them.

`home.row_order` is felt when the home page is delivered, `player.start_rung` when a play is granted.
The leader makes them in a new region. Refuses nothing: a value that fits nothing is as if absent.
Pure. Enter at `OWN` and `row_order`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from redqueen.experiments.flags import Flag, FlagKind

ROW_ORDER: Final = "home.row_order"
START_RUNG: Final = "player.start_rung"
PLAYER: Final = "player."
"""Flags that begin like this are handed to the player with each play's grant, and felt then."""
HOME: Final = "home."
"""Flags that begin like this are felt when the home page is delivered."""

OWN: Final = (
    Flag(
        key=ROW_ORDER,
        kind=FlagKind.OBJECT,
        variants={
            "usual": ["continue", "new", "samples", "all"],
            "new-first": ["new", "continue", "samples", "all"],
        },
        default="usual",
        description="The home page's rows by their keys, from the top; rows that are not named follow.",
        browser=True,
    ),
    Flag(
        key=START_RUNG,
        kind=FlagKind.INTEGER,
        variants={"auto": 0, "low": 240, "high": 720},
        default="auto",
        description="A play begins with the best rung of at most so many lines; 0: what the player estimates.",
        browser=True,
    ),
)


def felt_early(key: str) -> bool:
    """Tell whether a flag is felt before any play, when a page or the flag itself is served."""
    return not key.startswith(PLAYER)


def is_own(key: str) -> bool:
    """Tell whether Red Queen itself reads a flag, so that it cannot be removed."""
    return any(flag.key == key for flag in OWN)


def row_order(value: Any) -> Sequence[str]:
    """Return the row keys of a value of `home.row_order`; what is no list of texts is an empty one."""
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [item for item in items if isinstance(item, str)]
