"""What one registry says to one peer, and when: a state machine without sockets and clocks.

One message is under way at a time. Changes go at once (gathered for 20 ms, mere heartbeats for
100 ms); every two seconds, and whenever a peer answers again, it is asked whether both know the
same. After a silence nothing that was missed is remembered: the question finds the records, and
the peer is told everybody's last beat. Enter at `Conversation.next`.
"""

from __future__ import annotations

from collections import deque

from redqueen.registry import peering
from redqueen.registry.ledger import Ledger, Outbox
from redqueen.registry.messages import SYNC_FORMAT, SyncRequest, SyncResponse
from redqueen.registry.model import Identity, Moment

QUESTION_S = 2.0
"""Seconds between two questions; below our nodes' lease."""
RETRY_S = 0.25
PACE_S = 0.02
BEAT_PACE_S = 0.1
"""Seconds for which mere heartbeats are gathered: far below the shortest lease (1 s)."""


class Conversation:
    """One side of the talk with one peer; `reached` is None before the first answer or failure."""

    def __init__(self, ledger: Ledger) -> None:
        self.reached: bool | None = None
        self.outbox = Outbox()
        self._ledger = ledger
        self._epoch = ""
        self._old = False
        self._asked_s = float("-inf")
        self._told_s = float("-inf")
        self._last: SyncRequest | None = None
        self._settling: deque[tuple[list[Identity], list[Identity]]] = deque()
        ledger.outboxes.append(self.outbox)

    @property
    def settled(self) -> bool:
        """Tell whether the peer was asked, and has told what it knows or does not answer."""
        return self.reached is not None and not self._settling

    def next(self, now: Moment) -> SyncRequest | None:
        """Choose what to say now, if anything."""
        self._last = self._choose(now)
        return self._last

    def _choose(self, now: Moment) -> SyncRequest | None:
        if self._settling:
            return peering.settling(self._ledger, *self._settling.popleft(), now)
        if self._wait_to_ask(now) <= 0:
            self._asked_s = now.mono_s
            return peering.old_question(self._ledger) if self._old else peering.question(self._ledger)
        if self.reached and self._wait_to_tell(now) <= 0:
            self._told_s = now.mono_s
            return peering.news(self._ledger, *self.outbox.take(peering.MOST_AT_ONCE), now)
        return None

    def wait_s(self, now: Moment) -> float:
        """Tell how many seconds it may be until there is something to say, if no news comes."""
        return max(0.0, min(self._wait_to_ask(now), self._wait_to_tell(now) if self.reached else float("inf")))

    def _wait_to_ask(self, now: Moment) -> float:
        return self._asked_s + (QUESTION_S if self.reached else RETRY_S) - now.mono_s

    def _wait_to_tell(self, now: Moment) -> float:
        if not self.outbox.records and not self.outbox.beats:
            return float("inf")
        at_once = self.outbox.records or len(self.outbox.beats) >= peering.MOST_AT_ONCE
        return self._told_s + (PACE_S if at_once else BEAT_PACE_S) - now.mono_s

    def answered(self, answer: SyncResponse, now: Moment) -> None:
        """Take the answer to what was said last."""
        self.reached = True
        peering.take(self._ledger, answer.records, (), now)
        asked = self._last
        if asked is None or (asked.buckets is None and asked.digest is None):
            return
        if asked.buckets is not None and answer.format < SYNC_FORMAT:
            self._old, self._asked_s = True, float("-inf")
            return
        self._old = asked.digest is not None and answer.epoch == self._epoch
        if answer.epoch != self._epoch:
            self._epoch = answer.epoch
            self._tell_all_beats()
        if answer.wanted:
            self.outbox.records.update(dict.fromkeys(answer.wanted))
        self._settling = deque(peering.settlement(self._ledger, answer))

    def failed(self) -> None:
        """Take it that the peer did not answer: what it missed is found when it does."""
        self.reached, self._epoch, self._old = False, "", False
        self._settling.clear()
        self.outbox.clear()

    def _tell_all_beats(self) -> None:
        self.outbox.beats.update(dict.fromkeys(e for e in self._ledger.table.entries() if e.living))
        self.outbox.ready.set()
