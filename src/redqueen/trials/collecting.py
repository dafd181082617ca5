"""When a second's data may be judged, what is taken of it, and what is missing.

A second is mature when its sessions' window and the lateness are over. It is taken whole once
every node has answered for it; a node that does not answer delays it by PATIENCE_S at most, and
what that node saw is then a gap: missing, never zero. Of a session known to several nodes the row
with the highest number stands. Each turn costs the seconds that are new, whatever came before.
Pure. Enter at `span` (what to ask for) and `taken` (what to do with the answers).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Generic

import msgspec

from redqueen.telemetry.model import LATENESS_S, WINDOW_S, FigureBin, SessionRow
from redqueen.trials.ports import Answers, Row

SESSIONS_MATURE_S: Final = WINDOW_S + LATENESS_S + 1
"""Age in seconds at which a second of sessions is mature; 1: the second itself must be over."""
FIGURES_MATURE_S: Final = 3
"""Age at which gateways have read a second of their Envoys' figures, with a second to spare."""
PATIENCE_S: Final = 6
"""How much longer a second waits for a node that does not answer."""
KEPT_S: Final = 540
"""How far back nodes are asked; they keep ten minutes."""
LEAST_HEARD: Final = 0.9
"""Share of nodes that must have answered for a second, or nothing is concluded from it."""
CATCH_UP_S: Final = 60
"""The most seconds taken at once, so that a leader who comes late catches up in bounded turns."""


class Gap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds [first, until) of which a node told nothing; no node: nobody could be asked any more."""

    node: str
    first: int
    until: int


@dataclass(frozen=True, slots=True)
class Span:
    """The seconds [since, until) to ask for; `lost` are seconds that no node keeps any more."""

    since: int
    until: int
    lost: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken(Generic[Row]):
    """The seconds [since, until) as far as they may be judged now; `heard` is the share of nodes that answered."""

    since: int
    until: int
    rows: tuple[Row, ...]
    gaps: tuple[Gap, ...]
    heard: float
    thin: tuple[tuple[int, int], ...] = ()
    """Seconds [first, until) in which too few nodes answered to conclude anything."""
    counts: tuple[FigureBin, ...] = ()
    """With sessions: what the same nodes counted by arm."""


def span(cursor: int, now_s: float, mature_s: int, again: int = 0) -> Span | None:
    """Decide which seconds from `cursor` on to ask for at `now_s`; None while there is nothing mature.

    `again`: up to where nodes were asked when one did not answer; asking for the same again lets a node
    whose clock is a little slow be heard, instead of always asking it for what it does not have yet.
    """
    newest = int(now_s) - mature_s + 1
    since = max(cursor, newest - KEPT_S)
    lost = (Gap("", cursor, since),) if since > cursor else ()
    until = min(newest, since + CATCH_UP_S, again if again > since else newest)
    return Span(since, until, lost) if until > since else None


def taken(asked: Span, answers: Answers[Row], now_s: float, mature_s: int) -> Taken[Row]:
    """Decide how far the answers may be taken: all of it, or what has waited long enough for the silent nodes."""
    until = asked.until
    if answers.silent or not answers.asked:
        until = min(until, max(asked.since, int(now_s) - mature_s + 1 - PATIENCE_S))
    missing = answers.silent if answers.asked else ("",)
    gaps = tuple(Gap(node, asked.since, until) for node in missing if until > asked.since)
    heard = 1.0 - len(answers.silent) / len(answers.asked) if answers.asked else 0.0
    rows = tuple(row for row in answers.rows if asked.since <= row.second < until)
    counts = tuple(one for one in answers.counts if asked.since <= one.second < until)
    thin = ((asked.since, until),) if heard < LEAST_HEARD and until > asked.since else ()
    lost = tuple((gap.first, gap.until) for gap in asked.lost)
    return Taken(asked.since, until, rows, asked.lost + gaps, heard, lost + thin, counts)


def extended(known: Taken[Row] | None, new: Taken[Row], wanted_from: int) -> Taken[Row]:
    """Put what is new to what was taken before and is still wanted, so that nodes are asked for a second once."""
    if known is None or known.until != new.since:
        return new
    return Taken(
        max(known.since, min(wanted_from, new.since)),
        new.until,
        (*(row for row in known.rows if row.second >= wanted_from), *new.rows),
        (*(gap for gap in known.gaps if gap.until > wanted_from), *new.gaps),
        new.heard,
        (*(part for part in known.thin if part[1] > wanted_from), *new.thin),
        (*(one for one in known.counts if one.second >= wanted_from), *new.counts),
    )


def merged(rows: Iterable[SessionRow]) -> tuple[SessionRow, ...]:
    """Return one row a session: the one with the highest number, the same whatever the order."""
    best: dict[int, SessionRow] = {}
    for row in rows:
        known = best.get(row.session)
        if known is None or _rank(row) > _rank(known):
            best[row.session] = row
    return tuple(best[session] for session in sorted(best))


def ordered(bins: Iterable[FigureBin]) -> tuple[FigureBin, ...]:
    """Return one bin a gateway, second, service and arm, the fuller where a gateway is told of twice."""
    best: dict[tuple[int, str, str, str, str], FigureBin] = {}
    for one in bins:
        key = (one.second, one.gateway, one.service, one.trial, one.arm)
        known = best.get(key)
        if known is None or one.requests > known.requests:
            best[key] = one
    return tuple(best[key] for key in sorted(best))


def _rank(row: SessionRow) -> tuple[int, bool, int, int]:
    # Rows of one number say the same; a node that was told wrongly must not decide by its place in the list.
    return row.seq, not row.failed, row.played_ms, row.delay_ms


def joined(known: tuple[Gap, ...], new: Iterable[Gap], most: int = 200) -> tuple[Gap, ...]:
    """Add gaps, growing one that goes on; the oldest are dropped beyond `most`."""
    gaps = list(known)
    for gap in new:
        last = next((at for at in range(len(gaps) - 1, -1, -1) if gaps[at].node == gap.node), -1)
        if last >= 0 and gap.first <= gaps[last].until:
            gaps[last] = Gap(gap.node, gaps[last].first, max(gaps[last].until, gap.until))
        else:
            gaps.append(gap)
    return tuple(gaps[-most:])
