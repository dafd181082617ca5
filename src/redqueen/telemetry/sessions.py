"""Sessions folded from their events, second by second, until each second's window has closed.

Decides which event a session's outcome is taken from: the one with the highest number among those
that happened within the session's window (by the player's steady clock) and arrived before it
closed (by this node's). Every event carries the sums so far, so order, loss and repetition do not
matter. A closed second never changes. Refuses to grow without bound: the oldest second goes first.
No clock, no I/O. Enter at `Sessions`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from redqueen.telemetry.model import LATENESS_S, START_LIMIT_S, WINDOW_S, Grant, Kind, PlayerEvent, SessionRow

SETTLE_S = 1
"""Seconds between the last arrival that counts and the closing: a grant's fraction of a second and the disk's time."""
CLOSES_S = WINDOW_S + LATENESS_S + SETTLE_S
KEPT_S = 600
"""Seconds that a closed second can be read."""
_SUM_SLACK_MS = 1000
"""Players read their clocks one after the other; sums may exceed the time that passed by so much."""
_AHEAD_S = 60
_CLOSED_AN_OPEN = 5
"""Closed rows that are kept for each session that may be open."""
_SILENT = PlayerEvent(seq=0, kind=Kind.ASKED, at_ms=0)


class Fold(StrEnum):
    """What became of an event."""

    FOLDED = "folded"
    KNOWN = "known"
    """One with at least this number was there already: sent twice, or overtaken."""
    LATE = "late"
    """It arrived after its session's window had closed."""
    OUTSIDE = "outside"
    """It happened after the session's window."""
    IMPLAUSIBLE = "implausible"
    """Its sums contradict its own time."""
    AHEAD = "ahead"
    """Its session was granted in the future: a node's clock is wrong."""
    FULL = "full"
    """More sessions are open than this node may hold."""


@dataclass(slots=True)
class _Open:
    grant: Grant
    event: PlayerEvent | None = None


