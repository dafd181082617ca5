"""Which log files stay, and which lines of them are meant. Pure.

Each node's log is cut at `LIMIT_BYTES` into at most `KEPT` older parts; all parts together stay
under `TOTAL_BYTES`, the oldest going first. A log's name is its node's id, so that a role, a
service or a node can be asked for. Enter at `surplus` and `LogQuery`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from redqueen.fleet.model import Role

LIMIT_BYTES: Final = 8 << 20
"""A log longer than this is cut: what it holds becomes the part `.1`."""
KEPT: Final = 3
"""Older parts of each log, `.1` (the youngest) to `.3`."""
TOTAL_BYTES: Final = 1 << 30
"""All older parts of all logs together."""
_OWN = frozenset({role.value for role in Role if role is not Role.SERVICE} | {"supervisor"})


@dataclass(frozen=True, slots=True)
class Part:
    """An older part of a log: its file name, bytes, and when it was last written (epoch seconds)."""

    name: str
    size_bytes: int
    written_at: float


def surplus(parts: Iterable[Part], total_bytes: int = TOTAL_BYTES) -> list[str]:
    """Return the names of the oldest parts that must go so that the rest fits."""
    left, gone = total_bytes, list[str]()
    for part in sorted(parts, key=lambda part: (-part.written_at, part.name)):
        left -= part.size_bytes
        if left < 0:
            gone.append(part.name)
    return gone


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Whose lines, how many at most, and since when (RFC 3339 in UTC with milliseconds; empty: ever).

    With `request` only lines that name that request's id.
    """

    role: str | None = None
    service: str | None = None
    node: str | None = None
    since: str = ""
    lines: int = 200
    request: str = ""

    def means(self, node_id: str) -> bool:
        """Tell whether a node's log is asked for."""
        if self.node is not None and not self._is(self.node, node_id):
            return False
        name = node_id if node_id in _OWN else node_id.rsplit("-", 2)[0]
        if self.service is not None and name != self.service:
            return False
        if self.role is None:
            return True
        # Envoy writes into its gateway's log.
        wanted = "gateway" if self.role == "envoy" else self.role
        return name == wanted if name in _OWN else wanted == Role.SERVICE.value

    @staticmethod
    def _is(wanted: str, node_id: str) -> bool:
        return wanted == node_id or (wanted.startswith("envoy-") and f"gateway-{wanted[6:]}" == node_id)


def stamp_of(line: str) -> str:
    """Return a log line's time, empty for a line without one."""
    return line[9:33] if line.startswith('{"time":"') else ""
