"""What the lifecycle of a trial keeps, what may happen to it, what it asks for.

Only values. `Life` is stored as it is: whoever reads it again goes on where the last leader stood.
Times are Unix seconds by the leader's clock. Enter at `Life`; the rules are in `lifecycle.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from redqueen.stats.model import Reading
from redqueen.trials.model import Status


class Stretch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Since when viewers are drawn how: the treatments' share together, arms that are control again, the draw."""

    from_s: float
    share: float
    dropped: tuple[str, ...] = ()
    turn: int = 0


class Dropped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A treatment that was taken out of the trial."""

    arm: str
    because: str
    at_s: float
    proven: bool
    """By the viewers' evidence; else its nodes were reported broken."""


class Alarm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A permanent A/A trial found what is not there."""

    at_s: float
    turn: int
    because: str


class Life(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the lifecycle keeps. Times in Unix seconds by the leader's clock."""

    status: Status = Status.PLANNED
    because: str = "not started yet"
    started_s: float = 0.0
    ended_s: float = 0.0
    step: int = 0
    """Index in the trial's steps."""
    since_s: float = 0.0
    """When this step began, or the last hold ended."""
    seen: dict[str, float] = {}
    """Units of each treatment since this step began."""
    highest: dict[str, float] = {}
    """Highest log E against "no harm" of each treatment at this step."""
    held_since_s: float = 0.0
    heard_s: float = 0.0
    """When the last look arrived."""
    dropped: tuple[Dropped, ...] = ()
    winner: str = ""
    stretches: tuple[Stretch, ...] = ()
    turn: int = 0
    """How often a permanent A/A trial has started anew."""
    alarms: tuple[Alarm, ...] = ()
    """The newest ones."""
    alarms_ever: int = 0

    @property
    def running(self) -> bool:
        """Tell whether viewers are in its arms."""
        return self.status in (Status.RUNNING, Status.HELD)

    @property
    def out(self) -> tuple[str, ...]:
        """Return the names of the dropped treatments."""
        return tuple(one.arm for one in self.dropped)


@dataclass(frozen=True, slots=True)
class Begin:
    """The groups are ready: viewers may come."""


@dataclass(frozen=True, slots=True)
class Looked:
    """The judge's readings after a look, by treatment (dropped ones left out)."""

    readings: Mapping[str, Reading]
    units: Mapping[str, float] = field(default_factory=dict[str, float])
    """Units of each treatment in this look."""
    drawn_s: float = 0.0
    """`from_s` of the stretch that the look belongs to."""
    goals: Mapping[str, Reading] = field(default_factory=dict[str, Reading])
    """Readings of the goal's flipped test: there harm of "being better" is proven where the treatment wins."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passes and there is no look."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A treatment's nodes cannot serve (never healthy, exit again and again, leak); no name: the whole trial's."""

    because: str
    arm: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """A person ends it."""

    by: str
    because: str = ""


Event: TypeAlias = Begin | Looked | Tick | Problem | Stop


@dataclass(frozen=True, slots=True)
class Arm:
    """Draw viewers like this from now on (idempotent: `stretch` is also the last of the state)."""

    stretch: Stretch


@dataclass(frozen=True, slots=True)
class Renew:
    """Begin with empty evidence: a permanent A/A trial starts anew."""

    turn: int


@dataclass(frozen=True, slots=True)
class Disarm:
    """Everybody is outside again."""


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over; of a promotion `winner` is the treatment."""

    status: Status
    because: str
    winner: str = ""


Command: TypeAlias = Arm | Renew | Disarm | Ended
