"""The one owner of a registry's state: the table, its history, and what the peers have not heard.

`apply` is the only way to change it: one event, one moment, on behalf of one caller; it then wakes
whoever waits. `renew` is the same for heartbeats, without the ceremony. Refuses what the caller
has no right to, and to do any I/O; the rules decide the rest. Enter at `Ledger.apply`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import anyio

from redqueen.registry import calls, history, leases, rights
from redqueen.registry.calls import Event, Outcome, Renew, Reply
from redqueen.registry.history import History
from redqueen.registry.model import Change, Identity, Moment, Record
from redqueen.registry.reads import Shelf
from redqueen.registry.rights import ITSELF, Caller
from redqueen.registry.table import Entry, Table


@dataclass(slots=True)
class Outbox:
    """What one peer has not been told: bounded by the number of identities."""

    records: dict[Identity, None] = field(default_factory=dict[Identity, None])
    beats: dict[Entry, None] = field(default_factory=dict[Entry, None])
    ready: anyio.Event = field(default_factory=anyio.Event)

    def take(self, most: int) -> tuple[list[Identity], list[Identity]]:
        """Take out some identities whose record changed, and some that were only heard."""
        records = [self.records.popitem()[0] for _ in range(min(most, len(self.records)))]
        beats = [self.beats.popitem()[0].identity for _ in range(min(most, len(self.beats)))]
        if not self.records and not self.beats:
            self.ready = anyio.Event()
        return records, beats

    def clear(self) -> None:
        """Forget what was to be told."""
        self.records.clear()
        self.beats.clear()
        self.ready = anyio.Event()


class Ledger:
    """One registry's state and its waiting readers. `own` is where it listens, once that is known."""

    def __init__(self, epoch: str, now: Moment, own: tuple[str, int] = ("", 0)) -> None:
        self.epoch = epoch
        self.table = Table(origin=epoch, own=own)
        self.history = History(base=now.wall_ms)
        self.shelf = Shelf()
        self.outboxes: list[Outbox] = []
        self._changed = anyio.Event()
        self.dirty = False
        """Whether anything changed since the last snapshot."""
        self._living: list[Record] | None = None

    @property
    def version(self) -> int:
        """Give the version of the last visible change."""
        return self.history.version

    def load(self, records: Iterable[Record], now: Moment) -> None:
        """Take a snapshot's records."""
        leases.load(self.table, records, now)
        self._living = None

    def apply(self, event: Event, now: Moment, by: Caller = ITSELF) -> Outcome:
        """Change the state by one event, if `by` may do that, and wake whoever waits for it."""
        if not by.commands and (because := self._refusal(event, by)):
            return Outcome(Reply.REFUSED, because=because)
        if by.owner and isinstance(event, calls.Register):
            event = replace(event, owner=by.owner)
        outcome = leases.step(self.table, event, now)
        only_heard = isinstance(event, Renew | calls.MergeBeats) and not outcome.changes
        self.dirty |= bool(outcome.touched) and not only_heard
        self._tell_peers(outcome.news, only_heard=only_heard)
        self._publish(outcome.changes, now)
        return outcome

    def renew(self, event: Renew, now: Moment, by: Caller = ITSELF) -> Reply:
        """Take a heartbeat. The common case, an instance that lives, costs neither event nor outcome."""
        entry = self.table.find(event.identity)
        if entry is None:
            return Reply.UNKNOWN
        if entry.stored.lapsed or (by.owner != entry.stored.owner and not by.commands):
            return self.apply(event, now, by).reply
        reply, _ = leases.beat(entry, event.dirty_at_ms, replicated=event.replicated, now=now)
        if reply is Reply.DONE:
            for outbox in self.outboxes:
                outbox.beats[entry] = None
                outbox.ready.set()
        return reply

    @property
    def changed(self) -> anyio.Event:
        """Give what is set at the next change: take it, then look at the state, then wait."""
        if self._changed.is_set():
            self._changed = anyio.Event()
        return self._changed

    def wake(self) -> None:
        """Wake whoever waits for a change, though there is none."""
        self._changed.set()

    def _refusal(self, event: Event, by: Caller) -> str:
        owner = self.table.owner
        match event:
            case calls.Register():
                return rights.refusal(by, rights.names_of(event.instance), owner)
            case calls.Renew() | calls.Cancel():
                entry = self.table.find(event.identity)
                if entry is None:
                    return rights.refusal(by, (), owner)
                return rights.refusal_to_touch(by, entry.stored.owner, entry.names, owner)
            case calls.Override() | calls.ClearOverride() | calls.SetMetadata():
                entry = self.table.find(event.identity)
                return rights.refusal(by, () if entry is None else entry.names, owner)
            case _:
                return "Only the region may say that"

    def _tell_peers(self, news: tuple[Identity, ...], *, only_heard: bool) -> None:
        if not news:
            return
        for outbox in self.outboxes:
            for identity in news:
                entry = self.table.find(identity)
                if only_heard and entry is not None:
                    outbox.beats[entry] = None
                else:
                    outbox.records[identity] = None
            outbox.ready.set()

    def _publish(self, changes: tuple[Change, ...], now: Moment) -> None:
        history.add(self.history, changes, now.mono_s)
        if changes:
            self._living = None
            self.wake()

    def living(self) -> list[Record]:
        """List the records that readers see, ordered by identity, as of the last visible change."""
        if self._living is None:
            self._living = self.table.living()
        return self._living

    def find(self, identity: Identity) -> Record | None:
        """Give the living record of one identity."""
        entry = self.table.find(identity)
        return entry.record if entry is not None and entry.living else None
