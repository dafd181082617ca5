"""The leader's turn, once a second: begin what waits, collect, look, judge, store, widen or end, arm.

A turn reads how every running trial stands, so that it goes on from wherever another leader left
off; what it concludes counts only if nobody else wrote meanwhile (`ledger.py`). What nodes assign
by is made equal to what the trials say, turn for turn. Cost of a turn: one request to each api node
and gateway, one batch and some milliseconds of judging a trial with new data, whatever came before.
Beyond ASKED_EACH_S nodes collecting comes less often, so that thousands of nodes cost the leader no
more calls a second than that. Refuses nothing. Enter at `Leading.turn`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import anyio
import msgspec

from redqueen.clock import Clock
from redqueen.errors import Conflict, InvalidInput, Unavailable
from redqueen.events import Emit, LoopFailed
from redqueen.stats.dispersion import Noise
from redqueen.store.audit import REGION, Audit
from redqueen.store.ports import Records
from redqueen.telemetry.model import FigureBin, SessionRow
from redqueen.trials import arming, collecting, judging, layers, looks, stretches, taking
from redqueen.trials.armed_rows import ArmedRows
from redqueen.trials.collecting import FIGURES_MATURE_S, KEPT_S, SESSIONS_MATURE_S, Span, Taken
from redqueen.trials.happenings import FalseAlarm, TelemetryMissing, TrialWaits, tell
from redqueen.trials.judging import Moved, Standing
from redqueen.trials.learning import Learning
from redqueen.trials.ledger import Begun, Entry, Head, Judged, Ledger, Passed, Reported, Taught
from redqueen.trials.life import Renew
from redqueen.trials.measures import Measures
from redqueen.trials.model import Armed, Status, Subject, Trial
from redqueen.trials.permanent import permanent
from redqueen.trials.ports import Sources
from redqueen.trials.records import TRACED, Trace, packed_look, traced
from redqueen.trials.stretches import Window
from redqueen.trials.taking import Data, fixed

ASKED_EACH_S: Final = 250
STAYS_S: Final = 900.0
"""So long a promoted release's viewers keep their arms at most, if nobody says that its service runs it now."""
NOTHING: Final = Measures((), (), 0.05)
"""The measures of a trial that never began."""
_MOST_LOOKS: Final = 4
"""Looks of one trial in one turn: the rest of what is late comes with the next turns."""


@dataclass(frozen=True, slots=True)
class Known:
    """A trial's evidence after entry `number`, and how its readings went."""

    number: int
    standing: Standing
    trace: Trace


