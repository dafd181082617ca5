"""What Envoy's failed tries say about endpoints: who cannot be connected to, or hung up in the middle.

Each failed try is a line in the log (see `passport.py`), so that the news costs nothing while all
is well, however many endpoints there are. A suspicion is no verdict: whoever is told asks the
endpoint itself. Slow endpoints are not suspected. Enter at `LogTail`, `suspects_in`, `unheard`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from redqueen.gateway.passport import ATTEMPT

TELL_AGAIN_S = 1.0
_MARK = f'"event":"{ATTEMPT}"'.encode()
_SUSPICIOUS = {"UF": "a gateway could not connect", "UC": "it hung up on a gateway in the middle of a request"}
_READ_BYTES = 4 << 20
"""How far back a tail looks when more was written since the last time: news that old is no news."""


@dataclass(frozen=True, slots=True)
class Suspected:
    """An endpoint that seems dead, and how that showed."""

    service: str
    node_id: str
    host: str
    port: int
    because: str


class _Attempt(msgspec.Struct, frozen=True):
    service: str = ""
    upstream_node: str = ""
    upstream: str = ""
    flags: str = ""


def suspects_in(text: bytes) -> list[Suspected]:
    """Return the endpoints that some log lines make suspicious, each once, in the order of the lines."""
    found: dict[tuple[str, str], Suspected] = {}
    for line in text.splitlines() if _MARK in text else ():
        if _MARK not in line:
            continue
        suspect = _suspect(line)
        if suspect is not None:
            found.setdefault((suspect.service, suspect.node_id), suspect)
    return list(found.values())


def _suspect(line: bytes) -> Suspected | None:
    try:
        attempt = msgspec.json.decode(line, type=_Attempt)
    except msgspec.DecodeError:
        return None
    because = next((_SUSPICIOUS[flag] for flag in attempt.flags.split(",") if flag in _SUSPICIOUS), "")
    host, _, port = attempt.upstream.rpartition(":")
    if not (because and attempt.service and attempt.upstream_node and port.isdecimal()):
        return None
    return Suspected(attempt.service, attempt.upstream_node, host.strip("[]"), int(port), because)


def unheard(
    suspects: Iterable[Suspected], told: Mapping[tuple[str, str], float], now: float
) -> tuple[list[Suspected], dict[tuple[str, str], float]]:
    """Return who is to be told about now, and what was told when: about each at most once a second."""
    recent = {who: at for who, at in told.items() if now - at < TELL_AGAIN_S}
    news = [suspect for suspect in suspects if (suspect.service, suspect.node_id) not in recent]
    return news, {**recent, **{(suspect.service, suspect.node_id): now for suspect in news}}


class LogTail:
    """What is appended to a log from now on, whole lines only; a log that was cut is read from its start."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = log.stat().st_size if log.exists() else 0

    def read(self) -> bytes:
        """Return what came since the last time, empty if nothing did. Raises OSError."""
        size = self._log.stat().st_size if self._log.exists() else 0
        if size < self._offset:
            self._offset = 0
        if size == self._offset:
            return b""
        with self._log.open("rb") as lines:
            lines.seek(max(self._offset, size - _READ_BYTES))
            text = lines.read(_READ_BYTES)
        whole = text.rfind(b"\n") + 1
        self._offset = max(self._offset, size - _READ_BYTES) + whole
        return text[:whole]
