"""Experiments of a region: begun, watched to their end, the winner made the flag's default.

One experiment a flag at a time: it holds the flag, so that nothing but its switch changes beneath
it. The leader's turn compares what is kept with the trials and does the next step, whoever led
before; each step can be done twice. A winner among several variants is rolled out by a second
trial over the same ladder before it becomes the default. Harmful arms are dropped by the trial
itself. Refuses to start what does not fit the flag. Enter at `Experiments`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from redqueen.clock import Clock
from redqueen.errors import Conflict, NotFound, RedQueenError
from redqueen.experiments.experiment import Experiment, checked, fitting, rollout_of, trial_of, variant_of
from redqueen.experiments.results import Results
from redqueen.experiments.service import Flags
from redqueen.store.audit import REGION, Audit
from redqueen.store.ports import ABSENT, Delete, Put, Record, Records
from redqueen.trials.ledger import Head
from redqueen.trials.model import Status, Trial
from redqueen.trials.service import Trials

EXPERIMENTS: Final = "experiments/all"
RUNNING: Final = "experiments/running"
EVERY_S: Final = 0.5
FOLLOW_S: Final = 10.0
_TRIES: Final = 8


class Phase(StrEnum):
    """How far an experiment is."""

    TESTING = "testing"
    ROLLING_OUT = "rolling out"
    WON = "won"
    """A variant became the flag's default."""
    ENDED = "ended"
    """It ended, and the flag stayed as it was."""

    @property
    def over(self) -> bool:
        """Tell whether nothing can change any more."""
        return self in (Phase.WON, Phase.ENDED)


class ExperimentRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An experiment as it is kept."""

    experiment: Experiment
    by: str
    started_s: float
    control: str
    """The variant that was the flag's default at the start."""
    phase: Phase = Phase.TESTING
    because: str = ""
    winner: str = ""
    """The variant that won."""
    ended_s: float = 0.0

    @property
    def trial(self) -> Trial:
        """Return the trial that decides now, or decided last."""
        first = trial_of(self.experiment, self.started_s)
        if not self.winner:
            return first
        arm = next(one.name for one in first.treatments if one.variant == self.winner)
        return rollout_of(self.experiment, arm, self.started_s) or first


