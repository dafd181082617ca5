"""A release as values: what was shipped, by whom, what its nodes run, how far it is and why.

A release is one unit of code, configuration, flags and routes of one service. What was shipped
(`Release`) never changes; `State` is moved only by `lifecycle.step`; an `Order` is what a person
asked of it meanwhile. Only values, all of them kept in the records as they are. Enter at `ReleaseRecord`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from redqueen.delivery.manifest import Manifest
from redqueen.fleet.declared import ServiceFile
from redqueen.fleet.groups import group_name
from redqueen.fleet.model import Edition


class Phase(StrEnum):
    """Where a release is in its life; the last five are its verdict."""

    STORED = "stored"
    QUEUED = "queued"
    """Another release of the same service is under way."""
    STARTING = "starting"
    """Its groups of nodes come up."""
    TRYING = "trying"
    """Its trial runs."""
    PROMOTING = "promoting"
    """The service's own nodes are being replaced."""
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    INCONCLUSIVE = "inconclusive"
    STOPPED = "stopped"
    FAILED = "failed"
    """It never became healthy, its nodes ended again and again, or it could not take the service's place."""

    @property
    def ended(self) -> bool:
        """Tell whether there is a verdict. (A promoted release may still be rolled back by a person.)"""
        return self in (Phase.PROMOTED, Phase.ROLLED_BACK, Phase.INCONCLUSIVE, Phase.STOPPED, Phase.FAILED)

    @property
    def under_way(self) -> bool:
        """Tell whether it has nodes of its own and no verdict yet."""
        return self in (Phase.STARTING, Phase.TRYING, Phase.PROMOTING)


class Part(StrEnum):
    """What a group of nodes is for."""

    CANARY = "canary"
    """The new version."""
    BASELINE = "baseline"
    """As many fresh nodes of today's version, so that the age of a process is no difference."""
    WARM = "warm"
    """The old version, as many nodes as the service has, for as long as going back shall take no time."""


class Ask(StrEnum):
    """What a person may ask of a release."""

    STOP = "stop"
    ROLL_BACK = "roll back"


class Artifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A packed folder in the object store, by the SHA-256 of its bytes."""

    digest: str
    """64 hexadecimal digits."""
    size_bytes: int
    files: int
    unpacked_bytes: int


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the files came from, as git tells it; all empty outside of a repository."""

    commit: str = ""
    author: str = ""
    """Of the commit: `Name <address>`."""
    subject: str = ""
    """The first line of the commit's message."""
    ref: str = ""
    """The ref that was asked for, or the branch."""
    clean: bool | None = None
    """Whether the tree was exactly the commit; None: unknown."""


class Build(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the nodes of a service run. Neither given: the region's own role as installed."""

    file: ServiceFile | None = None
    """A declared service: its whole file, with the absolute folder of the unpacked artifact."""
    edition: Edition | None = None
    """One of the region's own roles in another version."""


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was shipped."""

    service: str
    number: int
    """1, 2, 3 … within the service."""
    artifact: Artifact
    manifest: Manifest
    build: Build
    by: str
    """The account that shipped it."""
    created_s: float
    because: str = ""
    """What is tried, in the maker's words."""
    provenance: Provenance = Provenance()
    key: str = ""
    """The client's idempotency key: who asks again with it gets this release."""

    @property
    def id(self) -> str:
        """Return its name within the service."""
        return f"r{self.number}"

    @property
    def trial(self) -> str:
        """Return the id of its trial."""
        return f"{self.service}-{self.id}"

    def group(self, part: Part) -> str:
        """Return the name of one of its groups of nodes."""
        return group_name(self.service, self.id, part.value)


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step of a release's life."""

    phase: Phase
    because: str
    at_s: float


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How far a release is; `because` is the sentence that everybody is shown."""

    phase: Phase = Phase.STORED
    because: str = "it is stored"
    since_s: float = 0.0
    previous: Build | None = None
    """What the service ran when this release started; None: nothing (its first release), or not started yet."""
    previous_flags: dict[str, Any] = {}
    """The values that this release's flags had then; None: there was no such flag."""
    started_s: float = 0.0
    """When its first nodes were asked for; 0: not yet."""
    apart_s: float = 0.0
    """Since when no gateway is told to send anything to its groups; 0: some may be."""
    warm_until_s: float = 0.0
    """Promoted: until when the old version can take over at once."""
    heeded_s: float = 0.0
    """`at_s` of the last order that was followed, or found to mean nothing any more."""
    settled: bool = False
    """Whether nothing of it is left to be done: no groups, no pins, no trial."""
    history: tuple[Change, ...] = ()


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a person asked of a release."""

    ask: Ask
    by: str
    at_s: float
    because: str = ""


class ReleaseRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A release as it is kept."""

    release: Release
    state: State = State()
    order: Order | None = None

    @property
    def pending(self) -> Order | None:
        """Return what a person asked and no step has heeded yet."""
        return self.order if self.order is not None and self.order.at_s != self.state.heeded_s else None
