"""The one owner of a registry's state: the table, its history, and what the peers have not heard.

`apply` is the only way to change it: one event, one moment; it then wakes whoever waits. Refuses
to decide anything (the rules do) and to do any I/O. Enter at `Ledger.apply`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import anyio

from redqueen.registry import history, leases
from redqueen.registry.calls import Event, Merge, MergeBeats, Outcome, Renew
from redqueen.registry.history import History
from redqueen.registry.leases import Table
from redqueen.registry.model import Change, Identity, Moment, Record


@dataclass(slots=True)
class Outbox:
    """What one peer has not been told: bounded by the number of identities."""

    records: set[Identity] = field(default_factory=set[Identity])
    beats: set[Identity] = field(default_factory=set[Identity])
    ready: anyio.Event = field(default_factory=anyio.Event)

    def take(self) -> tuple[set[Identity], set[Identity]]:
        """Empty the box: identities whose record changed, and those that were only heard."""
        records, beats = self.records, self.beats - self.records
        self.records, self.beats, self.ready = set(), set(), anyio.Event()
        return records, beats


class Ledger:
    """One registry's state and its waiting readers."""

    def __init__(self, epoch: str, now: Moment) -> None:
        self.epoch = epoch
        self.table = Table(origin=epoch)
        self.history = History(base=now.wall_ms)
        self.outboxes: list[Outbox] = []
        self.changed = anyio.Event()
        self.dirty = False
        """Whether anything changed since the last snapshot."""

    @property
    def version(self) -> int:
        """Give the version of the last visible change."""
        return self.history.version

    def load(self, records: Iterable[Record], now: Moment) -> None:
        """Take a snapshot's records."""
        leases.load(self.table, records, now)

    def apply(self, event: Event, now: Moment) -> Outcome:
        """Change the state by one event and wake whoever waits for it."""
        outcome = leases.step(self.table, event, now)
        only_heard = isinstance(event, Renew | MergeBeats) and not outcome.changes
        self.dirty |= bool(outcome.touched) and not only_heard
        if not isinstance(event, Merge | MergeBeats):
            self._tell_peers(outcome.touched, only_heard=only_heard)
        self._publish(outcome.changes, now)
        return outcome

    def wake(self) -> None:
        """Wake whoever waits for a change, though there is none."""
        self.changed.set()
        self.changed = anyio.Event()

    def _tell_peers(self, touched: tuple[Identity, ...], *, only_heard: bool) -> None:
        for outbox in self.outboxes if touched else ():
            (outbox.beats if only_heard else outbox.records).update(touched)
            outbox.ready.set()

    def _publish(self, changes: tuple[Change, ...], now: Moment) -> None:
        history.add(self.history, changes, now.mono_s)
        if changes:
            self.wake()

    def living(self) -> list[Record]:
        """List the records that readers see, ordered by identity."""
        return [r for _, r in sorted(self.table.records.items()) if r.living]

    def find(self, identity: Identity) -> Record | None:
        """Give the living record of one identity."""
        record = self.table.records.get(identity)
        return record if record is not None and record.living else None
