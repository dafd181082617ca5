"""What a release's life sees of the world, and what it may ask of it.

The lifecycle compares what should be with an `Observation` and asks for the difference, again and
again until it is seen; so every command may be lost, doubled or carried out late, and carrying it
out twice must change nothing. Only values. Enter at `Observation` and `Command`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from redqueen.delivery.model import Build, Part
from redqueen.trials.model import Status, Trial


@dataclass(frozen=True, slots=True)
class Nodes:
    """A service or a group as the fleet sees it (`fleet.standing`): up, starting, replacing or failing."""

    build: Build
    """What is declared now, whether its nodes already run it or not; a group's under its own name and count."""
    state: str = "starting"
    wanted: int = 1
    ready: int = 0
    restarts: int = 0
    """Of all its nodes together since it was declared."""
    because: str = ""

    @property
    def up(self) -> bool:
        """Tell whether every node is up and as declared."""
        return self.state == "up"


@dataclass(frozen=True, slots=True)
class TrialSeen:
    """A trial as its record tells; `armed`: nodes may still assign viewers by it."""

    status: Status
    because: str = ""
    armed: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """All that one step may know beyond the state."""

    service: Nodes | None = None
    """The service's own nodes; None: there is no such service."""
    groups: Mapping[Part, Nodes] = field(default_factory=dict[Part, Nodes])
    """This release's groups; a group that is gone is absent, one that is draining is not."""
    trial: TrialSeen | None = None
    flags: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The region's values of the flags that the release sets; None: there is no such flag."""
    pinned: str = ""
    """The group that gets all requests of the service; empty: none."""
    ahead: str = ""
    """The id of a release of the same service that must be done first (`lifecycle.ahead_of`); empty: none."""


@dataclass(frozen=True, slots=True)
class StartGroup:
    """Let there be a group with this name, build and count; the build's routes are for the group's viewers."""

    name: str
    build: Build
    count: int


@dataclass(frozen=True, slots=True)
class RemoveGroup:
    """Let a group's nodes drain and leave."""

    name: str


@dataclass(frozen=True, slots=True)
class StartTrial:
    """Let there be this trial; an equal id that exists already is left as it is."""

    trial: Trial


@dataclass(frozen=True, slots=True)
class ReportTrial:
    """Tell a trial what no viewer can: that the canary's nodes fell ill. It ends it against the canary."""

    trial: str
    problem: str


@dataclass(frozen=True, slots=True)
class StopTrial:
    """End a trial if it is not over yet, and disarm it: its viewers have no arm any more."""

    trial: str
    because: str


@dataclass(frozen=True, slots=True)
class DeclareService:
    """Let the service be this: its nodes are replaced without a lost request, its routes take the place of today's."""

    service: str
    build: Build


@dataclass(frozen=True, slots=True)
class RemoveService:
    """Take back a service that this release brought into being."""

    service: str


@dataclass(frozen=True, slots=True)
class PutFlags:
    """Let the region's flags have these values; None: let there be no such flag."""

    flags: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pin:
    """Let gateways send all requests of a service to this group, at once."""

    service: str
    group: str


@dataclass(frozen=True, slots=True)
class Unpin:
    """Let the service's own nodes have its requests again."""

    service: str


Command = (
    StartGroup
    | RemoveGroup
    | StartTrial
    | ReportTrial
    | StopTrial
    | DeclareService
    | RemoveService
    | PutFlags
    | Pin
    | Unpin
)
