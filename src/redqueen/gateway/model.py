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
from redqueen.gateway.transport import TlsEdge, TlsPair
from redqueen.gateway.watches import FEWEST


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


class Priority(StrEnum):
    """What goes last when there is not enough for all: prefetch is shed first, then browsing."""

    PLAYBACK = "playback"
    BROWSING = "browsing"
    PREFETCH = "prefetch"


class ZoneChoice(StrEnum):
    """Which zone's endpoints a gateway sends to."""

    PREFER = "prefer"
    """Own zone four times as often, divided by what is in flight: load spills over by itself."""
    STAY = "stay"
    """Own zone as long as it has healthy endpoints; others for the share that it cannot carry."""
    ANY = "any"
    """All zones alike."""


@dataclass(frozen=True, slots=True)
class Cors:
    """Which pages of other origins may call a route, as the gateway answers their browsers."""

    origins: tuple[str, ...]
    """Exact origins such as `https://shop.example`, one `*.` wildcard at a host's start, or `*` alone."""
    methods: tuple[str, ...] = ("GET", "HEAD", "POST")
    headers: tuple[str, ...] = ("content-type",)
    exposed: tuple[str, ...] = ()
    credentials: bool = False
    """Whether cookies come along; never together with the origin `*`."""
    max_age_s: int = 600


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where a client is sent instead; empty parts stay as they were."""

    scheme: str = ""
    host: str = ""
    port: int = 0
    path: str = ""
    keep_rest: bool = True
    """Whether what follows the route's own path is kept behind `path`; the query always is."""
    status: int = 308


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
    idempotent: bool = False
    """Whether every method may be tried again as GET is, because doing it twice does no harm."""
    hedge_after_s: float | None = None
    """Seconds after which a safe request is sent to a second node too; the first answer counts."""
    priority: Priority = Priority.BROWSING
    slow_s: float | None = 0.5
    """Median answer in seconds above which prefetch is shed, browsing at four times this; None: never."""
    never_shed_below: int = 256
    """Browsing requests in flight that are let through however slow the service is."""
    compress: bool = True
    """Whether text is compressed for clients that ask for it."""
    streaming: bool = False
    """Whether all answers are streams without end; without it only WebSocket and event streams are."""
    stream_idle_timeout_s: float = 300.0
    """Seconds without a byte before a WebSocket or an event stream is ended."""
    cors: Cors | None = None
    request_headers: tuple[tuple[str, str], ...] = ()
    """Headers that the service sees, in place of what the client sent under these names."""
    response_headers: tuple[tuple[str, str], ...] = ()
    """Headers that the client sees unless the service set them itself."""


@dataclass(frozen=True, slots=True)
class ServicePolicy:
    """How a service's nodes are treated, whichever route a request came by."""

    connect_timeout_s: float = 0.5
    """Seconds until a node must have accepted a connection: on a LAN it is not there otherwise."""
    max_connections: int = 4096
    max_requests: int = 4096
    """Requests in flight from one gateway; playback has as many again for itself."""
    max_waiting: int = 4096
    """Requests that wait for a connection."""
    retry_percent: float = 25.0
    """Share of the requests in flight that may be second tries."""
    retry_at_least: int = 100
    """Second tries that are always allowed: half of all requests when one of two nodes dies."""
    eject_after: int = 5
    """Answers 502, 503 or 504 in a row until a node is left out; failed connections count double."""
    eject_s: float = 2.0
    """Seconds of the first ejection; each further one is longer, up to five times this."""
    eject_percent: int = 50
    """Share of the nodes that may be left out: one of two, one of three, never the only one."""
    zone: ZoneChoice = ZoneChoice.PREFER


