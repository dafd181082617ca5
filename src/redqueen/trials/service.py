"""The trials of a region: begun, watched, stopped, read, replayed; and the leader's turn.

Any node may start and stop trials (each change is one numbered entry of the trial's log, so two
who change it at once are one after the other); only the leading control node calls `turn`. What it
does there is in `leading.py`, what it decides in `lifecycle.py` and `stats.judge`. Refuses a trial
that cannot be run, an id that means another trial, a layer that is full. Enter at `Trials`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import anyio.to_thread
import msgspec

from redqueen.clock import Clock
from redqueen.errors import Broken, Conflict, InvalidInput, NotFound, Unavailable
from redqueen.events import Emit, discard
from redqueen.stats.dispersion import Noise
from redqueen.store.ports import Records
from redqueen.trials import arming, hour, judging, layers, learning, lifecycle, planning, power
from redqueen.trials.armed_rows import ArmedRows, disarm
from redqueen.trials.collecting import Gap
from redqueen.trials.happenings import tell
from redqueen.trials.history import History
from redqueen.trials.judging import Moved, Standing
from redqueen.trials.leading import Leading
from redqueen.trials.ledger import Entry, Head, Kept, Ledger, Reported, Stopped, Taught
from redqueen.trials.life import Event, Problem, Stop
from redqueen.trials.model import Trial
from redqueen.trials.permanent import is_permanent
from redqueen.trials.ports import Sources
from redqueen.trials.power import Forecast
from redqueen.trials.records import Trace, TrialRecord, shown

_PAGE: Final = 50
"""Entries judged again at a time."""
_TRIES: Final = 8


class Replay(msgspec.Struct, frozen=True):
    """What came of judging a trial's log again."""

    trial: str
    entries: int
    status: str
    because: str
    same_life: bool
    """Status, reason, steps and all: as stored."""
    same_evidence: bool
    """Every likelihood and e-value, bit for bit."""


class NoiseShown(msgspec.Struct, frozen=True):
    """What A/A trials have shown of a metric's noise."""

    metric: str
    blocks: float
    """Half hours that were measured."""
    dispersion: float | None
    """Noise over what independent viewers would make; None: nothing is known yet."""


@dataclass(frozen=True, slots=True)
class Course:
    """A trial as people see it, with what has led there."""

    record: TrialRecord
    trace: Trace
    gaps: tuple[Gap, ...]
    noise: tuple[NoiseShown, ...]


