"""What happens to trials, as the log tells it: changes only, never a look by itself."""

from __future__ import annotations

from dataclasses import dataclass

from redqueen.events import Emit, Event
from redqueen.trials.ledger import Head


@dataclass(frozen=True, slots=True)
class TrialMoved(Event):
    """A trial is in another state, or at another step, than before."""

    trial: str
    status: str
    step: int
    because: str


@dataclass(frozen=True, slots=True)
class FalseAlarm(Event):
    """A permanent A/A trial found harm where nothing was changed; `ever` counts them since the region began."""

    trial: str
    because: str
    ever: int


@dataclass(frozen=True, slots=True)
class TelemetryMissing(Event):
    """Nodes told nothing of some seconds; trials hold while it lasts."""

    what: str
    nodes: tuple[str, ...]
    first: int
    until: int


@dataclass(frozen=True, slots=True)
class TrialWaits(Event):
    """A planned trial cannot begin yet."""

    trial: str
    because: str


def tell(emit: Emit, before: Head, after: Head) -> None:
    """Emit what changed between two states of a trial, if anything did that people care about."""
    was, now = before.life, after.life
    if (was.status, was.step, was.turn, was.out) != (now.status, now.step, now.turn, now.out):
        emit(TrialMoved(after.trial.id, now.status.value, now.step, now.because))
