"""What can be said to a registry's table, and what it answers.

Each call is data: the table's `step` decides. `Outcome` carries the reply, what readers see
change, what peers should hear, and whom to probe. Refuses nothing: the table does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from redqueen.registry import eviction, replication
from redqueen.registry.model import Change, Identity, Instance, Record, Status


@dataclass(frozen=True, slots=True)
class Register:
    """An instance says what it is; `owner` is whose token came with it."""

    instance: Instance
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Renew:
    """An instance gives a sign of life. `dirty_at_ms` tells which of its own words it means."""

    identity: Identity
    dirty_at_ms: int | None = None
    replicated: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """An instance leaves."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class Exited:
    """Somebody saw the instance's process end at `at_ms` (wall, epoch)."""

    identity: Identity
    because: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Suspected:
    """Somebody could not reach an instance at this address."""

    identity: Identity
    host: str
    port: int
    because: str


@dataclass(frozen=True, slots=True)
class SuspectProbed:
    """What the probe that a suspicion asked for found."""

    identity: Identity
    found: eviction.Probe
    because: str


@dataclass(frozen=True, slots=True)
class Reserve:
    """These names (lower case) belong to the region; who else holds one is removed."""

    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Override:
    """An operator sets a status over the instance's own."""

    identity: Identity
    status: Status


@dataclass(frozen=True, slots=True)
class ClearOverride:
    """An operator takes the override back; `fallback` suggests the status until the instance speaks."""

    identity: Identity
    fallback: Status | None = None


@dataclass(frozen=True, slots=True)
class SetMetadata:
    """Somebody lays values over the instance's metadata."""

    identity: Identity
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Merge:
    """A peer tells what it knows: each record with the age in seconds of its last beat."""

    records: tuple[tuple[Record, float], ...]


@dataclass(frozen=True, slots=True)
class MergeBeats:
    """A peer tells the last signs of life that it knows, without the records."""

    beats: tuple[replication.Beat, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """Time has passed: end what has run out."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What the probes that a sweep asked for found."""

    results: Mapping[Identity, eviction.Probe]


Event = (
    Register
    | Renew
    | Cancel
    | Exited
    | Suspected
    | SuspectProbed
    | Reserve
    | Override
    | ClearOverride
    | SetMetadata
    | Merge
    | MergeBeats
    | Sweep
    | Probed
)


class Reply(StrEnum):
    """What the sender of an event is told."""

    DONE = "done"
    UNKNOWN = "unknown"
    OUTDATED = "outdated"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an event did: the reply, the visible changes, what to tell the peers, whom to probe.

    `touched` names the records that were written; `news` those of them that the peers have yet to
    hear of (a peer's own words are not handed back to it).
    """

    reply: Reply = Reply.DONE
    changes: tuple[Change, ...] = ()
    touched: tuple[Identity, ...] = ()
    news: tuple[Identity, ...] = ()
    probes: tuple[Instance, ...] = ()
    because: str = ""