class Leading:
    """What the leader keeps between turns: only what can be read again."""

    def __init__(self, records: Records, clock: Clock, emit: Emit, sources: Sources, zones: tuple[str, ...]) -> None:
        """Judge the trials in `records` by what `sources` tell; strata are by `zones`."""
        self._clock = clock
        self._emit = emit
        self._sources = sources
        self._zones = zones
        self._ledger = Ledger(records)
        self._rows = ArmedRows(records)
        self._audit = Audit(records, clock)
        self._learning = Learning(records, zones)
        self._known: dict[str, Known] = {}
        self._waiting: dict[str, str] = {}
        self._silent: dict[str, tuple[str, ...]] = {}
        self._again: dict[str, int] = {}
        self._data = Data()
        self._collect_at_s = 0.0
        self._founded = False

    async def turn(self) -> None:
        """Do all that is due now."""
        await self._rows.read()
        await self._learning.read(self._clock.now())
        heads = await self._heads()
        await self._arm(heads.values())
        data = await self._collected(heads.values())
        for trial_id, head in heads.items():
            if head.life.running:
                heads[trial_id] = await self._alone(head, self._judged(head, data))
        await self._arm(heads.values())
        await self._learning.learn(data.sessions, data.figures, self._clock.now())
        for head in heads.values():
            if head.trial.for_ever:
                await self._ledger.prune(head)

    async def _heads(self) -> dict[str, Head]:
        """Read how every trial stands that has not ended, and begin what waits, the oldest first.

        A promoted one is among them until its row says that its viewers stay: its leader may have died before.
        """
        if not self._founded:
            for trial in permanent():
                await self._ledger.open(Head(msgspec.structs.replace(trial, created_s=self._clock.now())))
            self._founded = True
        heads: dict[str, Head] = {}
        for trial_id in await self._ledger.running():
            head = await self._ledger.head(trial_id)
            if head is not None and head.life.status.ended and not (_takes_over(head) and self._rows.leaves(trial_id)):
                await self._ledger.retire(trial_id)
            elif head is not None:
                heads[trial_id] = head
        self._known = {one: known for one, known in self._known.items() if one in heads}
        for trial_id in sorted(heads, key=lambda one: (heads[one].trial.created_s, one)):
            if heads[trial_id].life.status is Status.PLANNED:
                heads[trial_id] = await self._alone(heads[trial_id], self._begun(heads[trial_id], heads))
        return heads

    async def _alone(self, head: Head, step: Awaitable[Head]) -> Head:
        """Take a step of one trial; what fails there fails for it alone, and is tried again with the next turn."""
        try:
            return await step
        except Unavailable:
            raise  # the store's trouble is everybody's
        except Exception as error:  # noqa: BLE001 - one trial's fault must not stop the others; it is logged
            self._known.pop(head.trial.id, None)
            self._emit(LoopFailed(f"trial {head.trial.id}", f"{type(error).__name__}: {error}", 1.0))
            return head

    async def _begun(self, head: Head, heads: Mapping[str, Head]) -> Head:
        """Begin a trial if its layer has room; what it is judged by is fixed here."""
        trial = head.trial
        held = [one.place for one in heads.values() if one.place is not None and one.trial.layer == trial.layer]
        try:
            place = layers.placed(trial.layer, trial.layer_share, held, trial=trial.id)
            layers.unrivalled(trial, (one.trial for one in heads.values() if one.place is not None))
        except Conflict as error:
            if self._waiting.get(trial.id) != str(error):
                self._waiting[trial.id] = str(error)
                self._emit(TrialWaits(trial.id, str(error)))
            return head
        try:
            measures = self._learning.measures(trial, self._noise(heads))
        except InvalidInput as error:
            reported = Reported(self._clock.now(), f"it cannot be judged: {error}")
            after = judging.moved(trial, NOTHING, Moved(head.life, Standing()), reported)
            return await self._written(head, after, reported) or head
        entry = Begun(self._clock.now())
        after = judging.moved(trial, measures, Moved(head.life, judging.begun(trial, measures)), entry)
        since = stretches.settled(after.life.stretches[0]) if after.life.stretches else 0
        ready = msgspec.structs.replace(head, place=place, measures=measures, sessions_until=since, figures_until=since)
        return await self._written(ready, after, entry) or head

    async def _judged(self, head: Head, data: Data) -> Head:
        """Take what is new into a trial, look by look; or let time pass."""
        looked = False
        for _ in range(_MOST_LOOKS):
            window = taking.window(head, data)
            if window is None or not head.life.running:
                break
            after = await self._look(head, window, data)
            if after is None:
                return head
            head, looked = after, True
        return head if looked else await self._passed(head)

    async def _look(self, head: Head, window: Window, data: Data) -> Head | None:
        """Make one look; None where somebody else moved the trial meanwhile."""
        measures = fixed(head)
        seen = taking.seen(head, window, data)
        span_s = float(window.until - window.first)
        found = looks.looks(head.trial, measures, window.stretch, span_s, seen.rows, seen.bins)
        entry = Judged(
            self._clock.now(),
            window.stretch.from_s,
            {arm: packed_look(look) for arm, look in found.items()},
            {arm: looks.units(look) for arm, look in found.items()},
            seen.missing,
        )
        known = await self._stand(head)
        after = judging.moved(head.trial, measures, Moved(head.life, known.standing), entry)
        head = msgspec.structs.replace(
            head,
            sessions_until=seen.sessions_until,
            figures_until=seen.figures_until,
            gaps=collecting.joined(head.gaps, seen.gaps),
        )
        return await self._written(head, after, entry, known)

    async def _passed(self, head: Head) -> Head:
        """Let time pass where there is no look."""
        measures = fixed(head)
        entry = Passed(self._clock.now())
        known = await self._stand(head)
        after = judging.moved(head.trial, measures, Moved(head.life, known.standing), entry)
        return head if after.life == head.life else await self._written(head, after, entry, known) or head

    async def _written(self, head: Head, after: Moved, entry: Entry, before: Known | None = None) -> Head | None:
        """Store what an entry made of a trial; None where somebody else was first."""
        looked = head.looks + isinstance(entry, Judged)
        written = msgspec.structs.replace(head, life=after.life, number=head.number + 1, looks=looked)
        trace = None if before is None else traced(before.trace, entry.at_s, _share(head), after.readings)
        if before is not None and any(isinstance(command, Renew) for command in after.commands):
            measures = self._learning.measures(_as_planned(head.trial), self._noise({head.trial.id: head}))
            written = _renewed(written, measures, before.standing)
            after = replace(after, standing=judging.begun(written.trial, measures))
            trace = _fresh_trace(head)
        changed = trace is not None and (before is None or trace is not before.trace)
        evidence = judging.packed(after.standing)
        if not await self._ledger.write(written, entry, evidence, trace if changed else None):
            self._known.pop(head.trial.id, None)
            return None
        self._known[head.trial.id] = Known(written.number, after.standing, trace or _fresh_trace(head))
        await self._told(head, written)
        return written

    async def _told(self, before: Head, after: Head) -> None:
        """Tell the log, and of an end the audit log."""
        tell(self._emit, before, after)
        life = after.life
        if life.alarms_ever > before.life.alarms_ever:
            self._emit(FalseAlarm(after.trial.id, life.alarms[-1].because, life.alarms_ever))
        if life.status.ended:
            await self._audit.note(REGION, life.status.value, f"trial {after.trial.id}", life.because)

    async def _stand(self, head: Head) -> Known:
        """Return a trial's evidence, from memory where nobody else has moved it."""
        known = self._known.get(head.trial.id)
        if known is None or known.number != head.number:
            kept = await self._ledger.load(head.trial.id)
            # Another entry written between the two readings makes what is written upon this one be refused.
            known = Known(
                head.number,
                judging.unpacked(kept.evidence if kept else b""),
                kept.trace if kept and kept.trace.points else _fresh_trace(head),
            )
            self._known[head.trial.id] = known
        return known

    async def _arm(self, heads: Iterable[Head]) -> None:
        """Make what nodes assign by equal to what the trials say."""
        now_s = self._clock.now()
        wanted: dict[str, Armed] = {}
        for head in heads:
            if not (head.life.running or _takes_over(head)) or not head.life.stretches:
                continue
            now = head.life.stretches[-1]
            armed = arming.armed(head.trial, now.share, head.place, now.dropped, turn=now.turn)
            # Who met the new version is not sent back to the old one while it takes the service's place.
            stays_until_s = now_s + STAYS_S if _takes_over(head) else 0.0
            wanted[head.trial.id] = msgspec.structs.replace(armed, stays_until_s=stays_until_s)
        await self._rows.make(wanted, now_s)

    async def _collected(self, heads: Iterable[Head]) -> Data:
        """Ask all nodes for the seconds that are mature and that some trial, or the history, has not seen."""
        if self._clock.monotonic() < self._collect_at_s:
            return self._data
        now_s, hour = self._clock.now(), self._learning.hour
        running = [head for head in heads if head.life.running]
        rows_wanted = min([hour.sessions_until, *(one.sessions_until for one in running if fixed(one).by_sessions)])
        bins_wanted = min([hour.figures_until, *(one.figures_until for one in running)])
        sessions: list[Taken[SessionRow]] = []
        figures: list[Taken[FigureBin]] = []
        asked: list[int] = []

        async def ask_sessions(span: Span) -> None:
            answers = await self._sources.sessions(span.since, span.until)
            sessions.append(collecting.taken(span, answers, now_s, SESSIONS_MATURE_S))
            self._again["sessions"] = span.until if sessions[0].until < span.until else 0
            asked.append(len(answers.asked))

        async def ask_figures(span: Span) -> None:
            answers = await self._sources.figures(span.since, span.until)
            figures.append(collecting.taken(span, answers, now_s, FIGURES_MATURE_S))
            self._again["figures"] = span.until if figures[0].until < span.until else 0
            asked.append(len(answers.asked))

        # A trial that is stuck must not make the others' data grow.
        oldest = int(now_s) - KEPT_S
        rows_wanted, bins_wanted = max(oldest, rows_wanted), max(oldest, bins_wanted)
        rows_from = _next(self._data.sessions, rows_wanted)
        bins_from = _next(self._data.figures, bins_wanted)
        async with anyio.create_task_group() as group:
            if (
                span := collecting.span(rows_from, now_s, SESSIONS_MATURE_S, self._again.get("sessions", 0))
            ) is not None:
                group.start_soon(ask_sessions, span)
            if (span := collecting.span(bins_from, now_s, FIGURES_MATURE_S, self._again.get("figures", 0))) is not None:
                group.start_soon(ask_figures, span)
        self._collect_at_s = self._clock.monotonic() + sum(asked) / ASKED_EACH_S - 1.0
        self._miss(Data(sessions[0] if sessions else None, figures[0] if figures else None))
        known = self._data
        self._data = Data(
            collecting.extended(known.sessions, sessions[0], rows_wanted) if sessions else known.sessions,
            collecting.extended(known.figures, figures[0], bins_wanted) if figures else known.figures,
        )
        return self._data

    def _miss(self, data: Data) -> None:
        """Log nodes that begin or cease to be silent."""
        for what, one in (("sessions", data.sessions), ("figures", data.figures)):
            if one is None or one.until == one.since:
                continue
            nodes = tuple(sorted({gap.node for gap in one.gaps if gap.node}))
            if nodes != self._silent.get(what, ()):
                self._emit(TelemetryMissing(what, nodes, one.since, one.until))
            self._silent[what] = nodes

    def _noise(self, heads: Mapping[str, Head]) -> dict[str, Noise]:
        """Return what the permanent A/A trials have shown of each metric's noise so far."""
        together: dict[str, Noise] = {}
        for trial in permanent():
            head, known = heads.get(trial.id), self._known.get(trial.id)
            found = [(name, Noise(one.blocks, one.chi_square)) for name, one in (head.taught if head else {}).items()]
            if head is not None and head.measures is not None and known is not None:
                found += judging.noise(head.measures, known.standing).items()
            for name, one in found:
                together[name] = together.get(name, Noise()) + one
        return together


