"""Turns what a gateway knows into Envoy's files: the same inputs always give the same bytes.

`bootstrap.json` is read once; the others are watched by Envoy and may be replaced one by one. The
endpoints of the first services are a file each, so that a node's birth or death rewrites one small
file and nothing else; those of further ones lie with their clusters. Refuses names that cannot be
file or cluster names, paths that are not plain, and keys that are not public. Enter at `compile`,
or at `Compiler` to compile again and again.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import msgspec

from redqueen.errors import InvalidInput
from redqueen.gateway import counting, media
from redqueen.gateway.arm_routes import Placed, own_routes, table
from redqueen.gateway.arms import Arrangement, arranged, arrangements, base_service, groups_named, living_groups
from redqueen.gateway.claims import NAME, settle, wrong_in_policy
from redqueen.gateway.clusters import ASSIGNMENT, cluster, endpoints_file, lending, load_assignment, usable
from redqueen.gateway.edge_routes import route_configuration
from redqueen.gateway.envoy_json import TYPE, seconds
from redqueen.gateway.listeners import listeners
from redqueen.gateway.model import Endpoint, Inputs, LeftOut, Route, ServicePolicy, Snapshot, ZoneChoice
from redqueen.gateway.service_routes import entries
from redqueen.gateway.tracing import collector
from redqueen.gateway.transport import SECRETS, secret

BOOTSTRAP, LISTENERS, CLUSTERS, ROUTES = "bootstrap.json", "lds.json", "cds.json", "rds.json"
MAX_CONNECTIONS = 20_000
DEFAULT_POLICY = ServicePolicy()
T = TypeVar("T")


def compile(inputs: Inputs) -> Snapshot:
    """Compile all files of a gateway from scratch. Raises InvalidInput naming what cannot be compiled."""
    return Compiler().compile(inputs)


@dataclass(frozen=True, slots=True)
class _File:
    """A file's content and its hash, made once."""

    content: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class _Table:
    """What follows from the routes alone; `watched` services have a file for their endpoints."""

    file: _File
    services: tuple[str, ...]
    watched: frozenset[str]
    left_out: tuple[LeftOut, ...]


class Compiler:
    """Compiles again and again at the cost of what changed; the bytes are those of `compile`.

    It keeps the pieces of the last snapshot and nothing older.
    """

    def __init__(self) -> None:
        self._pieces: dict[object, tuple[object, Any]] = {}
        self._used: set[object] = set()
        self._entries: dict[tuple[Route, ZoneChoice, Arrangement | None], list[msgspec.Raw]] = {}

    def compile(self, inputs: Inputs) -> Snapshot:
        """Compile all files of a gateway. Raises InvalidInput naming what cannot be compiled."""
        self._used = set()
        files, left_out = self._compiled(checked(inputs))
        if len(self._used) < len(self._pieces):
            self._pieces = {name: self._pieces[name] for name in self._used}
        version = _version({name: file.digest for name, file in files.items()})
        return Snapshot(version, {name: file.content for name, file in files.items()}, left_out)

    def _compiled(self, inputs: Inputs) -> tuple[dict[str, _File], tuple[LeftOut, ...]]:
        keys = inputs.media_keys.jwks_json
        jwks = self._once("keys", keys, lambda: media.checked_keys(keys) if keys else "")
        fixed = replace(
            inputs, endpoints=(), routes=(), services=(), own_hosts=(), trials=(), pins=(), viewer_secret=b""
        )
        by_service = _by_service(inputs.endpoints)
        living = living_groups(by_service)
        known = (
            inputs.routes,
            inputs.services,
            inputs.own_hosts,
            inputs.watched_services,
            inputs.media_root,
            bool(jwks),
            *(living, inputs.trials, inputs.pins, inputs.viewer_secret, inputs.zone, inputs.tls is None),
        )
        table = self._once(ROUTES, known, lambda: self._table(inputs, bool(jwks), living))
        files = {
            BOOTSTRAP: self._once(BOOTSTRAP, fixed, lambda: _file(_encode(_bootstrap(fixed)))),
            LISTENERS: self._once(LISTENERS, fixed, lambda: _file(_resources(listeners(fixed, jwks)))),
            ROUTES: table.file,
        }
        if inputs.tls is not None and inputs.tls_pair is not None:
            files[SECRETS] = _file(_resources([secret(inputs.tls_pair)]))
        left_out = [*table.left_out, *_unfit(inputs), *self._services(inputs, table, files, by_service)]
        return files, tuple(sorted(left_out, key=lambda item: (item.node_id, item.because)))

    def _table(self, inputs: Inputs, has_keys: bool, living: frozenset[str]) -> _Table:
        everybodys, brought = own_routes(inputs.routes)
        settled, left_out = settle(everybodys, inputs.own_hosts)
        zones = {name: policy.zone for name, policy in _policies(inputs).items()}
        arrangement, unarranged = arrangements(inputs, living)
        found = table(settled, arrangement, brought, inputs.own_hosts)
        kept, self._entries = self._entries, {}

        def encoded(one: Placed) -> list[msgspec.Raw]:
            key = (one.route, zones.get(one.route.service, DEFAULT_POLICY.zone), one.arrangement)
            if key not in self._entries:
                self._entries[key] = kept.get(key) or _raw(arranged(entries(*key[:2]), one.arrangement))
            return self._entries[key]

        lines = route_configuration(found.placed, inputs.media_root, has_keys, encoded, inputs.own_hosts)
        services = _served(inputs, found.routes, living)
        watched = frozenset(services[: inputs.watched_services])
        return _Table(_file(_resources([lines])), services, watched, (*left_out, *unarranged, *found.left_out))

    def _services(
        self, inputs: Inputs, table: _Table, files: dict[str, _File], by_service: Mapping[str, Sequence[Endpoint]]
    ) -> list[LeftOut]:
        """Add the clusters' file and the watched services' own to `files`; return who was left out."""
        policies = _policies(inputs)
        clusters: list[_Piece] = []
        left_out: list[LeftOut] = []
        for service in table.services:
            endpoints = by_service.get(service, ())
            # A group is treated as its service is.
            policy = policies.get(service) or policies.get(base_service(service), DEFAULT_POLICY)
            watched = service in table.watched
            base = base_service(service)
            lent = () if base == service else lending(endpoints, by_service.get(base, ()))
            known = (tuple(endpoints), inputs.zone, policy, inputs.folder, watched, lent)
            made = self._once(("service", service), known, partial(_service, service, *known))
            clusters.append(made.cluster)
            left_out += made.left_out
            if made.endpoints is not None:
                files[endpoints_file(service)] = made.endpoints
        digests = [one.digest for one in clusters]
        files[CLUSTERS] = self._once(CLUSTERS, digests, partial(_clusters_file, clusters))
        return left_out

    def _once(self, name: object, known: object, make: Callable[[], T]) -> T:
        """Return the piece of this name, made anew only if what it follows from has changed."""
        self._used.add(name)
        found = self._pieces.get(name)
        if found is None or found[0] != known:
            found = self._pieces[name] = (known, make())
        return found[1]


