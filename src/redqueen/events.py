"""The one catalogue of things that happen, and the log lines that derive from them.

An event is a frozen dataclass; `emit` writes it as one JSON line on standard error, with the
node's name. Log changes, never polls. Packages declare their events beside their rules as
subclasses of `Event`; nothing logs free text.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

import msgspec


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; the class's name is the event's name."""


class Emit(Protocol):
    """Where events go."""

    def __call__(self, event: Event) -> None:
        """Take one event; never raises, never blocks for long."""
        ...


@dataclass(frozen=True, slots=True)
class LoopFailed(Event):
    """A loop's turn raised and will be tried again after `retry_s` seconds."""

    loop: str
    error: str
    retry_s: float


class LogLines:
    """Writes each event as a JSON line: time (RFC 3339 UTC), node, event, its fields."""

    def __init__(self, node_id: str, stream: TextIO | None = None) -> None:
        self._node_id = node_id
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Write `event` to the stream (standard error where none was given)."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        fields: dict[str, Any] = msgspec.to_builtins(event)
        line = {"time": stamp, "node": self._node_id, "event": type(event).__name__, **fields}
        stream = self._stream or sys.stderr
        stream.write(msgspec.json.encode(line).decode() + "\n")
        stream.flush()


def discard(event: Event) -> None:
    """Drop the event: for tests and one-off commands."""
