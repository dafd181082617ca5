"""What runs now, as every node of the region follows it: the armed trials, read once a second.

The leader writes them; nodes that assign viewers keep the last ones they read, so that a store
that does not answer changes nothing for viewers. Refuses nothing. Rows are in the records'
partition ARMED, one a trial. Enter at `ArmedTrials`; `NodeAssignment` answers what telemetry asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio
import msgspec

from redqueen.clock import Clock
from redqueen.errors import RedQueenError
from redqueen.events import Emit, LoopFailed, discard
from redqueen.store.ports import Record, Records
from redqueen.telemetry.ports import AssignedViewer
from redqueen.trials.assignment import Assigner
from redqueen.trials.model import Armed, Subject, Viewer

ARMED: Final = "trials/armed"
EVERY_S: Final = 1.0
_ANSWER_S: Final = 5.0


def armed_in(row: Record) -> Armed:
    """Return the trial of a row of ARMED."""
    return msgspec.json.decode(row.value, type=Armed)


class ArmedTrials:
    """The trials that run, as last read; `read` once before the first use, then `follow`."""

    def __init__(
        self, records: Records, clock: Clock, emit: Emit = discard, changed: Callable[[], None] | None = None
    ) -> None:
        """Read from `records`; `changed` is called after each reading that differs from the one before."""
        self._records = records
        self._clock = clock
        self._emit = emit
        self._changed = changed
        self._armed: tuple[Armed, ...] = ()
        self._versions: tuple[tuple[str, int], ...] | None = None
        self._failing = False

    @property
    def armed(self) -> tuple[Armed, ...]:
        """Give the trials as last read, by id; the same object until they change."""
        return self._armed

    async def read(self) -> bool:
        """Read them anew; tell whether they changed. Raises what the records raise."""
        rows = await self._records.scan(ARMED)
        versions = tuple((row.clustering, row.version) for row in rows)
        if versions == self._versions:
            return False
        self._armed, self._versions = tuple(armed_in(row) for row in rows), versions
        if self._changed is not None:
            self._changed()
        return True

    async def follow(self) -> None:
        """Read them once a second, for ever; while the store does not answer the last ones stand."""
        while True:
            try:
                with anyio.fail_after(_ANSWER_S):
                    await self.read()
                self._failing = False
            except (RedQueenError, TimeoutError, msgspec.MsgspecError) as error:
                if not self._failing:
                    self._emit(LoopFailed("trials.follow", f"{type(error).__name__}: {error}", EVERY_S))
                self._failing = True
            await self._clock.sleep(EVERY_S)


class NodeAssignment:
    """Which arms every play of a viewer is in, as an api node answers it: as the gateways, by the same rows.

    A play passes other services than the api, so releases are answered for too; where a gateway says which
    arm's nodes the request went to, its word stands before this one. Flags are left out: not every play feels them.
    """

    def __init__(self, trials: ArmedTrials) -> None:
        """Assign by what `trials` last read."""
        self._trials = trials
        self._seen: tuple[Armed, ...] = ()
        self._assigner = Assigner(())

    def arms(self, viewer: AssignedViewer) -> dict[str, str]:
        """Return the viewer's arm by trial, for each running trial that it is in; never blocks."""
        armed = self._trials.armed
        if armed is not self._seen:
            self._seen = armed
            self._assigner = Assigner(one for one in armed if one.subject is not Subject.FLAG)
        return self._assigner.arms(Viewer(viewer.key, viewer.device, viewer.zone, viewer.country, viewer.returning))
