"""What one look takes of what all nodes told, how far the trial has then seen, and what was missing.

A trial that counts sessions takes them by the stretches in which viewers were drawn alike, and the
gateways' figures as soon as they are there: these are told apart by arm where they are counted.
A look from which more than a tenth of the nodes are missing names them: nothing is concluded from
it. Pure. Enter at `window` and `seen`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from redqueen.errors import Broken
from redqueen.telemetry.model import FigureBin, SessionRow
from redqueen.trials import collecting, metrics, stretches
from redqueen.trials.collecting import Gap, Taken
from redqueen.trials.ledger import Head
from redqueen.trials.measures import Measures
from redqueen.trials.model import Subject
from redqueen.trials.stretches import Window

_OF_GATEWAYS: Final = frozenset(name for name, one in metrics.CATALOGUE.items() if one.source is metrics.Source.FIGURES)


@dataclass(frozen=True, slots=True)
class Data:
    """What all nodes told in this turn, as far as it may be judged."""

    sessions: Taken[SessionRow] | None = None
    figures: Taken[FigureBin] | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look takes of the data, and how far the trial has then seen."""

    rows: tuple[SessionRow, ...]
    bins: tuple[FigureBin, ...]
    sessions_until: int
    figures_until: int
    gaps: tuple[Gap, ...]
    missing: str


def window(head: Head, data: Data) -> Window | None:
    """Return the seconds of the next look, as far as the data reach."""
    measures = fixed(head)
    known = data.sessions if measures.by_sessions else data.figures
    if known is None:
        return None
    cursor = max(known.since, head.sessions_until if measures.by_sessions else head.figures_until)
    return stretches.next_look(head.life.stretches, cursor, known.until, slow=head.trial.for_ever)


def seen(head: Head, window: Window, data: Data) -> Seen:
    """Return the look's data. A trial that counts sessions takes figures as soon as they are there.

    These are told apart by arm at the gateways, so that it does not matter to which stretch they belong. Of a flag,
    or of nothing, gateways know nothing: there api nodes' counts of the look's own seconds stand for them.
    """
    measures, name = fixed(head), head.trial.id
    first, until = window.first, window.until
    sessions, figures = data.sessions, data.figures
    rows: tuple[SessionRow, ...] = ()
    if measures.by_sessions and sessions is not None:
        rows = tuple(row for row in sessions.rows if first <= row.second < until and name in row.arms)
        since, end = head.figures_until, head.figures_until if figures is None else figures.until
    else:
        since, end = first, until
    by_gateways = head.trial.subject is Subject.RELEASE
    if by_gateways:
        told = () if figures is None else (one for one in figures.rows if since <= one.second < end)
    else:
        told = () if sessions is None else (one for one in sessions.counts if first <= one.second < until)
    bins = (one for one in told if one.trial == name)
    by_figures = by_gateways and _by_figures(measures)
    gaps = [
        *_clipped(sessions if measures.by_sessions else None, head.sessions_until, until),
        *_clipped(figures if by_figures else None, head.figures_until, end),
    ]
    thin = [
        *_overlapping(sessions if measures.by_sessions else None, head.sessions_until, until),
        *_overlapping(figures if by_figures else None, head.figures_until, end),
    ]
    nodes = ", ".join(sorted({gap.node or "any node" for gap in gaps}))
    return Seen(
        collecting.merged(rows),
        collecting.ordered(bins),
        until if measures.by_sessions else head.sessions_until,
        max(end, head.figures_until),
        tuple(gaps),
        f"nothing was heard from {nodes}" if gaps and thin else "",
    )


def _overlapping(taken: Taken[SessionRow] | Taken[FigureBin] | None, since: int, until: int) -> list[tuple[int, int]]:
    lost = [(gap.first, gap.until) for gap in _lost(taken, since)]
    return lost + [part for part in (taken.thin if taken else ()) if part[0] < until and part[1] > since]


def _clipped(taken: Taken[SessionRow] | Taken[FigureBin] | None, since: int, until: int) -> list[Gap]:
    clipped = [Gap(gap.node, max(gap.first, since), min(gap.until, until)) for gap in (taken.gaps if taken else ())]
    return _lost(taken, since) + [gap for gap in clipped if gap.first < gap.until]


def _lost(taken: Taken[SessionRow] | Taken[FigureBin] | None, since: int) -> list[Gap]:
    """Name the seconds that no node keeps any more, because nobody led for too long."""
    return [Gap("", since, taken.since)] if taken and since < taken.since else []


def _by_figures(measures: Measures) -> bool:
    return not measures.by_sessions or any(one.metric in _OF_GATEWAYS for one in measures.judged)


def fixed(head: Head) -> Measures:
    """Return what a running trial is judged by. Raises Broken where it is not known."""
    if head.measures is None:
        raise Broken("trial.unmeasured", f"{head.trial.id} runs without measures", hint="Report this")
    return head.measures
