"""How long the viewers of each arm have watched, made sharper by what they watched the week before (CUPED).

Counted by viewer, not by play: whoever plays often must not count often. What a viewer watched in
the seven days before the trial cannot be the trial's doing; the part of today's viewing that it
explains is taken off, with one slope for all arms. Read from the Parquet files by DuckDB, which
runs in a thread of its own. Where there is no history it says so, and nothing is adjusted. It
informs and decides nothing. (Deng et al. 2013; Waudby-Smith et al. arXiv 2103.06476 for the
interval.) Enter at `viewing`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec
import numpy as np

from redqueen.stats import means
from redqueen.stats.arrays import Floats
from redqueen.trials.model import CONTROL

WEEK_S: Final = 7 * 86_400
LEAST_VIEWERS: Final = 100
"""Per arm: below, the interval of a mean is not to be trusted."""
LEAST_KNOWN: Final = 0.05
"""Share of the viewers who must have been here the week before for that to help."""

_SQL: Final = """
WITH plays AS (
  SELECT viewer, session, min("second") AS at_s, max(played_ms) / 1000.0 AS played_s,
    any_value(map_extract_value(arms, $1)) AS arm
  FROM events GROUP BY viewer, session
), since AS (
  SELECT viewer, min(arm) AS arm, count(DISTINCT arm) AS arms, least(sum(played_s), $3) AS y
  FROM plays WHERE arm IS NOT NULL AND at_s >= $2 GROUP BY viewer
), week AS (
  SELECT viewer, least(sum(played_s), $3) AS x FROM plays WHERE at_s < $2 GROUP BY viewer
)
SELECT arm, count(*), sum(y), sum(y * y), sum(coalesce(x, 0)), sum(coalesce(x, 0) ** 2), sum(coalesce(x, 0) * y),
  count(x)
FROM since LEFT JOIN week USING (viewer) WHERE arms = 1 GROUP BY arm ORDER BY arm
"""
_MOST_S: Final = 40 * 3600.0
"""Hours of a week beyond which somebody counts as having watched so long: one screen left on decides nothing."""


class Events(Protocol):
    """What is asked of the region's events."""

    async def query(self, since: float, until: float, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return what `sql` says of the view `events` of sessions granted in [since, until)."""
        ...


class Watched(msgspec.Struct, frozen=True, omit_defaults=True):
    """One treatment against the control: seconds played by viewer since the start."""

    arm: str
    viewers: int
    control_viewers: int
    mean_s: float
    control_mean_s: float
    difference_s: float
    low_s: float | None
    high_s: float | None
    """95% confidence sequence of the difference, adjusted; None while there are too few viewers."""
    raw_difference_s: float
    spread_left: float
    """Share of the variance that the week before did not explain; 1: nothing was adjusted."""


class Viewing(msgspec.Struct, frozen=True):
    """All treatments, and what was done with the week before, in words."""

    arms: tuple[Watched, ...]
    note: str


async def viewing(events: Events, trial: str, started_s: float, now_s: float, alpha: float = 0.05) -> Viewing:
    """Return how long viewers have watched, as far as their events are in the object store."""
    rows = await events.query(started_s - WEEK_S, now_s, _SQL, (trial, started_s, _MOST_S))
    return compared(rows, alpha)


def compared(rows: Sequence[tuple[Any, ...]], alpha: float = 0.05) -> Viewing:
    """Compare arms by (arm, viewers, y, yy, x, xx, xy, viewers known from before) each; the control is one of them."""
    sums = {str(row[0]): np.array([float(value) for value in row[1:7]]) for row in rows}
    known = sum(int(row[7]) for row in rows)
    everybody = sum(float(one[0]) for one in sums.values())
    if CONTROL not in sums or len(sums) < 2:
        return Viewing((), "no viewer of both arms is in the object store yet: events arrive there after some minutes")
    adjusts = known >= LEAST_KNOWN * everybody
    if not adjusts:
        for one in sums.values():
            one[3:] = 0.0
    control = sums.pop(CONTROL)
    arms = tuple(_watched(arm, treated, control, alpha) for arm, treated in sorted(sums.items()))
    return Viewing(arms, _note(known, everybody, adjusts))


def _note(known: int, everybody: float, adjusts: bool) -> str:
    share = f"{known} of {everybody:.0f} viewers were here in the week before the start"
    if adjusts:
        return f"{share}: what they watched then is taken into account (CUPED)"
    return f"{share}: too few to take into account, nothing is adjusted"


def _watched(arm: str, treated: Floats, control: Floats, alpha: float) -> Watched:
    kept = means.block(np.stack([treated, control])[:, None, :])
    score, information = (float(value) for value in means.combine(kept))
    raw_kept = means.block(np.stack([_without(treated), _without(control)])[:, None, :])
    raw_score, raw_information = (float(value) for value in means.combine(raw_kept))
    fewest = min(treated[0], control[0])
    mean, control_mean = treated[1] / treated[0], control[1] / control[0]
    difference = score / information if information > 0 else mean - control_mean
    half = _half_width(information, float(treated[0] + control[0]), alpha) if fewest >= LEAST_VIEWERS else None
    return Watched(
        arm=arm,
        viewers=int(treated[0]),
        control_viewers=int(control[0]),
        mean_s=float(mean),
        control_mean_s=float(control_mean),
        difference_s=difference,
        low_s=None if half is None else difference - half,
        high_s=None if half is None else difference + half,
        raw_difference_s=raw_score / raw_information if raw_information > 0 else float(mean - control_mean),
        spread_left=min(1.0, raw_information / information) if information > 0 and raw_information > 0 else 1.0,
    )


def _without(sums: Floats) -> Floats:
    return np.concatenate([sums[:3], np.zeros(3)])


def _half_width(information: float, viewers: float, alpha: float) -> float | None:
    if information <= 0:
        return None
    error = np.array(1.0 / math.sqrt(information))
    return float(means.half_width(error, np.array(viewers), means.tuning(alpha, max(viewers, 1000.0)), alpha))