class Trials:
    """All trials of a region, in its records."""

    def __init__(
        self,
        records: Records,
        clock: Clock,
        emit: Emit = discard,
        sources: Sources | None = None,
        zones: Sequence[str] = (),
    ) -> None:
        """Keep trials in `records`; only who leads needs `sources` and the region's `zones`."""
        self._records = records
        self._clock = clock
        self._emit = emit
        self._ledger = Ledger(records)
        self._leading = Leading(records, clock, emit, sources, tuple(zones)) if sources is not None else None

    async def turn(self) -> None:
        """Do what is due now; the leader calls it once a second. Raises Broken where nobody can be asked."""
        if self._leading is None:
            raise Broken("trials.sources", "These trials have no sources to judge by", hint="Report this")
        await self._leading.turn()

    async def start(self, trial: Trial) -> Head:
        """Plan a trial; the leader begins it within a second. The very same again changes nothing.

        Raises InvalidInput for a trial that cannot be run, Conflict for an id that means another trial or a full layer.
        """
        # Metrics are checked before a leader has to fix them, in a turn that other trials share.
        planning.planned(arming.checked(trial), History()).plan()
        if is_permanent(trial.id):
            raise InvalidInput("trial.id", f"{trial.id} is a permanent trial's id", hint="Choose another")
        known = await self._ledger.head(trial.id)
        if known is None:
            armed = await ArmedRows(self._records).read()
            held = layers.taken(arming.layer_salt(trial.layer), armed)
            layers.placed(trial.layer, trial.layer_share, held, trial=trial.id)
            layers.unrivalled(trial, armed)
            trial = msgspec.structs.replace(trial, created_s=trial.created_s or self._clock.now())
            if await self._ledger.open(Head(trial)):
                return Head(trial)
            known = await self.get(trial.id)
        if not _same(known.trial, trial):
            raise Conflict(
                "trial.exists",
                f"There is another trial {trial.id} already",
                why=f"it is {known.life.status.value}",
                hint="Give this one another id",
            )
        return known

    async def stop(self, trial_id: str, because: str, by: str) -> Head:
        """End a trial without a verdict; one that has ended stays as it is. Raises NotFound, InvalidInput."""
        if is_permanent(trial_id):
            raise InvalidInput(
                "trial.permanent", f"{trial_id} is permanent", why="the noise it measures is what others are judged by"
            )
        now_s = self._clock.now()
        head = await self._moved(trial_id, Stop(by, because), Stopped(now_s, by, because), now_s)
        await disarm(self._records, trial_id)
        return head

    async def report(self, trial_id: str, problem: str, arm: str = "") -> Head:
        """Tell what no viewer can: a treatment's nodes never became healthy, exit, leak. Raises NotFound."""
        now_s = self._clock.now()
        head = await self._moved(trial_id, Problem(problem, arm), Reported(now_s, problem, arm), now_s)
        if head.life.status.ended:
            await disarm(self._records, trial_id)
        return head

    async def find(self, trial_id: str) -> Head | None:
        """Return how a trial stands; None: there is none of this id."""
        return await self._ledger.head(trial_id)

    async def get(self, trial_id: str) -> Head:
        """Return how a trial stands. Raises NotFound."""
        head = await self.find(trial_id)
        if head is None:
            raise _unknown(trial_id)
        return head

    async def all(self, limit: int = 100) -> list[Head]:
        """Return the newest trials, newest first."""
        return await self._ledger.newest(limit)

    async def record(self, trial_id: str) -> TrialRecord:
        """Return a trial as people see it, with its newest readings. Raises NotFound."""
        return (await self.course(trial_id)).record

    async def course(self, trial_id: str) -> Course:
        """Return a trial as people see it, how its readings went, what was missing. Raises NotFound."""
        kept = await self._kept(trial_id)
        head, standing = kept.head, judging.unpacked(kept.evidence)
        readings = judging.read(head.measures, standing) if head.measures is not None else {}
        # Whoever was dropped shows in the reasons; of an ended trial everybody's last readings stay.
        live = {arm: one for arm, one in readings.items() if arm not in head.life.out or head.life.status.ended}
        record = shown(head.trial, head.life, head.measures, head.looks, live)
        return Course(record, kept.trace, head.gaps, _noise(head, standing))

    async def records(self, limit: int = 100) -> list[TrialRecord]:
        """Return the newest trials as people see them, without readings, newest first."""
        heads = await self.all(limit)
        return [shown(head.trial, head.life, head.measures, head.looks, {}) for head in heads]

    async def today(self, service: str = "") -> History:
        """Return how players, and a service's requests, fared in the last hour: what power is told from."""
        return hour.today((await learning.kept(self._records))[1], service)

    async def power(self, trial: Trial, per_minute: float | None = None) -> Forecast:
        """Tell what a trial could see at `per_minute` units (None: as in the last hour). Raises InvalidInput."""
        today = await self.today(trial.target)
        measures = planning.planned(arming.checked(trial), today)
        if per_minute is None:
            units = today.sessions if measures.by_sessions else today.requests
            per_minute = 60.0 * units / max(1, today.seconds)
        # A second of a core: beside the event loop.
        return await anyio.to_thread.run_sync(power.forecast, trial, measures, today, per_minute)

    async def replay(self, trial_id: str) -> Replay:
        """Judge a trial's log again from its beginning, and tell whether the same came of it. Raises NotFound."""
        kept = await self._kept(trial_id)
        head = kept.head
        if head.number >= head.first and not await self._ledger.begins(head):
            raise NotFound(
                "trial.forgotten",
                f"The looks of {trial_id} are not kept any more",
                why=f"it ended long ago; what came of it stays: {head.life.status.value}, {head.life.because}",
                hint="How long they are kept says `trial_logs_days` under [retention] in the region's settings",
            )
        state = judging.beginning(head)
        page: list[Entry] = []
        entries = 0
        async for entry in self._ledger.log(trial_id, head.first, head.number):
            page.append(entry)
            if len(page) >= _PAGE:
                state, entries, page = await _replayed(head, state, page), entries + len(page), []
        state, entries = await _replayed(head, state, page), entries + len(page)
        return Replay(
            trial=trial_id,
            entries=entries,
            status=state.life.status.value,
            because=state.life.because,
            same_life=state.life == head.life,
            same_evidence=judging.packed(state.standing) == kept.evidence or not kept.evidence,
        )

    async def _kept(self, trial_id: str) -> Kept:
        kept = await self._ledger.load(trial_id)
        if kept is None:
            raise _unknown(trial_id)
        return kept

    async def _moved(self, trial_id: str, event: Event, entry: Entry, now_s: float) -> Head:
        """Let an event move a trial, whoever else does so at the same time."""
        for _ in range(_TRIES):
            head = await self.get(trial_id)
            life, _ = lifecycle.step(head.trial, head.life, event, now_s)
            if life == head.life:
                return head
            moved = msgspec.structs.replace(head, life=life, number=head.number + 1)
            if await self._ledger.write(moved, entry):
                tell(self._emit, head, moved)
                return moved
        raise Unavailable("trial.contended", f"{trial_id} changed under every attempt", hint="Try again")


async def _replayed(head: Head, state: Moved, page: Sequence[Entry]) -> Moved:
    """Apply some entries, beside the event loop: each look costs milliseconds."""
    return await anyio.to_thread.run_sync(judging.replayed, head, state, tuple(page)) if page else state


def _noise(head: Head, standing: Standing) -> tuple[NoiseShown, ...]:
    """Return what a permanent trial has shown of noise, in all its turns."""
    if not head.trial.for_ever or head.measures is None:
        return ()
    now = judging.noise(head.measures, standing)
    together = {name: head.taught.get(name, Taught()) + now.get(name, Noise()) for name in sorted({*now, *head.taught})}
    return tuple(
        NoiseShown(name, one.blocks, one.chi_square / one.blocks if one.blocks else None)
        for name, one in together.items()
    )


def _unknown(trial_id: str) -> NotFound:
    return NotFound("trial.unknown", f"There is no trial {trial_id}", hint="See them with: redqueen trial list")


def _same(one: Trial, other: Trial) -> bool:
    return msgspec.structs.replace(one, created_s=0.0) == msgspec.structs.replace(other, created_s=0.0)
