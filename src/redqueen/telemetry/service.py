"""One api node's telemetry: its spool, its sessions, and the loop that ships, adopts and closes.

Once a second it closes the seconds whose window is over, takes over what nodes that died on this
machine have left (their open sessions go on here, their events become Parquet), ships whole
segments, and removes those that are shipped and too old to be read back. A failing object store
stops shipping, not intake. Enter at `Telemetry.opened`.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import msgspec
from anyio import to_thread

from redqueen.clock import Clock
from redqueen.errors import Unavailable
from redqueen.events import Emit, Event, LoopFailed
from redqueen.telemetry import spool
from redqueen.telemetry.intake import Intake, Line, replayed
from redqueen.telemetry.limits import Limits
from redqueen.telemetry.parquet import Damaged, Lake
from redqueen.telemetry.ports import Assignment
from redqueen.telemetry.sessions import Sessions
from redqueen.telemetry.spool import Orphan, Spool, SpoolLimits

RECALL_S: Final = 120
"""Seconds that a segment stays readable after its last line: windows, lateness, and the judge's patience."""
_TURN_S: Final = 1.0
_SHIP_S: Final = 120.0
"""Longest time for one segment; an object store that hangs is tried again."""


@dataclass(frozen=True, slots=True)
class SpoolAdopted(Event):
    """What a node that died had acknowledged is here now: its open sessions, and segments still to be shipped."""

    life: str
    sessions: int
    segments: int


@dataclass(frozen=True, slots=True)
class SegmentDamaged(Event):
    """A segment had lines that cannot be read; they were never acknowledged, or their disk failed."""

    segment: str
    error: str
    lines: int


class Telemetry:
    """What the API asks of telemetry on one node; only within `opened` does it take anything."""

    def __init__(
        self,
        root: Path,
        node: str,
        secret: bytes,
        lake: Lake,
        assignment: Assignment,
        clock: Clock,
        emit: Emit,
        *,
        limits: Limits | None = None,
        spool_limits: SpoolLimits | None = None,
    ) -> None:
        """Spool below `root`, a folder that all nodes of this machine share; `secret` signs grants."""
        self._root = root
        self._node = node
        self._secret = secret
        self._lake = lake
        self._assignment = assignment
        self._clock = clock
        self._emit = emit
        self._limits = limits
        self._spool_limits = spool_limits
        self._intake: Intake | None = None
        self._spool: Spool | None = None
        self._orphans: list[Orphan] = []
        self.sessions = Sessions()

    @property
    def intake(self) -> Intake:
        """Return the door. Raises Unavailable while telemetry is not open."""
        if self._intake is None:
            raise Unavailable("telemetry.closed", "This node takes no telemetry now", hint="Send it again in a moment")
        return self._intake

    @property
    def spool(self) -> Spool:
        """Return what is on disk. Raises Unavailable while telemetry is not open."""
        if self._spool is None:
            raise Unavailable("telemetry.closed", "This node takes no telemetry now", hint="Send it again in a moment")
        return self._spool

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Take telemetry while the block runs; what an earlier life of this node left is read back before."""
        life = f"{self._node}.{int(self._clock.now() * 1000):x}-{secrets.token_hex(2)}"
        async with Spool.opened(self._root, life, self._clock, self._spool_limits) as self._spool:
            await self.adopt()
            self._intake = Intake(self._secret, self._spool, self.sessions, self._assignment, self._clock, self._limits)
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._repeat, "telemetry.close", self.close)
                    group.start_soon(self._repeat, "telemetry.ship", self.ship)
                    group.start_soon(self._repeat, "telemetry.adopt", self.adopt)
                    group.start_soon(self._repeat, "telemetry.finish", self.finish)
                    yield
                    group.cancel_scope.cancel()
            finally:
                self._intake = self._spool = None
                for orphan in self._orphans:
                    orphan.let_go(empty=False)
                self._orphans.clear()

    def rows(self, since: int, until: int) -> bytes:
        """Return the sessions granted in [since, until) as MessagePack. Raises Unavailable unless all has closed."""
        self.sessions.close(self._clock.now())
        if until > self.sessions.closed_until or since < self.sessions.kept_from:
            known = f"[{self.sessions.kept_from}, {self.sessions.closed_until})"
            raise Unavailable(
                "telemetry.window", "Not all of that is known now", why=f"known is {known}", hint="Ask for less"
            )
        return self.sessions.encoded(since, until)

    async def close(self) -> None:
        """Close the seconds whose window is over."""
        self.sessions.close(self._clock.now())

    async def ship(self) -> None:
        """Bring this life's whole segments into Parquet, and remove those that nobody needs to read back."""
        own = self.spool
        await self._ship(own.folder.name, own.sealed())
        await to_thread.run_sync(spool.forget, own.folder, self._clock.now() - RECALL_S)

    async def adopt(self) -> None:
        """Take over the folders of lives that have ended, and be done with those taken over before."""
        for orphan in await to_thread.run_sync(spool.orphans, self._root):
            self._orphans.append(orphan)
            if orphan.folder.name.startswith(spool.HANDED):
                continue
            found = await to_thread.run_sync(_recalled, orphan.folder, self._clock.now() - RECALL_S)
            self.sessions.adopt(found)
            waiting = len(spool.segments(orphan.folder))
            self._emit(SpoolAdopted(orphan.folder.name, found.open, waiting))

    async def finish(self) -> None:
        """Ship what was taken over, and remove what is shipped and too old to be read back."""
        for orphan in list(self._orphans):
            folder = orphan.folder
            await self._ship(folder.name, spool.segments(folder))
            await to_thread.run_sync(spool.forget, folder, self._clock.now() - RECALL_S)
            if not spool.segments(folder) and not spool.segments(folder, spool.SHIPPED):
                self._orphans.remove(orphan)
                await to_thread.run_sync(partial(orphan.let_go, empty=True))

    async def _ship(self, life: str, segments: Iterable[Path]) -> None:
        for path in segments:
            with anyio.fail_after(_SHIP_S):
                await self._ship_one(path, f"{life}-{path.stem}")

    async def _ship_one(self, path: Path, name: str) -> None:
        try:
            await self._lake.ship(path, name)
        except Damaged as error:
            # A machine that lost its power may leave anything behind the last sync; every whole line counts.
            lost = await to_thread.run_sync(spool.mend, path, whole)
            self._emit(SegmentDamaged(path.name, str(error), lost))
            await self._lake.ship(path, name)
        spool.shipped(path)

    async def _repeat(self, name: str, turn: Callable[[], Awaitable[None]]) -> None:
        failing = False
        while True:
            await self._clock.sleep(_TURN_S)
            try:
                await turn()
                failing = False
            except Exception as error:  # noqa: BLE001 - telemetry must never take its node down; said, and tried again
                if not failing:
                    self._emit(LoopFailed(name, f"{type(error).__name__}: {error}", _TURN_S))
                failing = True


def whole(line: bytes) -> bool:
    """Tell whether a line of a spool can be read."""
    return _line(line) is not None


def _line(line: bytes) -> Line | None:
    try:
        return _LINES.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _recalled(folder: Path, since: float) -> Sessions:
    """Fold what a life's segments say that were written after `since` (Unix time)."""
    found = Sessions()
    for path in sorted([*spool.segments(folder), *spool.segments(folder, spool.SHIPPED)]):
        if path.stat().st_mtime >= since:
            for text in spool.lines(path):
                line = _line(text)
                if line is not None:
                    replayed(found, line)
    return found


_LINES: Final = msgspec.json.Decoder(Line)
