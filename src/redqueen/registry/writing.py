"""How a record is put into the table, and what readers see change by that.

Every rule that changes a record ends here, so that the visible change, the peers' news and the
indexes cannot disagree. Enter at `write` and `alive`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from redqueen.registry.calls import Outcome
from redqueen.registry.model import Action, Change, Moment, Record, visible
from redqueen.registry.table import Entry, Table


def write(table: Table, entry: Entry, record: Record, because: str, now: Moment) -> Outcome:
    """Store a record; tell what readers see of it, and that the peers should hear of it."""
    before = entry.stored if entry.print or entry.identity in table.ended else None
    table.store(entry, record, now.mono_s)
    change = compare(before, record, because)
    identity = (entry.identity,)
    return Outcome(changes=(change,) if change else (), touched=identity, news=identity, because=because)


def compare(before: Record | None, after: Record, because: str) -> Change | None:
    """Tell what readers see change between two states of one record, if anything."""
    was = before is not None and before.living
    if after.living and not was:
        return Change(Action.ADDED, after, because)
    if was and not after.living:
        return Change(Action.DELETED, after, because)
    if before is not None and was and visible(before) != visible(after):
        return Change(Action.MODIFIED, after, because)
    return None


def next_beat(record: Record | None, now: Moment) -> int:
    """Stamp a sign of life: by the wall clock, and later than any that is known."""
    return now.wall_ms if record is None else max(record.beat_ms + 1, now.wall_ms)


def alive(table: Table, entry: Entry, because: str, now: Moment) -> Outcome:
    """Take a sign of life of an instance, lapsed or not."""
    record = entry.record
    record = replace(record, beat_ms=next_beat(record, now), lapsed=False)
    entry.believe_until(now.mono_s, record.instance.lease_s)
    entry.spared = 0
    return write(table, entry, record, because, now)


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """Put the outcomes of one event together."""
    known = list(outcomes)
    return Outcome(
        changes=tuple(c for o in known for c in o.changes),
        touched=tuple(i for o in known for i in o.touched),
        news=tuple(i for o in known for i in o.news),
    )