class Experiments:
    """All experiments of a region."""

    def __init__(self, records: Records, clock: Clock, audit: Audit, flags: Flags, trials: Trials) -> None:
        """Keep them in `records`; try variants of `flags` by `trials`."""
        self._records = records
        self._clock = clock
        self._audit = audit
        self._flags = flags
        self._trials = trials
        self.results = Results(records)
        self._follow_at_s: dict[str, float] = {}
        self._founded = False

    async def start(self, experiment: Experiment, by: str) -> ExperimentRow:
        """Begin an experiment. Raises InvalidInput, NotFound, and Conflict for a name or a flag in use."""
        flag = (await self._flags.get(checked(experiment).flag)).flag
        known = await self._records.get(EXPERIMENTS, experiment.name)
        if known is not None and _row(known).experiment == experiment and not _row(known).phase.over:
            return _row(known)
        row = ExperimentRow(fitting(experiment, flag), by, self._clock.now(), flag.default, because="begun")
        await self._open(row)
        try:
            await self._flags.hold(flag.key, experiment.name)
            await self._trials.start(row.trial)
        except RedQueenError:
            await self._forget(row)
            raise
        await self._audit.note(by, "start experiment", f"experiment {experiment.name}", row.trial.because)
        return row

    async def stop(self, name: str, by: str, because: str = "") -> ExperimentRow:
        """End an experiment without a winner; one that is over stays as it is. Raises NotFound."""
        row = await self.get(name)
        if row.phase.over:
            return row
        if await self._trials.find(row.trial.id) is not None:
            await self._trials.stop(row.trial.id, because, by)
        await self._audit.note(by, "stop experiment", f"experiment {name}", because)
        await self._end(row, f"stopped by {by}" + (f": {because}" if because else ""))
        return await self.get(name)

    async def get(self, name: str) -> ExperimentRow:
        """Return an experiment. Raises NotFound."""
        found = await self._records.get(EXPERIMENTS, name)
        if found is None:
            hint = "See them with: redqueen experiment list"
            raise NotFound("experiment.unknown", f"There is no experiment {name[:80]}", hint=hint)
        return _row(found)

    async def all(self) -> list[ExperimentRow]:
        """Return every experiment, the newest first."""
        rows = [_row(found) for found in await self._records.scan(EXPERIMENTS)]
        return sorted(rows, key=lambda row: -row.started_s)

    async def head(self, row: ExperimentRow) -> Head | None:
        """Return how the trial stands that decides of an experiment now, or decided last."""
        return await self._trials.find(row.trial.id) or await self._trials.find(row.experiment.name)

    async def turn(self) -> None:
        """Do what is due: the leader calls it over and over."""
        if not self._founded:
            await self._flags.ensure_own()
            self._founded = True
        for marker in await self._records.scan(RUNNING):
            found = await self._records.get(EXPERIMENTS, marker.clustering)
            if found is not None and not _row(found).phase.over:
                await self._advance(_row(found))
            elif found is not None:
                await self._let_go(_row(found))

    async def _advance(self, row: ExperimentRow) -> None:
        trial = row.trial
        try:
            await self._flags.hold(row.experiment.flag, row.experiment.name)
        except (NotFound, Conflict) as error:
            await self._end(row, str(error))
            return
        head = await self._trials.find(trial.id) or await self._trials.start(trial)
        await self._follow(head)
        if not head.life.status.ended:
            if not await self._is_on(row.experiment.flag):
                await self._trials.stop(trial.id, "the flag was switched off", REGION)
            return
        if head.life.status is not Status.PROMOTED:
            await self._end(row, head.life.because)
        elif not row.winner:
            await self._won(row, head)
        else:
            await self._make_default(row, head.life.because)

    async def _follow(self, head: Head) -> None:
        """Take new looks into the segments: now and then while it runs, all that is left when it has ended."""
        now_s, name = self._clock.monotonic(), head.trial.id
        if not head.life.status.ended and now_s < self._follow_at_s.get(name, 0.0):
            return
        self._follow_at_s[name] = now_s + FOLLOW_S
        while not await self.results.follow(head):
            pass

    async def _won(self, row: ExperimentRow, head: Head) -> None:
        """Go from the experiment to its winner: by a wider trial, or at once where this one had the widest step."""
        arm = head.life.winner
        row = msgspec.structs.replace(row, winner=variant_of(row.experiment, arm), because=head.life.because)
        if rollout_of(row.experiment, arm, row.started_s) is None:
            await self._make_default(row, head.life.because)
            return
        await self._change(msgspec.structs.replace(row, phase=Phase.ROLLING_OUT))
        await self._audit.note(REGION, "roll out", f"experiment {row.experiment.name}", head.life.because)

    async def _make_default(self, row: ExperimentRow, because: str) -> None:
        name = row.experiment.name
        await self._flags.make_default(row.experiment.flag, row.winner, name, because)
        ended = {"because": because, "ended_s": self._clock.now()}
        await self._change(msgspec.structs.replace(row, phase=Phase.WON, **ended))
        await self._let_go(row)

    async def _end(self, row: ExperimentRow, because: str) -> None:
        ended = {"because": because, "ended_s": self._clock.now()}
        await self._change(msgspec.structs.replace(row, phase=Phase.ENDED, **ended))
        await self._let_go(row)

    async def _open(self, row: ExperimentRow) -> None:
        name = row.experiment.name
        # The marker comes first: an experiment without it would never be watched.
        await self._records.put(RUNNING, Put(name, b""))
        if await self._records.put(EXPERIMENTS, Put(name, msgspec.json.encode(row), ABSENT)) is None:
            raise Conflict("experiment.exists", f"There was an experiment {name} already", hint="Give it another name")

    async def _forget(self, row: ExperimentRow) -> None:
        """Undo a start that was refused."""
        await self._let_go(row)
        await self._records.delete(EXPERIMENTS, Delete(row.experiment.name))

    async def _change(self, row: ExperimentRow) -> None:
        for _ in range(_TRIES):
            found = await self._records.get(EXPERIMENTS, row.experiment.name)
            if found is None or _row(found).phase.over:
                return
            change = Put(row.experiment.name, msgspec.json.encode(row), found.version)
            if await self._records.put(EXPERIMENTS, change) is not None:
                return
        raise Conflict("experiment.changed", f"{row.experiment.name} changed under every attempt", hint="Try again")

    async def _let_go(self, row: ExperimentRow) -> None:
        await self._flags.let_go(row.experiment.flag, row.experiment.name)
        await self._records.delete(RUNNING, Delete(row.experiment.name))

    async def _is_on(self, key: str) -> bool:
        flag = await self._flags.find(key)
        return flag is not None and flag.enabled


def _row(found: Record) -> ExperimentRow:
    return msgspec.json.decode(found.value, type=ExperimentRow)
