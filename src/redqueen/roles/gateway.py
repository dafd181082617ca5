"""A gateway node: the agent beside an Envoy, fed by the registries, the product's keys, trials and pins."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from operator import is_
from urllib.parse import urlsplit

import anyio
import anyio.abc

from redqueen.accounts.keys import MediaKeys as SigningKeys
from redqueen.accounts.viewer_keys import ViewerKeys
from redqueen.api.declarations import gateway_sides
from redqueen.config import Region, certificate_files
from redqueen.delivery.pins import Pins
from redqueen.events import Event
from redqueen.fleet.datadir import registry_key
from redqueen.gateway import agent
from redqueen.gateway.evidence import Suspected
from redqueen.gateway.figures import Kept
from redqueen.gateway.model import (
    ArmRange,
    Endpoint,
    EndpointStatus,
    GatewaySettings,
    MediaKeys,
    RouteInputs,
    ServiceTrial,
)
from redqueen.gateway.routes import default_routes
from redqueen.gateway.tls import Certificate
from redqueen.gateway.transport import TlsEdge, TlsPair
from redqueen.registry.client import report_suspects, watch
from redqueen.registry.drivers.http import reserve, serving
from redqueen.registry.messages import Suspect
from redqueen.registry.model import Instance
from redqueen.roles.declared import RecordWishes
from redqueen.roles.gateway_figures import FigureDesk
from redqueen.roles.gateway_note import GatewayNote
from redqueen.roles.node import Node
from redqueen.roles.player_reports import PlayerReports, make_player_reports
from redqueen.telemetry.model import LATENCY_BOUNDS_MS
from redqueen.trials.following import ArmedTrials
from redqueen.trials.model import Armed, Audience, Subject


class RegistryEndpoints:
    """The gateway's endpoints, as the registries' stream tells them."""

    def __init__(self, node: Node, note: GatewayNote) -> None:
        self._node = node
        self._note = note
        self._known = Translation()

    async def watch(self) -> AsyncGenerator[tuple[Endpoint, ...]]:
        """Yield every callable instance, at once and after each change."""
        urls = self._node.spec.registry_urls
        async for instances in watch(urls, clock=self._node.clock, emit=self._emit):
            yield self._known.endpoints(instances)

    def _emit(self, event: Event) -> None:
        self._note.hear(event)
        self._node.emit(event)

    async def suspect(self, suspects: Sequence[Suspected]) -> None:
        """Have every registry ask these endpoints, and let go of those that are dead."""
        apps = self._known.apps()
        doubted = [
            Suspect(apps[one.service, one.node_id], one.node_id, one.host, one.port, one.because)
            for one in suspects
            if (one.service, one.node_id) in apps
        ]
        if doubted:
            await report_suspects(self._node.spec.registry_urls, doubted, self._node.registry_token)


class Translation:
    """Instances as endpoints; what did not change is not made again, so that a change among thousands is cheap."""

    def __init__(self) -> None:
        self._instances: Sequence[Instance] = ()
        self._made: tuple[Endpoint | None, ...] = ()
        """The endpoint of each instance; None where it cannot be called."""

    def endpoints(self, instances: Sequence[Instance]) -> tuple[Endpoint, ...]:
        """Give the endpoint of each callable instance; the very same instance keeps its endpoint."""
        before, made = self._instances, self._made
        head = _alike(before, instances)
        tail = min(_alike(before[::-1], instances[::-1]), min(len(before), len(instances)) - head)
        until = len(before) - tail
        known = {id(one): endpoint for one, endpoint in zip(before[head:until], made[head:until], strict=True)}
        changed = instances[head : len(instances) - tail]
        fresh = (known[id(one)] if id(one) in known else _endpoint(one) for one in changed)
        self._instances, self._made = instances, (*made[:head], *fresh, *made[until:])
        return tuple(endpoint for endpoint in self._made if endpoint is not None)

    def apps(self) -> dict[tuple[str, str], str]:
        """Name the application of each endpoint by its service and node."""
        pairs = zip(self._instances, self._made, strict=True)
        return {(made.service, made.node_id): instance.app for instance, made in pairs if made is not None}


def _alike(one: Sequence[Instance], other: Sequence[Instance]) -> int:
    """Count how many instances are the very same from the start on."""
    same = list(map(is_, one, other))
    return same.index(False) if False in same else len(same)


def _service(instance: Instance) -> str:
    return instance.vip or instance.app.lower()


def _endpoint(instance: Instance) -> Endpoint | None:
    if not instance.port or not instance.port_enabled:
        return None
    return Endpoint(
        service=_service(instance),
        node_id=instance.instance_id,
        host=instance.ip or instance.host,
        port=instance.port,
        zone=instance.zone,
        version=instance.version,
        status=EndpointStatus(instance.status.value),
    )


class ProductRoutes:
    """The default routes, those of declared services, what is tried and pinned, and the keys of media and viewers.

    The store is opened when it is first read: a gateway whose store cannot be opened serves all the same.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._certificate = FollowedCertificate(node)
        self._keys: SigningKeys | None = None
        self._trials: ArmedTrials | None = None
        self._viewers: ViewerKeys | None = None

    async def read(self) -> RouteInputs:
        """Return the routes and media keys of now. Raises RedQueenError where the store cannot be read."""
        records, clock = self._node.stores.records, self._node.clock
        self._keys = self._keys or SigningKeys(records, clock)
        self._viewers = self._viewers or ViewerKeys(records, clock)
        self._trials = self._trials or ArmedTrials(records, clock)
        await self._trials.read()
        trials = service_trials(self._trials.armed)
        routes, services = gateway_sides((await RecordWishes(records, clock).read()).services)
        return RouteInputs(
            (*default_routes(), *routes),
            MediaKeys(await self._keys.published()),
            services=services,
            tls_pair=self._certificate.pair(),
            own_hosts=own_hosts(self._node.region),
            trials=trials,
            pins=await Pins(records).all(),
            # With a trial in it the store is the right one: whoever comes first makes the secret.
            viewer_secret=await (self._viewers.secret() if trials else self._viewers.kept()),
        )


