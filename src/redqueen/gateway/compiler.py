"""Turns what a gateway knows into Envoy's files: the same inputs always give the same bytes.

`bootstrap.json` is read once; the others are watched by Envoy and may be replaced one by one.
Each service's endpoints are a file of their own, so that a node's birth or death rewrites one
small file and nothing else. Refuses names that cannot be file or cluster names, paths that are
not plain, and keys that are not public. Enter at `compile`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import msgspec

from redqueen.errors import InvalidInput
from redqueen.gateway import media
from redqueen.gateway.claims import NAME, settle
from redqueen.gateway.clusters import cluster, endpoints_file, load_assignment, usable
from redqueen.gateway.edge_routes import route_configuration
from redqueen.gateway.envoy_json import TYPE
from redqueen.gateway.listeners import listeners
from redqueen.gateway.model import Endpoint, Inputs, LeftOut, Route, ServicePolicy, Snapshot, ZoneChoice
from redqueen.gateway.service_routes import entries
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
    """What follows from the routes alone."""

    routes: _File
    clusters: _File
    services: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


class Compiler:
    """Compiles again and again at the cost of what changed; the bytes are those of `compile`.

    It keeps the pieces of the last snapshot and nothing older.
    """

    def __init__(self) -> None:
        self._pieces: dict[object, tuple[object, Any]] = {}
        self._used: set[object] = set()

    def compile(self, inputs: Inputs) -> Snapshot:
        """Compile all files of a gateway. Raises InvalidInput naming what cannot be compiled."""
        self._used = set()
        files, left_out = self._compiled(inputs)
        self._pieces = {name: self._pieces[name] for name in self._used}
        version = _version({name: file.digest for name, file in files.items()})
        return Snapshot(version, {name: file.content for name, file in files.items()}, left_out)

    def _compiled(self, inputs: Inputs) -> tuple[dict[str, _File], tuple[LeftOut, ...]]:
        checked(inputs)
        keys = inputs.media_keys.jwks_json
        jwks = self._once("keys", keys, lambda: media.checked_keys(keys) if keys else "")
        fixed = replace(inputs, endpoints=(), routes=(), services=(), own_hosts=())
        table = self._table(inputs, bool(jwks))
        files = {
            BOOTSTRAP: self._once(BOOTSTRAP, fixed, lambda: _file(_encode(_bootstrap(fixed)))),
            LISTENERS: self._once(LISTENERS, fixed, lambda: _file(_resources(listeners(fixed, jwks)))),
            CLUSTERS: table.clusters,
            ROUTES: table.routes,
        }
        if inputs.tls is not None and inputs.tls_pair is not None:
            files[SECRETS] = _file(_resources([secret(inputs.tls_pair)]))
        left_out = list(table.left_out)
        choices = {service.name: service.policy.zone for service in inputs.services}
        groups: dict[str, list[Endpoint]] = {service: [] for service in table.services}
        for endpoint in inputs.endpoints:
            if endpoint.service in groups:
                groups[endpoint.service].append(endpoint)
        for service, endpoints in groups.items():
            choice = choices.get(service, ZoneChoice.PREFER)
            known = (tuple(endpoints), inputs.zone, choice)
            name = endpoints_file(service)
            files[name], dropped = self._once(name, known, partial(_endpoints, service, *known))
            left_out += dropped
        return files, tuple(sorted(left_out, key=lambda item: (item.node_id, item.because)))

    def _table(self, inputs: Inputs, has_keys: bool) -> _Table:
        known = (inputs.routes, inputs.services, inputs.own_hosts, inputs.media_root, inputs.folder, has_keys)
        return self._once("table", known, lambda: self._table_now(inputs, has_keys))

    def _table_now(self, inputs: Inputs, has_keys: bool) -> _Table:
        settled, left_out = settle(inputs.routes, inputs.own_hosts)
        policies = {service.name: service.policy for service in inputs.services}
        services = sorted({route.service for route in settled if route.redirect is None})

        def encoded(route: Route) -> list[msgspec.Raw]:
            zone = policies.get(route.service, DEFAULT_POLICY).zone
            return self._once((route, zone), None, lambda: _raw(entries(route, zone)))

        routes = _resources([route_configuration(settled, inputs.media_root, has_keys, encoded)])
        clusters = [cluster(name, policies.get(name, DEFAULT_POLICY), inputs.folder) for name in services]
        return _Table(_file(routes), _file(_resources(clusters)), tuple(services), left_out)

    def _once(self, name: object, known: object, make: Callable[[], T]) -> T:
        """Return the piece of this name, made anew only if what it follows from has changed."""
        self._used.add(name)
        found = self._pieces.get(name)
        if found is None or found[0] != known:
            found = self._pieces[name] = (known, make())
        return found[1]


def version_of(files: Iterable[tuple[str, bytes]]) -> str:
    """Return the content hash (16 hex digits) of a set of files, whatever their order."""
    return _version({name: hashlib.sha256(content).digest() for name, content in files})


def _version(digests: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name, digest in sorted(digests.items()):
        whole.update(f"{name}\0".encode())
        whole.update(digest)
    return whole.hexdigest()[:16]


def _file(content: bytes) -> _File:
    return _File(content, hashlib.sha256(content).digest())


def _endpoints(
    service: str, endpoints: Iterable[Endpoint], zone: str, choice: ZoneChoice
) -> tuple[_File, tuple[LeftOut, ...]]:
    chosen, left_out = usable(endpoints)
    return _file(_resources([load_assignment(service, chosen, zone, choice)])), left_out


def checked(inputs: Inputs) -> Inputs:
    """Return `inputs` if they can be compiled. Raises InvalidInput."""
    media.checked_root(inputs.media_root)
    if not NAME.fullmatch(inputs.node_id):
        raise _wrong("node_id", inputs.node_id, "letters, digits, `.`, `_` and `-`, at most 63, first no sign")
    if not inputs.folder.startswith("/"):
        raise _wrong("folder", inputs.folder, "an absolute path")
    if not 0 < inputs.listen_port < 65536:
        raise _wrong("listen_port", inputs.listen_port, "a port number, 1 to 65535")
    for service in inputs.services:
        if not NAME.fullmatch(service.name):
            raise _wrong("service", service.name, "letters, digits, `.`, `_` and `-`, at most 63, first no sign")
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


def _resources(resources: list[dict[str, Any]]) -> bytes:
    """Wrap resources as a discovery response whose version is the hash of its own content."""
    content = _encode(resources)
    version = hashlib.sha256(content).hexdigest()[:16]
    return b'{"version_info":"%s","resources":%s}\n' % (version.encode(), content)


def _raw(values: Iterable[dict[str, Any]]) -> list[msgspec.Raw]:
    # A line for each, so that people can read and compare the files.
    return [msgspec.Raw(b"\n" + msgspec.json.encode(value)) for value in values]


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value)