def _by_service(endpoints: Iterable[Endpoint]) -> Mapping[str, Sequence[Endpoint]]:
    found: defaultdict[str, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        found[endpoint.service].append(endpoint)
    return found


def _served(inputs: Inputs, routes: Iterable[Route], living: frozenset[str]) -> tuple[str, ...]:
    """Name the services that have a cluster: those with routes, the region's own first, then their groups.

    A group has one as soon as a node of it lives: when a trial begins, Envoy shall know its cluster already.
    """
    proxied = [route for route in routes if route.redirect is None]
    own = {route.service for route in proxied if not route.declared_by}
    routed = {route.service for route in proxied}
    groups = {name for name in living | groups_named(inputs) if base_service(name) in routed and NAME.fullmatch(name)}
    return (*sorted(routed, key=lambda name: (name not in own, name)), *sorted(groups - routed))


def _policies(inputs: Inputs) -> dict[str, ServicePolicy]:
    """Give each service its policy; one that cannot be compiled must not take the others with it."""
    return {one.name: one.policy for one in inputs.services if wrong_in_policy(one.policy) is None}


def _unfit(inputs: Inputs) -> list[LeftOut]:
    found = ((one.name, wrong_in_policy(one.policy)) for one in inputs.services)
    return [
        LeftOut(name, f"policy {wrong.key} = {wrong.value!r}: it must be {wrong.accepted}; the defaults stand")
        for name, wrong in found
        if wrong is not None
    ]


def version_of(files: Iterable[tuple[str, bytes]]) -> str:
    """Return the content hash (16 hex digits) of a set of files, whatever their order."""
    return _version({name: _digest(content) for name, content in files})


def _version(digests: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name, digest in sorted(digests.items()):
        whole.update(f"{name}\0".encode())
        whole.update(digest)
    return whole.hexdigest()[:16]


def _file(content: bytes) -> _File:
    return _File(content, _digest(content))


def _digest(content: bytes) -> bytes:
    """Hash the hashes of the lines: a file of many pieces is hashed from theirs."""
    return _joined(hashlib.sha256(line).digest() for line in content.split(b"\n"))


def _joined(digests: Iterable[bytes]) -> bytes:
    return hashlib.sha256(b"".join(digests)).digest()


@dataclass(frozen=True, slots=True)
class _Piece:
    """A resource, encoded on one line."""

    line: bytes
    digest: bytes


def _piece(resource: object) -> _Piece:
    line = _encode(resource)
    return _Piece(line, hashlib.sha256(line).digest())


@dataclass(frozen=True, slots=True)
class _Service:
    """What one service adds to the files; `endpoints` is None where they lie in its cluster."""

    cluster: _Piece
    endpoints: _File | None
    left_out: tuple[LeftOut, ...]


def _service(
    service: str,
    endpoints: Iterable[Endpoint],
    zone: str,
    policy: ServicePolicy,
    folder: str,
    watched: bool,
    lent: Iterable[Endpoint],
) -> _Service:
    chosen, left_out = usable(endpoints)
    assigned = _piece(load_assignment(service, chosen, zone, policy.zone, lent))
    if not watched:
        return _Service(_piece(cluster(service, policy, folder, msgspec.Raw(assigned.line))), None, left_out)
    # Within a cluster the type is known; in a file of its own it must be said.
    resource = b'[{"@type":"%s",%s]' % (ASSIGNMENT.encode(), assigned.line[1:])
    return _Service(_piece(cluster(service, policy, folder)), _file(_response(assigned.digest, resource)), left_out)


_COMMA, _END = (hashlib.sha256(line).digest() for line in (b",", b"]}"))


def _clusters_file(pieces: Sequence[_Piece]) -> _File:
    """Join the clusters at the cost of copying them."""
    version = _joined(piece.digest for piece in pieces)
    content = _response(version, b"[\n" + b"\n,\n".join(piece.line for piece in pieces) + b"\n]")
    head = content[: content.index(b"\n")]
    lines = [digest for piece in pieces for digest in (_COMMA, piece.digest)][1:]
    return _File(content, _joined([hashlib.sha256(head).digest(), *lines, _END, hashlib.sha256(b"").digest()]))


def checked(inputs: Inputs) -> Inputs:
    """Return `inputs` if they can be compiled. Raises InvalidInput."""
    media.checked_root(inputs.media_root)
    if not NAME.fullmatch(inputs.node_id):
        raise _wrong("node_id", inputs.node_id, "letters, digits, `.`, `_` and `-`, at most 63, first no sign")
    if not inputs.folder.startswith("/"):
        raise _wrong("folder", inputs.folder, "an absolute path")
    if not 0 < inputs.listen_port < 65536:
        raise _wrong("listen_port", inputs.listen_port, "a port number, 1 to 65535")
    for host in inputs.own_hosts:
        if not re.fullmatch(r"[a-z0-9.-]+", host):
            raise _wrong("own_hosts", host, "a host name in small letters")
    return inputs


def _wrong(key: str, value: object, accepted: str) -> InvalidInput:
    return InvalidInput("gateway.input", f"{key} = {value!r} cannot be compiled", why=f"it must be {accepted}")


def _bootstrap(inputs: Inputs) -> dict[str, Any]:
    return {
        "node": {"id": inputs.node_id, "cluster": "gateway", "locality": {"zone": inputs.zone}},
        "admin": {"address": {"socket_address": {"address": inputs.admin_host, "port_value": 0}}},
        "dynamic_resources": {
            "lds_config": {"path_config_source": {"path": f"{inputs.folder}/{LISTENERS}"}},
            "cds_config": {"path_config_source": {"path": f"{inputs.folder}/{CLUSTERS}"}},
        },
        # Envoy counts some 130 things for each cluster; every look at its counters walks through all of
        # them in the thread that also takes new files. Kept is what the agent asks for and a person would.
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": _counted()}},
            "histogram_bucket_settings": counting.bucket_settings(inputs.latency_bounds_ms),
        },
        "stats_flush_interval": seconds(counting.FLUSH_S),
        **({"static_resources": {"clusters": traced}} if (traced := collector(inputs.otlp_url)) else {}),
        # Without a bound a flood of connections takes all memory.
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": TYPE
                        + "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": MAX_CONNECTIONS,
                    },
                }
            ]
        },
    }