def _next(taken: Taken[SessionRow] | Taken[FigureBin] | None, wanted: int) -> int:
    """Return the second to ask for next: after those that are here, if all that is wanted before them is here too."""
    return taken.until if taken is not None and taken.since <= wanted <= taken.until else wanted


def _takes_over(head: Head) -> bool:
    """Tell whether a release was just promoted: its service's nodes are to be replaced."""
    return head.trial.subject is Subject.RELEASE and head.life.status is Status.PROMOTED


def _as_planned(trial: Trial) -> Trial:
    """Return a permanent trial as it is planned now, which may be more than when the region began."""
    now = next((one for one in permanent() if one.id == trial.id), trial)
    return msgspec.structs.replace(now, created_s=trial.created_s)


def _renewed(head: Head, measures: Measures, standing: Standing) -> Head:
    """Return a permanent trial at the beginning of its next turn, measured anew, with what the last taught of noise."""
    since = stretches.settled(head.life.stretches[0])
    taught = dict(head.taught)
    for name, one in judging.noise(fixed(head), standing).items():
        taught[name] = taught.get(name, Taught()) + one
    return msgspec.structs.replace(
        head,
        trial=_as_planned(head.trial),
        measures=measures,
        origin=head.life,
        first=head.number + 1,
        looks=0,
        taught=taught,
        sessions_until=since,
        figures_until=since,
    )


def _fresh_trace(head: Head) -> Trace:
    return Trace(every_s=max(1.0, head.trial.horizon_s / TRACED))


def _share(head: Head) -> float:
    return head.life.stretches[-1].share if head.life.stretches else 0.0
