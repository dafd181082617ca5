"""What a registry and its clients report to the log: changes, never polls."""

from __future__ import annotations

from dataclasses import dataclass

from redqueen.events import Event


@dataclass(frozen=True, slots=True)
class InstanceChanged(Event):
    """Readers now see an instance differently, or no longer."""

    app: str
    instance_id: str
    action: str
    status: str
    because: str


@dataclass(frozen=True, slots=True)
class ManyChanged(Event):
    """So many more instances changed at once than are worth a line each."""

    count: int


@dataclass(frozen=True, slots=True)
class MassEvictionHeld(Event):
    """Many leases ran out together; `probed` instances are asked before any is evicted."""

    probed: int
    because: str


@dataclass(frozen=True, slots=True)
class PeerReached(Event):
    """A peer answers (again)."""

    url: str


@dataclass(frozen=True, slots=True)
class PeerLost(Event):
    """A peer does not answer any more."""

    url: str
    error: str


@dataclass(frozen=True, slots=True)
class SnapshotRefused(Event):
    """The snapshot on disk cannot be read and is left aside; the peer and heartbeats fill the registry."""

    path: str
    error: str


@dataclass(frozen=True, slots=True)
class SnapshotFailed(Event):
    """The snapshot could not be written; the one before it stays."""

    path: str
    error: str


@dataclass(frozen=True, slots=True)
class RegistryFollowed(Event):
    """A watcher or registrar now talks to this registry."""

    url: str
    purpose: str


@dataclass(frozen=True, slots=True)
class RegistriesLost(Event):
    """No registry answers; the last known set and the node's work go on."""

    purpose: str
    error: str
