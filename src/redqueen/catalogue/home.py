"""The rows of the home page. Pure.

Decides what a viewer sees first: what they have begun, what is new, the samples, and everything
once there is more than fits a row. A title that failed is shown only to its maker, in the
console. Enter at `rows`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redqueen.catalogue.model import State, Title

ROW_LENGTH = 24
WATCHABLE = (State.PLAYABLE, State.COMPLETE)


@dataclass(frozen=True, slots=True)
class Watching:
    """Where a viewer stopped in a title, and when (epoch seconds)."""

    position_s: float
    at: float


@dataclass(frozen=True, slots=True)
class Row:
    """A named strip of titles; `key` is stable, `title` is for people."""

    key: str
    title: str
    items: tuple[Title, ...]


def rows(titles: Sequence[Title], watching: Mapping[str, Watching]) -> list[Row]:
    """Return the rows that are not empty, in the order of the page."""
    newest = sorted(titles, key=lambda title: (-title.created_at, title.id))
    shown = [title for title in newest if title.state is not State.FAILED]
    own = [title for title in shown if not title.sample]
    begun = [title for title in shown if title.id in watching and title.state in WATCHABLE]
    begun.sort(key=lambda title: (-watching[title.id].at, title.id))
    candidates = [
        _row("continue", "Continue watching", begun),
        _row("new", "New", own),
        _row("samples", "Samples", [title for title in shown if title.sample]),
    ]
    if len(own) > ROW_LENGTH:
        alphabetical = sorted((title for title in own if title.state in WATCHABLE), key=lambda t: t.title.casefold())
        candidates.append(Row("all", "All titles", tuple(alphabetical)))
    return [row for row in candidates if row.items]


def ordered(shown: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    """Return the rows that `keys` name, in that order, then the others as they were."""
    place = {key: number for number, key in reversed(list(enumerate(keys)))}
    return sorted(shown, key=lambda row: place.get(row.key, len(keys)))


def _row(key: str, title: str, items: Sequence[Title]) -> Row:
    return Row(key, title, tuple(items[:ROW_LENGTH]))