def service_trials(armed: Iterable[Armed]) -> tuple[ServiceTrial, ...]:
    """Give the releases under trial as gateways route them; what tries a flag or nothing is no gateway's business.

    Of an audience a gateway knows the zone alone: a trial that asks for more is routed nowhere.
    """
    return tuple(
        ServiceTrial(
            one.trial,
            one.target,
            one.salt,
            one.layer_salt,
            one.layer_first,
            one.layer_last,
            tuple(ArmRange(arm.name, arm.first, arm.last, arm.group or one.target) for arm in one.arms),
            one.audience.zones,
        )
        for one in armed
        if one.subject is Subject.RELEASE and one.audience == Audience(zones=one.audience.zones)
    )


class FollowedCertificate:
    """The region's certificate, as its files say now; none where the settings name none."""

    def __init__(self, node: Node) -> None:
        files = certificate_files(node.region, node.spec.data_path)
        self._clock = node.clock
        self._certificate = Certificate(*files, node.emit) if files is not None else None

    def pair(self) -> TlsPair | None:
        """Return the pair to serve now."""
        return None if self._certificate is None else self._certificate.pair(self._clock.now())


def tls_edge(region: Region) -> TlsEdge | None:
    """Say where HTTPS is served and what browsers are told about it; None without a certificate."""
    if not region.tls.certificate:
        return None
    if not region.public_url:
        return TlsEdge(region.tls.port, region.tls.port)
    told = urlsplit(region.public_url)
    host = told.hostname or ""
    return TlsEdge(region.tls.port, told.port or 443, f"[{host}]" if ":" in host else host)


def own_hosts(region: Region) -> tuple[str, ...]:
    """Name the front door's own host, which no declared service may take; none without a public address."""
    host = urlsplit(region.public_url).hostname or ""
    # An address in brackets is no name, and no route may claim an address.
    return (host,) if re.fullmatch(r"[a-z0-9.-]+", host) else ()


@contextlib.asynccontextmanager
async def telling(node: Node, figures: Kept, note: GatewayNote, players: PlayerReports) -> AsyncGenerator[str]:
    """Tell figures and metrics while the block runs, at the address that is given; the system chooses the port."""
    spec = node.spec
    secret = registry_key(spec.data_path)
    desk = FigureDesk(spec.node_id, spec.zone, secret, figures, lambda: note.state.serving, players.exposition)
    reserved = reserve(spec.host, 0)
    port = reserved.getsockname()[1]
    async with serving(desk, reserved, linger_s=0):
        yield f"http://[{spec.host}]:{port}" if ":" in spec.host else f"http://{spec.host}:{port}"


async def serve_gateway(node: Node) -> None:
    """Keep an Envoy serving until the node is stopping; one whose successor comes leaves its Envoy to it."""
    spec = node.spec
    media_root = spec.data_path / "objects" / "media"
    await anyio.Path(media_root).mkdir(parents=True, exist_ok=True)
    settings = GatewaySettings(
        envoy_id=spec.node_id,
        zone=spec.zone,
        listen_host=spec.public_host,
        listen_port=spec.public_port,
        admin_host=spec.host,
        media_root=media_root,
        folder=spec.folder,
        log=spec.data_path / "logs" / f"{spec.node_id}.log",
        drain_s=node.region.timings.drain_s,
        tls=tls_edge(node.region),
        latency_bounds_ms=LATENCY_BOUNDS_MS,
        otlp_url=node.region.telemetry.otlp_url,
    )
    note, figures, players = GatewayNote(spec.folder), Kept(), make_player_reports(node)
    endpoints, routes = RegistryEndpoints(node, note), ProductRoutes(node)
    drain, ended = anyio.Event(), anyio.Event()

    async def keep(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        await agent.run(
            settings,
            endpoints,
            routes,
            node.clock,
            node.emit,
            drain=drain,
            report=note,
            evidence=endpoints,
            figures=figures,
            players=players,
            task_status=task_status,
        )
        ended.set()

    async with telling(node, figures, note, players) as address, anyio.create_task_group() as group:
        await group.start(keep)
        group.start_soon(players.keep)
        async with node.registered(metadata={"telemetry": address}):
            await node.stopping.wait()
        if node.replaced:
            group.cancel_scope.cancel()
            return
        drain.set()
        await ended.wait()
        group.cancel_scope.cancel()
