"""What a gateway knows (endpoints, routes, media keys) and what it becomes (a snapshot of Envoy's files).

Values only: nothing here reads, waits or decides. `Inputs` holds everything the compiler may
look at; `Snapshot` is its whole answer, files and reasons. Enter at `Inputs` and `Snapshot`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from redqueen.events import Event


class EndpointStatus(StrEnum):
    """Whether an endpoint may be given requests, in the registry's words."""

    UP = "UP"
    STARTING = "STARTING"
    DOWN = "DOWN"
    OUT_OF_SERVICE = "OUT_OF_SERVICE"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One instance of a service that requests can be sent to; `host` is an IP address."""

    service: str
    node_id: str
    host: str
    port: int
    zone: str
    version: str = ""
    status: EndpointStatus = EndpointStatus.UP


@dataclass(frozen=True, slots=True)
class Policy:
    """How requests of a route are treated. None means: no limit."""

    timeout_s: float | None = 30.0
    """Seconds from the request's last byte to the response's last byte, all tries together."""
    per_try_timeout_s: float | None = 5.0
    """Seconds for one try of a safe request; a paused node costs this much once."""
    idle_timeout_s: float = 60.0
    """Seconds without a byte in either direction before the request is ended."""
    max_request_bytes: int | None = 4 << 20
    """Bytes of a body that is taken whole before the service sees it; None streams any size."""
    retries: int = 3
    """Further tries, only where the request is safe or cannot have been processed."""


@dataclass(frozen=True, slots=True)
class Route:
    """Requests whose path begins with `prefix` go to `service`; the longest prefix wins."""

    prefix: str
    service: str
    policy: Policy = Policy()


@dataclass(frozen=True, slots=True)
class MediaKeys:
    """The public keys (JWKS, Ed25519) that media tokens are checked with; empty: no media is served."""

    jwks_json: str = ""


@dataclass(frozen=True, slots=True)
class RouteInputs:
    """What the product decides about a gateway: its routes and the media keys."""

    routes: tuple[Route, ...]
    media: MediaKeys = MediaKeys()


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a snapshot depends on. `media_root` and `folder` are absolute paths without symlinks."""

    node_id: str
    zone: str
    listen_host: str
    listen_port: int
    admin_host: str
    folder: str
    media_root: str
    endpoints: tuple[Endpoint, ...] = ()
    routes: tuple[Route, ...] = ()
    media_keys: MediaKeys = MediaKeys()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An endpoint that the compiler did not use, and why."""

    node_id: str
    because: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Envoy's files by name; `version` is the hash of their content."""

    version: str
    files: Mapping[str, bytes]
    left_out: tuple[LeftOut, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Where and as whom one gateway runs.

    `folder` is the node's own scratch folder; Envoy's files lie in `folder/envoy`, its identity in
    `folder/envoy.json`. `log` takes Envoy's own lines and the access log.
    """

    envoy_id: str
    zone: str
    listen_host: str
    listen_port: int
    admin_host: str
    media_root: Path
    folder: Path
    log: Path
    drain_s: float = 2.0


@dataclass(frozen=True, slots=True)
class GatewayState:
    """What a gateway serves now: the version in effect, and a version that Envoy refused, with its reason."""

    version: str
    serving: bool
    rejected: str = ""
    because: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotApplied(Event):
    """Envoy confirmed a snapshot; `took_ms` counts from the compile's start to the confirmation."""

    version: str
    files: tuple[str, ...]
    took_ms: float


@dataclass(frozen=True, slots=True)
class SnapshotRejected(Event):
    """Envoy refused a snapshot; the last good files are back in place."""

    version: str
    because: str


@dataclass(frozen=True, slots=True)
class EndpointsLeftOut(Event):
    """These endpoints cannot be given requests, each with its reason."""

    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EnvoyStarted(Event):
    """An Envoy was started and answers."""

    pid: int
    because: str
    took_ms: float


@dataclass(frozen=True, slots=True)
class EnvoyAdopted(Event):
    """A living Envoy of an earlier agent was found and is kept."""

    pid: int


@dataclass(frozen=True, slots=True)
class EnvoyUnconfined(Event):
    """This kernel has no Landlock: Envoy could follow a symlink out of the media folder."""


@dataclass(frozen=True, slots=True)
class EnvoyLost(Event):
    """Envoy is gone or did not answer; another is started after `retry_s` seconds."""

    pid: int
    because: str
    retry_s: float


@dataclass(frozen=True, slots=True)
class SourceSilent(Event):
    """A source of inputs does not answer; the last known inputs stay in effect."""

    source: str
    because: str


@dataclass(frozen=True, slots=True)
class SourceHeard(Event):
    """A source of inputs that was silent answers again."""

    source: str
