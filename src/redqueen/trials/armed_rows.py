"""The armed trials as the leader writes them: what each row shall be, and only over what was read before.

Decides by comparison, turn for turn, so that a leader who died between a verdict and its row costs
a second and nothing else. Refuses (by compare-and-set) the late write of a leader that has lost its
lease: it read the row before its successor wrote it. Enter at `ArmedRows.make`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from redqueen.store.ports import ABSENT, Delete, Put, Record, Records
from redqueen.trials.following import ARMED, armed_in
from redqueen.trials.model import Armed


class ArmedRows:
    """The partition ARMED; `read` before `make`, in this order, each turn."""

    def __init__(self, records: Records) -> None:
        """Keep rows in `records`."""
        self._records = records
        self._rows: dict[str, Record] = {}

    async def read(self) -> tuple[Armed, ...]:
        """Return what is armed now, and remember which versions these are."""
        rows = await self._records.scan(ARMED)
        self._rows = {row.clustering: row for row in rows}
        return tuple(armed_in(row) for row in rows)

    def leaves(self, trial: str) -> bool:
        """Tell whether a trial's row is there and goes as soon as it is not wanted."""
        return trial in self._rows and not armed_in(self._rows[trial]).stays_until_s

    async def make(self, wanted: Mapping[str, Armed], now_s: float) -> bool:
        """Make the rows be `wanted`; False where somebody else wrote one since it was read (look again then).

        What was promoted stays until it is disarmed, or its time is over.
        """
        done = True
        for trial, armed in wanted.items():
            value, row = msgspec.json.encode(armed), self._rows.get(trial)
            if row is None or row.value != value:
                when = ABSENT if row is None else row.version
                written = await self._records.put(ARMED, Put(trial, value, when=when))
                done = done and written is not None
        for trial in self._rows.keys() - wanted.keys():
            if armed_in(self._rows[trial]).stays_until_s > now_s:
                continue
            done = await self._records.delete(ARMED, Delete(trial, when=self._rows[trial].version)) and done
        return done


async def disarm(records: Records, trial: str) -> None:
    """Take a trial's row away at once, whoever leads: it is over for ever, so nobody can be late."""
    await records.delete(ARMED, Delete(trial))
