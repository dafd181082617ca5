"""CMCD that players send with their media requests: read, counted, and put beside the region's events.

Decides which session a report belongs to: the one whose 16 digits its `sid` is, else one made from the
player's own `sid`. A report is a row of kind `cmcd` of viewer 0, in no trial; whoever may watch can say
anything here, so nothing is judged by it. Rows wait in memory, and each minute's go to disk as a folder
that any api node takes over and brings into Parquet; gateways need none of them alive. Refuses, and
counts, what is no report and what is more than may wait. Enter at `MediaReports`.
"""

from __future__ import annotations

import re
import secrets
import shutil
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import xxhash
from anyio import to_thread

from redqueen.clock import Clock
from redqueen.errors import RedQueenError
from redqueen.events import Emit, LoopFailed
from redqueen.telemetry import cmcd, spool
from redqueen.telemetry.intake import Line, told
from redqueen.telemetry.model import Grant
from redqueen.telemetry.spool import HANDED, Spool

BOUNDS_BPS: Final = tuple(round(mbps * 1e6) for mbps in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128))
_WAITING_BYTES: Final = 4 << 20
_LYING_BYTES: Final = 256 << 20
_LEAST_FREE_BYTES: Final = 1 << 30
_TURN_S: Final = 1.0
_OURS: Final = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class MediaRead:
    """A media request that carried CMCD: in the query (percent-encoded), or else in headers."""

    at: float
    """Unix time."""
    request_id: str
    title: str
    status: int
    sent_bytes: int
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class Spread:
    """A histogram of bits per second by BOUNDS_BPS; the last count is of what lies above them all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_BPS) + 1))
    total: int = 0

    def add(self, kbps: float | None) -> None:
        """Count what a player measured, if it did."""
        if kbps is not None and 0 < kbps < 10_000_000:
            bps = round(kbps * 1000)
            self.counts[bisect_left(BOUNDS_BPS, bps)] += 1
            self.total += bps


@dataclass(slots=True)
class Counted:
    """What came since the node's start."""

    kept: int = 0
    unreadable: int = 0
    dropped: int = 0
    """More than may wait, or than a gateway reads."""
    starved: int = 0
    """Reports of a buffer that ran empty (`bs`)."""
    throughput: Spread = field(default_factory=Spread)
    """As players measured it (`mtp`)."""
    bitrate: Spread = field(default_factory=Spread)
    """Of what was asked for (`br`)."""


class MediaReports:
    """One gateway's reports; run `keep` beside it."""

    def __init__(self, root: Path, gateway: str, zone: str, clock: Clock, emit: Emit, *, life_s: float = 60.0) -> None:
        """Put rows below `root`, the folder that all nodes of this machine spool below, every `life_s`."""
        self._root = root
        self.gateway = gateway
        self.zone = zone
        self._clock = clock
        self._emit = emit
        self._life_s = life_s
        self._waiting = bytearray()
        self._encoder = msgspec.json.Encoder()
        self.counted = Counted()

    def take(self, reads: Iterable[MediaRead], dropped: int = 0) -> None:
        """Count what players said, and have it kept; `dropped` more were said that nobody read."""
        self.counted.dropped += dropped
        for read in reads:
            try:
                report = cmcd.from_query(read.query) if read.query else cmcd.from_headers(read.headers)
            except ValueError:
                report = None
            if report is None:
                self.counted.unreadable += 1
            elif len(self._waiting) > _WAITING_BYTES:
                self.counted.dropped += 1
            else:
                self._count(report)
                self._waiting += self._encoder.encode(self._line(read, report)) + b"\n"

    async def keep(self) -> None:
        """Put on disk what waits, until cancelled."""
        while True:
            await self._clock.sleep(_TURN_S)
            if not self._waiting:
                continue
            try:
                await self._keep_a_while()
            except (RedQueenError, OSError) as error:
                self._emit(LoopFailed("telemetry.media", f"{type(error).__name__}: {error}", _TURN_S))

    async def _keep_a_while(self) -> None:
        if await to_thread.run_sync(self._crowded):
            self.counted.dropped += self._waiting.count(b"\n")
            self._waiting.clear()
            return
        life = f"{HANDED}{self.gateway}.{int(self._clock.now() * 1000):x}-{secrets.token_hex(2)}"
        until = self._clock.monotonic() + self._life_s
        async with Spool.opened(self._root, life, self._clock) as own:
            while True:
                if self._waiting:
                    lines, self._waiting = bytes(self._waiting), bytearray()
                    await own.append(lines)
                if self._clock.monotonic() >= until:
                    return
                await self._clock.sleep(_TURN_S)

    def _crowded(self) -> bool:
        """Tell whether so much lies here that nobody took over, or so little room is left, that rows are let go."""
        folders = self._root.glob(f"{HANDED}{self.gateway}.*")
        lying = sum(path.stat().st_size for folder in folders for path in spool.segments(folder))
        self._root.mkdir(parents=True, exist_ok=True)
        return lying > _LYING_BYTES or shutil.disk_usage(self._root).free < _LEAST_FREE_BYTES

    def _count(self, report: cmcd.Report) -> None:
        self.counted.kept += 1
        self.counted.starved += report.flag("bs")
        self.counted.throughput.add(report.number("mtp"))
        self.counted.bitrate.add(report.number("br"))

    def _line(self, read: MediaRead, report: cmcd.Report) -> Line:
        session = session_of(report.word("sid"), read.title)
        # The second is the request's own: when the session began, only the player knows.
        grant = Grant(session, 0, read.title, "", self.zone, int(read.at), 0, {})
        row = told(
            report, read.request_id, gateway=self.gateway, served_bytes=max(0, read.sent_bytes), status=read.status
        )
        return Line(read.at, grant, reports=(row,))


def session_of(sid: str, title: str) -> int:
    """Return a report's session: ours, one made of the player's own name for it, or its title's where it has none."""
    return int(sid, 16) if _OURS.fullmatch(sid) else xxhash.xxh64_intdigest((sid or title).encode())