@dataclass(frozen=True, slots=True)
class Route:
    """Requests for a path go to `service`; exact paths win, then the longest.

    A `*` as a whole segment of `prefix` stands for any one segment.
    """

    prefix: str
    service: str
    policy: Policy = Policy()
    exact: bool = False
    """Whether only this very path is meant, not what lies below it."""
    hosts: tuple[str, ...] = ()
    """Host names of this route, `*.` at the start for any below; empty: every host that no route names."""
    methods: tuple[str, ...] = ()
    rewrite: str = ""
    """What the service sees in place of `prefix`; empty: the path as it came."""
    redirect: Redirect | None = None
    declared_by: str = ""
    """Who wrote it; such a route is left out when it cannot be compiled, the region's own must compile."""
    since_ms: int = 0
    """When it was declared (Unix time): of two routes with one claim the earlier stands."""
    tells_zone: bool = False
    """Whether the service is told the zone of the gateway that the request came by (`x-rq-zone`)."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service with a policy of its own."""

    name: str
    policy: ServicePolicy = ServicePolicy()


@dataclass(frozen=True, slots=True)
class MediaKeys:
    """The public keys (JWKS, Ed25519) that media tokens are checked with; empty: no media is served."""

    jwks_json: str = ""


@dataclass(frozen=True, slots=True)
class ArmRange:
    """An arm's viewers, by the trial's own hash in [first, last) of 2^20, and the service that answers them."""

    name: str
    first: int
    last: int
    service: str


@dataclass(frozen=True, slots=True)
class ServiceTrial:
    """A trial of a service's release: who is in it (by the layer's hash), and who of these in which arm.

    `zones` names the gateways' zones whose viewers may be in it; empty: all.
    """

    trial: str
    service: str
    salt: int
    layer_salt: int
    layer_first: int
    layer_last: int
    arms: tuple[ArmRange, ...]
    zones: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteInputs:
    """What the product decides about a gateway: its routes, what is tried on whom, and the keys."""

    routes: tuple[Route, ...]
    media: MediaKeys = MediaKeys()
    tls_pair: TlsPair | None = None
    services: tuple[Service, ...] = ()
    own_hosts: tuple[str, ...] = ()
    """Names of the front door itself, which no declared route may take."""
    trials: tuple[ServiceTrial, ...] = ()
    pins: tuple[tuple[str, str], ...] = ()
    """Service and the group of nodes that answers all its requests instead: a rollback that needs no start."""
    viewer_secret: bytes = field(default=b"", repr=False)
    """What viewers' cookies are checked with, 16 bytes; empty: nobody is in a trial."""


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
    services: tuple[Service, ...] = ()
    own_hosts: tuple[str, ...] = ()
    watched_services: int = FEWEST
    """Services whose endpoints are a file of their own; those of further ones lie with their clusters."""
    tls: TlsEdge | None = None
    tls_pair: TlsPair | None = None
    trials: tuple[ServiceTrial, ...] = ()
    pins: tuple[tuple[str, str], ...] = ()
    viewer_secret: bytes = field(default=b"", repr=False)
    latency_bounds_ms: tuple[float, ...] = ()
    """Upper bounds of the latency histograms; empty: Envoy's own."""
    otlp_url: str = ""
    """Where spans go; empty: nowhere."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An endpoint (by node id) or a declared route (by who wrote it) that the compiler did not use, and why."""

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
    handover_s: float = 15.0
    """Seconds that a replaced Envoy has beyond the drain to finish what it has begun."""
    tls: TlsEdge | None = None
    latency_bounds_ms: tuple[float, ...] = ()
    otlp_url: str = ""


@dataclass(frozen=True, slots=True)
class GatewayState:
    """What a gateway serves now: the version in effect, and a version that Envoy refused, with its reason.

    `silent` names the sources of inputs that do not answer: what they said last stands.
    """

    version: str
    serving: bool
    rejected: str = ""
    because: str = ""
    silent: tuple[str, ...] = ()


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
class EndpointsSuspected(Event):
    """Envoy could not reach these endpoints; the registries are asked to ask them."""

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
class EnvoyHandoverFailed(Event):
    """An Envoy could not hand its sockets over; its successor shares the port instead."""

    pid: int
    because: str


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
