"""What trials learn from each other: today's figures and the noise of A/A trials.

The hour's sums are kept in the records once a minute, with the second up to which they reach; a new
leader asks the nodes again for what its predecessor had not written yet. Refuses a write over
another leader's. Enter at `Learning.read` (once a turn), `learn` and `measures`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from redqueen.stats.dispersion import Noise
from redqueen.store.ports import ABSENT, Put, Record, Records
from redqueen.telemetry.model import FigureBin, SessionRow
from redqueen.trials import hour, planning
from redqueen.trials.collecting import Taken
from redqueen.trials.hour import Hour
from redqueen.trials.measures import Measures
from redqueen.trials.model import Trial
from redqueen.trials.permanent import SERVICE

LEARNED: Final = "trials/learned"
_HOUR: Final = "hour"
_EVERY_S: Final = 60.0
_LATEST_S: Final = 90


class Learning:
    """The hour's sums, as the leader keeps them."""

    def __init__(self, records: Records, zones: tuple[str, ...]) -> None:
        """Keep them in `records`; strata of measures are by `zones`."""
        self._records = records
        self._zones = zones
        self._row: Record | None = None
        self._read = False
        self._written_s = 0.0
        self.hour = Hour()

    async def read(self, now_s: float) -> None:
        """Take up what was kept, once; what no node can tell any more is passed over."""
        if self._read:
            return
        self._row, self.hour = await kept(self._records)
        # Trials wait for what the hour asks for: of a long absence the last minute or two are enough.
        earliest = int(now_s) - _LATEST_S
        self.hour = msgspec.structs.replace(
            self.hour,
            sessions_until=max(self.hour.sessions_until, earliest),
            figures_until=max(self.hour.figures_until, earliest),
        )
        self._read = True

    async def learn(self, sessions: Taken[SessionRow] | None, figures: Taken[FigureBin] | None, now_s: float) -> None:
        """Fold in what was collected in this turn; keep it once a minute."""
        self.hour = hour.folded(
            self.hour,
            sessions.rows if sessions else (),
            sessions.until if sessions else 0,
            figures.rows if figures else (),
            figures.until if figures else 0,
        )
        if now_s - self._written_s < _EVERY_S:
            return
        self._written_s = now_s
        when = ABSENT if self._row is None else self._row.version
        written = await self._records.put(LEARNED, Put(_HOUR, msgspec.msgpack.encode(self.hour), when=when))
        if written is None:
            self._read = False  # somebody else leads, or has led: what it kept stands
        else:
            self._row = written

    def measures(self, trial: Trial, noise: Mapping[str, Noise]) -> Measures:
        """Return what a trial that begins now is judged by. Raises InvalidInput for its metrics."""
        return planning.planned(trial, hour.today(self.hour, trial.target or SERVICE), noise, self._zones)


async def kept(records: Records) -> tuple[Record | None, Hour]:
    """Return the hour as last kept, with its row."""
    row = await records.get(LEARNED, _HOUR)
    return row, Hour() if row is None else msgspec.msgpack.decode(row.value, type=Hour)
