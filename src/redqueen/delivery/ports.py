"""What delivery asks of the fleet, the trials, the flags and the disk; the composition root answers.

Each may fail at any time (`RedQueenError`, `OSError`): the turn is then tried again, and every call
may be repeated without doing more than once what it says. Enter at `DeliveryPorts`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from redqueen.delivery.acting import TrialSeen
from redqueen.delivery.model import Build
from redqueen.delivery.pins import Pins
from redqueen.fleet.declared import ServiceFile, Wishes
from redqueen.fleet.model import Edition, NodeView
from redqueen.store.ports import Records
from redqueen.trials.model import Trial


@dataclass(frozen=True, slots=True)
class Size:
    """How big a region is meant to be."""

    zones: int
    own: Mapping[str, int]
    """Nodes of each of the region's own roles."""


class FleetPort(Protocol):
    """The processes of the region, by what is wished for and what is seen of them."""

    @property
    def size(self) -> Size:
        """Return how many zones there are, and how many nodes each of the region's own roles has."""
        ...

    async def wishes(self) -> Wishes:
        """Return what shall run."""
        ...

    async def views(self) -> Sequence[NodeView]:
        """Return what runs, each view checked against its process."""
        ...

    async def declare(self, file: ServiceFile, edition: Edition | None = None) -> None:
        """Let a service or a group run as the file says; with an `edition` a group of the region's own api."""
        ...

    async def set_edition(self, service: str, edition: Edition | None) -> None:
        """Replace the nodes of one of the region's own roles by another version; None: the installed one."""
        ...

    async def remove(self, name: str) -> None:
        """Let a service or a group run no more; no error when it does not."""
        ...

    def check(self, build: Build, wishes: Wishes) -> None:
        """Raise InvalidInput or Conflict, naming the key, if this could not run here or be routed beside the others."""
        ...

    def completed(self, build: Build, wishes: Wishes) -> Build:
        """Return a build that names all it runs: an edition's folder that the release leaves out is today's."""
        ...


class TrialsPort(Protocol):
    """The trials that judge releases."""

    async def start(self, trial: Trial) -> None:
        """Begin a trial; the very same again changes nothing."""
        ...

    async def stop(self, trial_id: str, because: str, by: str) -> None:
        """End a trial without a verdict; no error when it has ended."""
        ...

    async def seen(self, trial_id: str) -> TrialSeen | None:
        """Return how a trial is; None: there is none of this id."""
        ...

    async def report(self, trial_id: str, problem: str) -> None:
        """Tell what no viewer can: a group that ended or fell ill. It can only harm the treatment."""
        ...


class FlagsPort(Protocol):
    """The region's flags, of which a release may set some."""

    async def values(self, keys: Collection[str]) -> Mapping[str, Any]:
        """Return the values that these flags have for everybody; None: there is no such flag."""
        ...

    async def put(self, flags: Mapping[str, Any], by: str) -> None:
        """Let flags have these values; None: let there be no such flag."""
        ...


class FoldersPort(Protocol):
    """Artifacts unpacked where nodes run them."""

    async def unpacked(self, digest: str) -> Path:
        """Return the folder of an artifact, unpacked whole and read-only. Raises NotFound, InvalidInput, Exhausted."""
        ...

    async def keep_only(self, digests: Collection[str]) -> None:
        """Remove the folders of all other artifacts."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryPorts:
    """All that delivery works with."""

    records: Records
    pins: Pins
    fleet: FleetPort
    trials: TrialsPort
    flags: FlagsPort
    folders: FoldersPort
