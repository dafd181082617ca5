"""What a subscriber of the push stream is told next, given where it stands.

A new subscriber, one of another epoch, or one that fell too far behind gets the full set; any
other gets the changes since its version, or a beat. Refuses queues: the history is the queue,
bounded and shared, so that a slow subscriber costs nothing and holds nobody up; what many need
is encoded once. Enter at `tell` and `Told`.
"""

from __future__ import annotations

from redqueen.registry import history
from redqueen.registry.ledger import Ledger
from redqueen.registry.messages import BeatMessage, Changed, Full, Removed, StreamMessage, encode
from redqueen.registry.model import Action, visible

BEAT_S = 0.5
"""Seconds between beats: a watcher that hears nothing for a few of them turns to the other registry."""


def tell(ledger: Ledger, epoch: str, version: int) -> StreamMessage:
    """Choose the next message for a subscriber that knows `version` of `epoch`."""
    if epoch != ledger.epoch:
        return full(ledger)
    if version == ledger.version:
        return BeatMessage(ledger.epoch, version)
    changes = history.since(ledger.history, version)
    if changes is None:
        return full(ledger)
    upserts = tuple(visible(c.record) for c in changes if c.action is not Action.DELETED)
    removed = tuple(Removed(c.record.identity, c.because) for c in changes if c.action is Action.DELETED)
    return Changed(ledger.epoch, ledger.version, upserts, removed)


def full(ledger: Ledger) -> Full:
    """Tell all that is believed, and what lately ceased to be."""
    instances = tuple(visible(record) for record in ledger.living())
    ended = [entry.stored for _, entry in sorted(ledger.table.ended.items())]
    removed = tuple(Removed(r.identity, r.gone or "its lease ran out") for r in ended)
    return Full(ledger.epoch, ledger.version, instances, removed)


class Told:
    """The lines of the present state, encoded once for all who stand at the same version."""

    def __init__(self) -> None:
        self._version = -1
        self._lines: dict[tuple[str, int], bytes] = {}

    def line(self, ledger: Ledger, epoch: str, version: int) -> tuple[bytes, int]:
        """Give the next line for a subscriber that knows `version` of `epoch`, and where it stands then."""
        if self._version != ledger.version:
            self._version = ledger.version
            self._lines.clear()
        # All who know nothing of this life are told the same.
        key = (epoch, version) if epoch == ledger.epoch else ("", 0)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = encode(tell(ledger, epoch, version)) + b"\n"
        return line, ledger.version
