"""What an emulated player tells: a session is granted, its events are kept, sent and sent again.

Decides what each event carries (the session's sums so far, so that the last one tells everything)
and when an event is forgotten: only when the region has acknowledged it. Refuses to send again what
the region called wrong. It speaks `POST /api/v1/titles/{id}/sessions` and
`POST /telemetry/v1/events` as the web player does. Enter at `granted` and `Teller`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec

from redqueen.clock import Clock
from redqueen.errors import InvalidInput
from redqueen.telemetry.model import Kind, PlayerEvent
from redqueen.testing.viewer.http import Answer, TooSlow, Unreachable

BEACON = "/telemetry/v1/events"
MOST_EVENTS = 64
"""Events in one request."""
PASSING = (429, 502, 503, 504)
"""Answers after which the same request may succeed."""


class Sender(Protocol):
    """What carries the requests: a `Browser` with the viewer's cookies."""

    async def send(self, method: str, url: str, body: bytes = b"") -> Answer:
        """Send once. Raises Unreachable or TooSlow."""
        ...


class Granted(msgspec.Struct, frozen=True):
    """What the region answers to the wish for a session; what is not needed here is left out."""

    token: str
    session: str = ""
    beacon: str = BEACON
    arms: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Sums:
    """A session so far, in milliseconds and bits per second, as every event repeats it."""

    delay_ms: int = -1
    played_ms: int = 0
    stalled_ms: int = 0
    stalls: int = 0
    errors: int = 0
    bitrate_bps: int = 0
    mean_bitrate_bps: int = 0


async def granted(sender: Sender, base: str, title: str, device: str, *, returning: bool = False) -> Granted | None:
    """Ask for a session of `title` at the region `base`; None when it gave none, whatever the reason."""
    body = msgspec.json.encode({"device": device, "returning": returning})
    try:
        answer = await sender.send("POST", f"{base}/api/v1/titles/{title}/sessions", body)
        if not 200 <= answer.status <= 299:
            return None
        return msgspec.json.decode(answer.body, type=Granted)
    except (Unreachable, TooSlow, msgspec.MsgspecError):
        return None


@dataclass(slots=True)
class Teller:
    """One session's events: numbered, kept until acknowledged."""

    grant: Granted
    clock: Clock
    asked_at: float
    """By the steady clock."""
    sums: Sums = field(default_factory=Sums)
    waiting: list[PlayerEvent] = field(default_factory=list[PlayerEvent])
    told: int = 0
    acknowledged: int = 0
    failed_sends: int = 0
    """Requests that were not acknowledged; what they carried is sent again."""
    refused: str = ""
    """What the region said was wrong."""

    def note(self, kind: Kind, sums: Sums | None = None, *, detail: str = "") -> None:
        """Keep an event that happens now; `sums` replaces the sums so far."""
        if sums is not None:
            self.sums = sums
        self.told += 1
        now = self.sums
        self.waiting.append(
            PlayerEvent(
                seq=self.told,
                kind=kind,
                at_ms=round((self.clock.monotonic() - self.asked_at) * 1000),
                delay_ms=now.delay_ms,
                played_ms=now.played_ms,
                stalled_ms=now.stalled_ms,
                stalls=now.stalls,
                errors=now.errors,
                bitrate_bps=now.bitrate_bps,
                mean_bitrate_bps=now.mean_bitrate_bps,
                detail=detail[:200],
            )
        )

    def add(self, **changes: int) -> Sums:
        """Return the sums with `changes`, and keep them."""
        self.sums = replace(self.sums, **changes)
        return self.sums

    async def flush(self, sender: Sender, base: str, *, patience_s: float = 0.0) -> bool:
        """Send what waits until all is acknowledged; give up (for now) after `patience_s`. True: nothing waits."""
        ends_at = self.clock.monotonic() + patience_s
        pause_s = 0.25
        while self.waiting and not self.refused:
            batch = self.waiting[:MOST_EVENTS]
            wait_s = await self._sent(sender, base, batch)
            if wait_s is None:
                self.waiting = self.waiting[len(batch) :]
                continue
            self.failed_sends += 1
            pause_s = max(wait_s, min(pause_s * 1.7, 5.0))
            if self.clock.monotonic() + pause_s > ends_at:
                return False
            await self.clock.sleep(pause_s)
        return not self.waiting

    async def _sent(self, sender: Sender, base: str, batch: list[PlayerEvent]) -> float | None:
        """Send one batch; None when it is acknowledged, else how long to wait at least."""
        body = msgspec.json.encode({"token": self.grant.token, "events": batch})
        try:
            answer = await sender.send("POST", base + self.grant.beacon, body)
        except (Unreachable, TooSlow):
            return 0.0
        except InvalidInput as error:
            self.refused = str(error)
            return 0.0
        if 200 <= answer.status <= 299:
            self.acknowledged += len(batch)
            return None
        if answer.status < 500 and answer.status not in PASSING:
            self.refused = f"status {answer.status} {answer.body[:200].decode('utf-8', 'replace')}"
        return _seconds(answer.headers.get("retry-after", ""))


def _seconds(text: str) -> float:
    return min(float(text), 60.0) if text.isascii() and text.isdigit() else 0.0
