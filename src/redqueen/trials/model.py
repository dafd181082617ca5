"""A trial as values: what is tried on whom, what is measured, how far it is, what came of it.

Viewers are drawn by two independent hashes into 2^20 buckets each: the layer's decides whether a
trial may have them at all (trials of one layer never share a viewer), the trial's own decides the
arm. The control is everybody eligible who is in no treatment. Only values. Enter at `Trial` (what
was planned) and `Armed` (what nodes assign by); what is kept while it runs is in `records.py`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

BUCKETS = 1 << 20
CONTROL = "control"


class Subject(StrEnum):
    """What a trial tries."""

    RELEASE = "release"
    FLAG = "flag"
    NOTHING = "nothing"
    """An A/A trial: what is found is noise."""


class Status(StrEnum):
    """Where a trial is in its life; the last four are for ever."""

    PLANNED = "planned"
    RUNNING = "running"
    HELD = "held"
    """Running, but the measurement is off: nothing may be concluded."""
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    INCONCLUSIVE = "inconclusive"
    STOPPED = "stopped"

    @property
    def ended(self) -> bool:
        """Tell whether nothing can change any more."""
        return self in (Status.PROMOTED, Status.ROLLED_BACK, Status.INCONCLUSIVE, Status.STOPPED)


class Audience(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who may be in a trial; an empty tuple says everybody, `returning` None both kinds."""

    devices: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    returning: bool | None = None


class Viewer(msgspec.Struct, frozen=True):
    """What assignment may know of a viewer."""

    key: int
    """64 bits, see `redqueen.viewers`."""
    device: str = "other"
    zone: str = ""
    country: str = ""
    returning: bool = False


class ArmedArm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One arm's buckets [first, last) of the trial's own hash."""

    name: str
    first: int
    last: int
    group: str = ""
    """A release: the group of nodes that serves this arm; empty: the service's own."""
    variant: str = ""
    """A flag: the variant that this arm gets."""
    treatment: bool = False


class Armed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A running trial as every node assigns by it."""

    trial: str
    subject: Subject
    target: str
    """The service or the flag's key; empty for an A/A trial."""
    salt: int
    """64 bits: the seed of the trial's hash."""
    layer: str
    layer_salt: int
    arms: tuple[ArmedArm, ...]
    layer_first: int = 0
    layer_last: int = BUCKETS
    audience: Audience = Audience()
    stays_until_s: float = 0.0
    """Epoch seconds: it was promoted, and its viewers keep their arms while its service's nodes are replaced; 0: no."""


class MetricPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A metric by its name in the catalogue (`metrics.py`), with what the trial sets itself; None: as there."""

    name: str
    margin: float | None = None
    expected: float | None = None
    guardrail: bool | None = None
    weight: float | None = None
    goal: bool = False
    """What the change shall better: a winner must be proven better here (at most one metric of a trial)."""


class TrialArm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A treatment: its name and what it changes."""

    name: str
    group: str = ""
    variant: str = ""
    baseline: str = ""
    """A release: the group that serves as many viewers with fresh nodes of today's version; counted as control."""


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was planned; never changes after the start."""

    id: str
    """Lower-case letters, digits and `-`, at most 40."""
    subject: Subject
    target: str
    owner: str
    because: str
    """What is tried, in a maker's words."""
    salt: str
    layer: str
    """Trials of one layer never share a viewer."""
    treatments: tuple[TrialArm, ...]
    metrics: tuple[MetricPlan, ...]
    steps: tuple[float, ...] = (0.05, 0.25, 0.5)
    """Share of the eligible viewers in the treatments together, step by step."""
    step_s: float = 60.0
    """Shortest time at a step."""
    horizon_s: float = 3600.0
    """When it ends at the latest."""
    hold_s: float = 300.0
    """How long it may be held before it ends."""
    alpha: float = 0.05
    audience: Audience = Audience()
    created_s: float = 0.0
    layer_share: float = 1.0
    """How much of the layer it takes, in (0, 1]."""
    early: bool = False
    """The change is felt before any play, when a page or a flag is served: api nodes count who was exposed."""
    for_ever: bool = False
    """A permanent A/A trial: it starts anew when its horizon is reached."""