_KEPT_PREFIXES = (
    f"{counting.PREFIX}.",
    "http.",
    "server.",
    "listener_manager.",
    "cluster_manager.",
    "sds.",
    "overload.",
)
_KEPT_SUFFIXES = (
    *(".version_text", ".update_rejected", ".update_failure", ".membership_healthy", ".membership_total"),
    *(".upstream_rq_total", ".upstream_rq_retry", ".upstream_cx_connect_fail", ".ejections_active"),
    *counting.KEPT_SUFFIXES,
)


def _counted() -> list[dict[str, str]]:
    return [{"prefix": prefix} for prefix in _KEPT_PREFIXES] + [{"suffix": suffix} for suffix in _KEPT_SUFFIXES]


def _resources(resources: list[dict[str, Any]]) -> bytes:
    """Wrap resources as a discovery response whose version is the hash of its own content."""
    content = _encode(resources)
    return _response(hashlib.sha256(content).digest(), content)


def _response(digest: bytes, resources: bytes) -> bytes:
    return b'{"version_info":"%s","resources":%s}\n' % (digest.hex()[:16].encode(), resources)


def _raw(values: Iterable[dict[str, Any]]) -> list[msgspec.Raw]:
    # A line for each, so that people can read and compare the files.
    return [msgspec.Raw(b"\n" + msgspec.json.encode(value)) for value in values]


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value)
