"""Brings snapshots into effect: write, have Envoy confirm, or take back.

A snapshot is in effect when Envoy reports the version of each of its files. One that Envoy refuses
is replaced by the last confirmed one, on disk too, so that a restart never meets a bad file, and is
not tried again until it differs or something else changed. Enter at `Publisher.bring`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio

from redqueen.clock import Clock
from redqueen.errors import RedQueenError
from redqueen.events import Emit
from redqueen.gateway.compiler import BOOTSTRAP
from redqueen.gateway.envoy_admin import Choice, Verdict, judge, versions
from redqueen.gateway.envoy_process import Envoy, last_complaint, log_size
from redqueen.gateway.model import GatewayState, Snapshot, SnapshotApplied, SnapshotRejected
from redqueen.gateway.ports import Report
from redqueen.gateway.snapshot_folder import SnapshotFolder, write_order
from redqueen.processes import ProcessId, is_alive

CONFIRM_WITHIN_S = 3.0
ASK_EVERY_S = 0.01
TRY_AGAIN_S = 5.0

_Newer = Callable[[], Awaitable[object]]
"""Comes back when newer inputs wait."""


@dataclass(frozen=True, slots=True)
class _Open:
    """What was written to an Envoy that has not confirmed it, and what that Envoy said before."""

    process: ProcessId
    before: dict[str, str] | None
    names: frozenset[str]
    log_offset: int
    """Where its log ended before."""


class Publisher:
    """The one writer of a gateway's snapshot folder."""

    def __init__(self, folder: SnapshotFolder, log: Path, clock: Clock, emit: Emit, report: Report) -> None:
        self._folder, self._log, self._clock, self._emit, self._report = folder, log, clock, emit, report
        self._lock = anyio.Lock()
        self._current: Snapshot | None = None
        self._good: Snapshot | None = None
        self._in_effect = False
        self._seen: tuple[ProcessId, dict[str, str]] | None = None
        self._open: _Open | None = None
        self._confirmed_s = float("-inf")
        self._refused_version = ""
        self._refused_at = float("-inf")
        self._state = GatewayState("", serving=False)

    def start_with(self, snapshot: Snapshot) -> None:
        """Take the files on disk as current, and the last confirmed ones as the way back."""
        self._current = snapshot
        self._good = self._folder.load_good()

    async def bring(self, wanted: Snapshot | None, envoy: Envoy | None, newer: _Newer = anyio.sleep_forever) -> None:
        """Bring `wanted` into effect; None: only see to it that the current one is.

        When `newer` inputs come, a confirmation is waited for no longer, but for once every 3 s: what is
        still open is asked about together with what comes next. An Envoy that reads a large file answers late.
        """
        async with self._lock:
            if wanted is not None and self._is_news(wanted):
                await self._apply(wanted, envoy, newer=newer)
            elif not self._in_effect and envoy is not None and self._current is not None:
                await self._see_to(self._current, envoy)

    async def _see_to(self, snapshot: Snapshot, envoy: Envoy) -> None:
        """Wait on while Envoy works through the files; write them again only when it gets no further.

        Ten thousand instances written anew to an Envoy that is still reading them would keep it reading for ever.
        And a certificate that it refused it takes for known when it comes a second time, and says so without using
        it: a refusal that nobody heard counts from what Envoy said before the files were written.
        """
        began, names = self._clock.monotonic(), tuple(snapshot.files)
        first = await _subscriptions(envoy)
        if first is None:
            return  # it does not answer: whether it hangs is watched elsewhere
        still = self._unconfirmed(envoy)
        before = still.before if still is not None and still.before is not None else first
        offset = log_size(self._log) if still is None else still.log_offset
        verdict = await self._verdict(snapshot, names, before, envoy, within_s=CONFIRM_WITHIN_S)
        if verdict.choice is Choice.APPLIED:
            self._confirmed(snapshot, names, began)
        elif verdict.choice is Choice.REFUSED:
            await self._refused(snapshot, envoy, self._complaint(offset, verdict))
        elif verdict == judge(versions(snapshot.files, names), first, first):
            await self._apply(snapshot, envoy, again=True)

    async def confirm_all(self, envoy: Envoy, *, newborn: bool) -> None:
        """See whether an Envoy uses every file on disk; of a newborn one each refusal counts."""
        async with self._lock:
            if self._current is None:
                return
            began = self._clock.monotonic()
            names = tuple(self._current.files)
            verdict = await self._verdict(self._current, names, {} if newborn else None, envoy, within_s=1.0)
            if verdict.choice is Choice.APPLIED:
                self._confirmed(self._current, names, began)
            elif verdict.choice is Choice.REFUSED:
                await self._refused(self._current, envoy, self._complaint(0, verdict))
            # Otherwise the next turn writes the files once more.

    def go_back(self, because: str) -> None:
        """Put the last confirmed files back in place (if they differ), so that Envoy can start."""
        if self._good is not None and self._current is not None and self._good.version != self._current.version:
            self.refuse(self._current.version, because)
            self._folder.write(self._good)
            self._current = self._good

    def refuse(self, version: str, because: str) -> None:
        """Tell once that a version is not taken, and why."""
        known = (self._state.rejected, self._state.because) == (version, because)
        self._refused_version, self._refused_at = version, self._clock.monotonic()
        if not known:
            self._emit(SnapshotRejected(version, because))
            self._tell(rejected=version, because=because)

    def hear(self, silent: tuple[str, ...]) -> None:
        """Tell which sources of inputs do not answer now."""
        self._tell(silent=silent)

    def envoy_lost(self) -> None:
        """Note that nobody serves until the next Envoy is confirmed."""
        self._in_effect = False
        self._tell()

    def _is_news(self, wanted: Snapshot) -> bool:
        if self._current is not None and wanted.version == self._current.version:
            return False
        # What was refused may have been refused for a passing reason, such as a port in use.
        waited_s = self._clock.monotonic() - self._refused_at
        return wanted.version != self._refused_version or waited_s >= TRY_AGAIN_S

    async def _apply(
        self,
        snapshot: Snapshot,
        envoy: Envoy | None,
        *,
        again: bool = False,
        newer: _Newer = anyio.sleep_forever,
    ) -> None:
        began = self._clock.monotonic()
        still = self._unconfirmed(envoy)
        before = await self._before(envoy) if still is None else still.before
        offset = log_size(self._log) if still is None else still.log_offset
        written = self._folder.write(snapshot, only=snapshot.files if again else None)
        self._current, self._open = snapshot, None
        if envoy is None:
            return
        waiting = still.names.intersection(snapshot.files) if still else frozenset[str]()
        names = tuple(write_order(waiting.union(written)))
        verdict = await self._verdict(snapshot, names, before, envoy, within_s=CONFIRM_WITHIN_S, newer=newer)
        if verdict.choice is Choice.PENDING:
            self._open = _Open(envoy.process, before, frozenset(names), offset)
        elif verdict.choice is Choice.APPLIED:
            self._confirmed(snapshot, names, began)
        elif verdict.choice is Choice.REFUSED:
            await self._refused(snapshot, envoy, self._complaint(offset, verdict))

    def _unconfirmed(self, envoy: Envoy | None) -> _Open | None:
        """Return what this very Envoy has not confirmed yet."""
        return self._open if self._open is not None and envoy and self._open.process == envoy.process else None

    async def _before(self, envoy: Envoy | None) -> dict[str, str] | None:
        """Return what Envoy said last. While all is in effect nothing can have changed, and a file need not wait."""
        last = self._seen[1] if envoy is not None and self._seen and self._seen[0] == envoy.process else None
        if self._in_effect and last is not None:
            return last
        return await _subscriptions(envoy) or last

    async def _refused(self, snapshot: Snapshot, envoy: Envoy, because: str) -> None:
        self._in_effect, self._open = False, None
        self.refuse(snapshot.version, because)
        if self._good is not None and self._good.version != snapshot.version:
            await self._take_back(self._good, envoy)

    async def _take_back(self, good: Snapshot, envoy: Envoy) -> None:
        before = await self._before(envoy)
        names = self._folder.write(good)
        self._current = good
        verdict = await self._verdict(good, names, before, envoy, within_s=CONFIRM_WITHIN_S)
        self._in_effect = verdict.choice is Choice.APPLIED
        self._tell()

    async def _verdict(
        self,
        snapshot: Snapshot,
        names: tuple[str, ...],
        before: dict[str, str] | None,
        envoy: Envoy,
        *,
        within_s: float,
        newer: _Newer = anyio.sleep_forever,
    ) -> Verdict:
        verdict = Verdict(Choice.PENDING, "Envoy was not asked")
        wanted = versions(snapshot.files, names)

        async def give_way() -> None:
            await newer()
            if self._clock.monotonic() < self._confirmed_s + CONFIRM_WITHIN_S:
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(give_way)
            verdict = await self._asked(wanted, before, envoy, within_s)
            group.cancel_scope.cancel()
        self._in_effect = self._in_effect and verdict.choice is Choice.APPLIED
        return verdict

    async def _asked(
        self, wanted: dict[str, str], before: dict[str, str] | None, envoy: Envoy, within_s: float
    ) -> Verdict:
        """Ask again and again until it is known whether Envoy uses these versions, at most so many seconds."""
        verdict = Verdict(Choice.PENDING, "Envoy was not asked")
        until = self._clock.monotonic() + within_s
        while verdict.choice is Choice.PENDING and self._clock.monotonic() < until and is_alive(envoy.process):
            now = await _subscriptions(envoy)
            if now is not None:
                self._seen = (envoy.process, now)
                before = now if before is None else before
                verdict = judge(wanted, before, now)
            if verdict.choice is Choice.PENDING:
                await self._clock.sleep(ASK_EVERY_S)
        return verdict

    def _confirmed(self, snapshot: Snapshot, names: tuple[str, ...], began: float) -> None:
        self._in_effect, self._open = True, None
        self._confirmed_s = self._clock.monotonic()
        self._good = snapshot
        self._folder.keep_good(snapshot)
        took_ms = round((self._clock.monotonic() - began) * 1000, 1)
        self._emit(SnapshotApplied(snapshot.version, tuple(name for name in names if name != BOOTSTRAP), took_ms))
        self._refused_version = ""
        self._tell(rejected="", because="")

    def _complaint(self, offset: int, verdict: Verdict) -> str:
        return last_complaint(self._log, offset) or verdict.because

    def _tell(
        self, *, rejected: str | None = None, because: str | None = None, silent: tuple[str, ...] | None = None
    ) -> None:
        state = GatewayState(
            version=self._current.version if self._current is not None and self._in_effect else "",
            serving=self._in_effect,
            rejected=self._state.rejected if rejected is None else rejected,
            because=self._state.because if because is None else because,
            silent=self._state.silent if silent is None else silent,
        )
        if state != self._state:
            self._state = state
            self._report(state)


async def _subscriptions(envoy: Envoy | None) -> dict[str, str] | None:
    try:
        return None if envoy is None else await envoy.admin.subscriptions()
    except RedQueenError:
        return None
