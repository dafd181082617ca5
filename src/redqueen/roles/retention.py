"""What would only grow is forgotten: old events, logs of old trials, artifacts nobody will ask for.

Decides what is in use: events that a running experiment looks at, logs of trials that an experiment
or an open release goes by. How long is kept what says `[retention]` in the settings; 0 has no loop
at all. Each loop does a bounded piece of work a turn, tells what went, and fails for itself. Enter
at `retention_loops`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from redqueen.delivery.archive import Archive
from redqueen.delivery.artifacts import Artifacts
from redqueen.delivery.keeping import Keeping
from redqueen.events import Event
from redqueen.experiments.running import ExperimentRow
from redqueen.experiments.viewing import WEEK_S
from redqueen.roles.declared import RecordWishes
from redqueen.roles.experiments import make_experiments
from redqueen.roles.node import Node
from redqueen.roles.telemetry import make_lake
from redqueen.trials.forgetting import Forgetting

EVERY_S: Final = 600.0
_DAY_S: Final = 86_400.0
_DAYS_AT_ONCE: Final = 2
"""Days of events that go in one turn: some hundred files."""

Turn = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Forgotten(Event):
    """What the settings do not keep any longer is gone."""

    what: str
    count: int
    which: tuple[str, ...]
    because: str


def retention_loops(node: Node) -> dict[str, tuple[float, Turn]]:
    """Give the leader's loops, those of what is kept for ever left out."""
    kept, own = node.region.retention, _Retention(node)
    turns = {"events": own.events, "trials": own.trials, "artifacts": own.artifacts}
    limits = {"events": kept.events_days, "trials": kept.trial_logs_days, "artifacts": kept.releases}
    return {f"retention.{name}": (EVERY_S, turn) for name, turn in turns.items() if limits[name]}


def events_before(now: float, days: int, started_s: list[float]) -> float:
    """Return before which time events may go; experiments that began at `started_s` run."""
    return min([now - days * _DAY_S, *(begun - WEEK_S for begun in started_s)])


class _Retention:
    def __init__(self, node: Node) -> None:
        stores, kept = node.stores, node.region.retention
        self._node = node
        self._kept = kept
        self._lake = make_lake(node)
        self._experiments = make_experiments(node)
        self._archive = Archive(stores.records)
        self._forgetting = Forgetting(stores.records)
        wishes = RecordWishes(stores.records, node.clock)
        self._keeping = Keeping(stores.records, Artifacts(stores.objects, stores.records), wishes.read, kept.releases)

    async def events(self) -> None:
        started_s = [row.started_s for row in await self._running()]
        before = events_before(self._node.clock.now(), self._kept.events_days, started_s)
        gone = await self._lake.forget(before, _DAYS_AT_ONCE)
        self._tell("days of events", len(gone), gone, f"events are kept for {self._kept.events_days} days")

    async def trials(self) -> None:
        rows = await self._running()
        in_use = {row.trial.id for row in rows} | {row.experiment.name for row in rows}
        in_use |= {one.release.trial for one in await self._archive.open()}
        before = self._node.clock.now() - self._kept.trial_logs_days * _DAY_S
        removed = await self._forgetting.turn(before, in_use)
        why = f"the looks of a trial are kept for {self._kept.trial_logs_days} days after its end"
        self._tell("looks of trials", removed, (), why)

    async def artifacts(self) -> None:
        gone = await self._keeping.turn()
        why = f"the newest {self._kept.releases} releases of a service are kept, and what runs or may have to"
        self._tell("artifacts", len(gone), gone, why)

    async def _running(self) -> list[ExperimentRow]:
        return [row for row in await self._experiments.all() if not row.phase.over]

    def _tell(self, what: str, count: int, which: list[str] | tuple[()], because: str) -> None:
        if count:
            self._node.emit(Forgotten(what, count, tuple(which), because))
