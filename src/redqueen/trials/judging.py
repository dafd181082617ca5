"""One entry of a trial's log, applied: the same for the leader that writes it and for whoever replays it.

The evidence of each treatment (and of the goal's flipped test) grows by its look; the readings go
to the lifecycle. A look from which nodes are missing teaches, but nothing is concluded from it:
it holds. Pure; the same entries in the same order give the same bits (on the same build of numpy).
Enter at `begun`, `moved` and `replayed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from redqueen.stats import evidence as evidences
from redqueen.stats import judge
from redqueen.stats.dispersion import Noise
from redqueen.stats.evidence import Evidence
from redqueen.stats.model import Choice, Look, Reading
from redqueen.stats.plan import Plan
from redqueen.trials import lifecycle
from redqueen.trials.ledger import Begun, Entry, Head, Judged, Passed, Reported, Stopped
from redqueen.trials.life import Begin, Command, Event, Life, Looked, Problem, Renew, Stop, Tick
from redqueen.trials.measures import Measures
from redqueen.trials.model import Trial
from redqueen.trials.records import packed_evidence, unpacked_evidence, unpacked_look

_GOAL = "goal/"
"""Before the names of treatments, whose own have no slash."""

Evidences: TypeAlias = Mapping[str, Evidence]


@dataclass(frozen=True, slots=True)
class Standing:
    """All evidence of a trial, by treatment; `goals` is that of the goal's flipped test."""

    treatments: Evidences = field(default_factory=dict[str, Evidence])
    goals: Evidences = field(default_factory=dict[str, Evidence])


@dataclass(frozen=True, slots=True)
class Moved:
    """A trial after an entry: its life, its evidence, what the lifecycle asks for, and what was read."""

    life: Life
    standing: Standing
    commands: tuple[Command, ...] = ()
    readings: Mapping[str, Reading] = field(default_factory=dict[str, Reading])
    goals: Mapping[str, Reading] = field(default_factory=dict[str, Reading])


def packed(standing: Standing) -> bytes:
    """Return all evidence of a trial as bytes: equal evidence, equal bytes."""
    return packed_evidence({**standing.treatments, **{_GOAL + arm: one for arm, one in standing.goals.items()}})


def unpacked(raw: bytes) -> Standing:
    """Return the evidence that was packed. Raises Broken."""
    known = unpacked_evidence(raw)
    return Standing(
        {name: one for name, one in known.items() if not name.startswith(_GOAL)},
        {name.removeprefix(_GOAL): one for name, one in known.items() if name.startswith(_GOAL)},
    )


def begun(trial: Trial, measures: Measures) -> Standing:
    """Return the evidence before the first look."""
    names, goal = [arm.name for arm in trial.treatments], measures.goal_plan()
    return Standing(
        {name: evidences.begin(measures.plan()) for name in names},
        {name: evidences.begin(goal) for name in names} if goal else {},
    )


def moved(trial: Trial, measures: Measures, before: Moved, entry: Entry) -> Moved:
    """Return the trial after an entry of its log. Raises Broken for a look that cannot be read."""
    standing, readings, goals = before.standing, dict[str, Reading](), dict[str, Reading]()
    event: Event
    if isinstance(entry, Judged):
        # The looks are read from the entry even where they were just made: what is kept is what is judged.
        looks = {arm: unpacked_look(raw) for arm, raw in entry.looks.items()}
        standing, readings, goals = _looked(measures, before.standing, looks)
        if entry.missing:
            readings = {arm: _held(one, entry.missing) for arm, one in readings.items()}
        event = Looked(readings, entry.units, entry.drawn_s, goals)
    else:
        event = _event(entry)
    life, commands = lifecycle.step(trial, before.life, event, entry.at_s)
    if any(isinstance(command, Renew) for command in commands):
        standing = begun(trial, measures)
    return Moved(life, standing, commands, readings, goals)


def beginning(head: Head) -> Moved:
    """Return what a trial was before the first entry of its log."""
    return Moved(head.origin, begun(head.trial, head.measures) if head.measures is not None else Standing())


def replayed(head: Head, state: Moved, entries: Sequence[Entry]) -> Moved:
    """Return what a trial is after some more entries."""
    for entry in entries:
        state = moved(head.trial, head.measures or Measures((), (), head.trial.alpha), state, entry)
    return state


def noise(measures: Measures, standing: Standing) -> dict[str, Noise]:
    """Return what a permanent A/A trial has taught of each metric's noise in this turn of it."""
    taught: dict[str, Noise] = {}
    for evidence in standing.treatments.values():
        for name, found in judge.noise(measures.plan(), evidence).items():
            taught[name] = taught.get(name, Noise()) + found
    return taught


def read(measures: Measures, standing: Standing) -> dict[str, Reading]:
    """Say what the evidence supports, by treatment."""
    return {arm: judge.judge(measures.plan(), evidence) for arm, evidence in standing.treatments.items()}


def _looked(
    measures: Measures, before: Standing, looks: Mapping[str, Look]
) -> tuple[Standing, dict[str, Reading], dict[str, Reading]]:
    treatments, readings = _stepped(measures.plan(), before.treatments, looks)
    goal = measures.goal_plan()
    goals, wins = _stepped(goal, before.goals, looks) if goal else (before.goals, {})
    return Standing(treatments, goals), readings, wins


def _stepped(plan: Plan, before: Evidences, looks: Mapping[str, Look]) -> tuple[Evidences, dict[str, Reading]]:
    after, readings = dict(before), dict[str, Reading]()
    for arm, look in looks.items():
        after[arm] = judge.step(plan, before[arm], look)
        readings[arm] = judge.judge(plan, after[arm])
    return after, readings


def _held(reading: Reading, because: str) -> Reading:
    """Conclude nothing but what is proven already: harm that was proven stays proven."""
    return reading if reading.choice is Choice.ROLL_BACK else replace(reading, choice=Choice.HOLD, because=because)


def _event(entry: Begun | Passed | Reported | Stopped) -> Event:
    match entry:
        case Begun():
            return Begin()
        case Passed():
            return Tick()
        case Reported():
            return Problem(entry.because, entry.arm)
        case Stopped():
            return Stop(entry.by, entry.because)