class Sessions:
    """The sessions that one node knows of; `most` bounds the open ones and, times five, the closed."""

    def __init__(self, *, most: int = 100_000) -> None:
        """Know nothing yet."""
        self._most = most
        self._seconds: dict[int, dict[int, _Open]] = {}
        self._open = 0
        self._closed: dict[int, list[msgspec.Raw]] = {}
        """Encoded, so that ten minutes of rows stay small."""
        self._closed_rows = 0
        self._kept_from = 0
        self._until = 0
        self._encoder = msgspec.msgpack.Encoder()
        self.dropped = 0
        """Rows that were forgotten before their time, for want of room."""

    @property
    def open(self) -> int:
        """Return how many sessions may still change."""
        return self._open

    @property
    def kept_from(self) -> int:
        """Return the first second of which everything is still known."""
        return self._kept_from

    @property
    def closed_until(self) -> int:
        """Return the first second that has not closed."""
        return self._until

    def granted(self, grant: Grant, now: float) -> Fold:
        """Know of a session from its grant on, so that one whose player never speaks is missed."""
        return self._held(grant, now)[1]

    def heard(self, grant: Grant, events: Sequence[PlayerEvent], now: float) -> list[Fold]:
        """Take a session's events that arrived at `now` (Unix time); return what became of each."""
        held, fold = self._held(grant, now)
        if held is None:
            return [fold] * len(events)
        ends_ms, best, found = grant.window_s * 1000, held.event, list[Fold]()
        for event in events:
            if event.at_ms > ends_ms:
                found.append(Fold.OUTSIDE)
            elif not plausible(event):
                found.append(Fold.IMPLAUSIBLE)
            elif best is not None and best.seq >= event.seq:
                found.append(Fold.KNOWN)
            else:
                best = event
                found.append(Fold.FOLDED)
        held.event = best
        return found

    def close(self, now: float) -> None:
        """Close the seconds whose time has come, and forget those that were kept long enough."""
        until = int(now) - CLOSES_S + 1
        for second in [second for second in self._seconds if second < until]:
            sessions = self._seconds.pop(second)
            self._open -= len(sessions)
            self._freeze(second, sessions.values())
        self._until = max(self._until, until)
        self._kept_from = max(self._kept_from, self._until - KEPT_S)
        self._forget()

    def adopt(self, other: Sessions) -> None:
        """Take over what another node knew: what may still change goes on here, the rest is closed at once."""
        for second, sessions in other._seconds.items():
            if self._kept_from <= second < self._until:
                self._freeze(second, sessions.values())
            elif second >= self._until:
                self._join(second, sessions)

    def _freeze(self, second: int, sessions: Collection[_Open]) -> None:
        rows = self._closed.setdefault(second, [])
        rows.extend(msgspec.Raw(self._encoder.encode(row_of(held.grant, held.event))) for held in sessions)
        self._closed_rows += len(sessions)

    def _forget(self) -> None:
        for second in sorted(self._closed):
            crowded = self._closed_rows > _CLOSED_AN_OPEN * self._most
            if second >= self._kept_from and not crowded:
                break
            gone = len(self._closed.pop(second))
            self._closed_rows -= gone
            self.dropped += gone if crowded else 0
            self._kept_from = max(self._kept_from, second + 1)

    def _join(self, second: int, sessions: Mapping[int, _Open]) -> None:
        here = self._seconds.setdefault(second, {})
        for session, other in sessions.items():
            held = here.get(session)
            if held is None:
                if self._open < self._most:
                    here[session] = other
                    self._open += 1
            elif other.event is not None and (held.event is None or held.event.seq < other.event.seq):
                held.event = other.event

    def encoded(self, since: int, until: int) -> bytes:
        """Return the rows of the closed seconds in [since, until) as a MessagePack list of SessionRow."""
        return self._encoder.encode(self._raw(since, until))

    def rows(self, since: int, until: int) -> list[SessionRow]:
        """Return the rows of the closed seconds in [since, until)."""
        return msgspec.msgpack.decode(self.encoded(since, until), type=list[SessionRow])

    def _raw(self, since: int, until: int) -> list[msgspec.Raw]:
        last = min(until, self._until)
        return [row for second in sorted(self._closed) if since <= second < last for row in self._closed[second]]

    def _held(self, grant: Grant, now: float) -> tuple[_Open | None, Fold]:
        second = grant.second
        if second < self._until or now >= second + WINDOW_S + LATENESS_S:
            return None, Fold.LATE
        if second > now + _AHEAD_S:
            return None, Fold.AHEAD
        sessions = self._seconds.get(second)
        if sessions is not None and (known := sessions.get(grant.session)) is not None:
            return known, Fold.KNOWN
        if self._open >= self._most:
            return None, Fold.FULL
        fresh = _Open(grant)
        self._seconds.setdefault(second, {})[grant.session] = fresh
        self._open += 1
        return fresh, Fold.FOLDED


def row_of(grant: Grant, event: PlayerEvent | None) -> SessionRow:
    """Return a session's outcome from its last event within the window; without one it only counts as exposed."""
    told = event or _SILENT
    return SessionRow(
        session=grant.session,
        seq=told.seq,
        viewer=grant.viewer,
        second=grant.second,
        device=grant.device,
        zone=grant.zone,
        arms=grant.arms,
        first=grant.first,
        failed=event is not None and failed(event),
        delay_ms=told.delay_ms,
        played_ms=told.played_ms,
        stalled_ms=told.stalled_ms,
        stalls=told.stalls,
        errors=told.errors,
        bitrate_bps=told.mean_bitrate_bps or told.bitrate_bps,
        release=grant.release,
        country=grant.country,
        returning=grant.returning,
    )


def failed(event: PlayerEvent) -> bool:
    """Tell whether the last event of a window says that the start failed: no first frame, or one too late.

    Whoever left before the first frame counts too: a start so slow that viewers give up must not look well.
    """
    return not 0 <= event.delay_ms <= START_LIMIT_S * 1000


def plausible(event: PlayerEvent) -> bool:
    """Tell whether an event's sums can be true at its own time."""
    if event.delay_ms > event.at_ms or event.played_ms + event.stalled_ms > event.at_ms + _SUM_SLACK_MS:
        return False
    return event.delay_ms >= 0 or event.played_ms == 0
