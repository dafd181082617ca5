"""What changed lately: the memory behind Eureka's deltas and the push stream.

Every visible change gets the next version. Changes are kept for as long as Eureka's clients may
ask for them, and no more than a fixed number; who has missed more gets the full set. Refuses to
know subscribers: each of them holds its own position. Enter at `add`, `since`, `delta`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from redqueen.registry.model import Change, Identity

HELD_S = 200.0
"""Seconds that changes are held: Eureka's clients need at least 180."""
MOST = 20_000
"""Changes held at most: bounds memory under churn."""
CATCH_UP = 1_000
"""Changes that a subscriber may be behind before the full set is cheaper."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change with its version and when it happened (monotonic seconds)."""

    version: int
    at_s: float
    change: Change


@dataclass(slots=True)
class History:
    """The owner's state. `version` only grows; `base` differs from one life to the next."""

    base: int
    version: int = 0
    dropped: int = 0
    entries: deque[Entry] = field(default_factory=deque[Entry])


def add(history: History, changes: Iterable[Change], mono_s: float) -> None:
    """Remember changes, and forget those that nobody may ask for any more."""
    for change in changes:
        history.version += 1
        history.entries.append(Entry(history.version, mono_s, change))
    while history.entries and (len(history.entries) > MOST or mono_s - history.entries[0].at_s > HELD_S):
        history.entries.popleft()
        history.dropped += 1


def after(history: History, version: int) -> list[Change]:
    """List the held changes after `version`, oldest first."""
    count = min(history.version - version, len(history.entries))
    return [entry.change for entry in reversed(list(_latest(history, count)))]


def since(history: History, version: int) -> tuple[Change, ...] | None:
    """Give the last change of each identity after `version`; None when that needs the full set."""
    behind = history.version - version
    if behind < 0 or behind > min(len(history.entries), CATCH_UP):
        return None
    return _last(_latest(history, behind))


def _latest(history: History, count: int) -> Iterable[Entry]:
    return islice(reversed(history.entries), count)


def delta(history: History) -> tuple[Change, ...]:
    """Give the last held change of each identity, for Eureka's delta."""
    return _last(reversed(history.entries))


def delta_version(history: History) -> int:
    """Give a number that differs whenever the delta's content does, also across restarts."""
    return history.base + history.version + history.dropped


def _last(latest_first: Iterable[Entry]) -> tuple[Change, ...]:
    found: dict[Identity, Change] = {}
    for entry in latest_first:
        found.setdefault(entry.change.record.identity, entry.change)
    return tuple(found[i] for i in sorted(found))
