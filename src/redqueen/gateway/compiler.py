"""Turns what a gateway knows into Envoy's files: the same inputs always give the same bytes.

`bootstrap.json` is read once; the others are watched by Envoy and may be replaced one by one.
Each service's endpoints are a file of their own, so that a node's birth or death rewrites one
small file and nothing else. Refuses names that cannot be file or cluster names, paths that are
not plain, and keys that are not public. Enter at `compile`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from redqueen.errors import InvalidInput
from redqueen.gateway import media
from redqueen.gateway.clusters import TYPE, clusters, endpoints_file, load_assignment, usable
from redqueen.gateway.edge_routes import route_configuration
from redqueen.gateway.listeners import listener
from redqueen.gateway.model import Inputs, Route, Snapshot

BOOTSTRAP, LISTENERS, CLUSTERS, ROUTES = "bootstrap.json", "lds.json", "cds.json", "rds.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PREFIX = re.compile(r"/[A-Za-z0-9._~/-]*")
MAX_CONNECTIONS = 20_000


def compile(inputs: Inputs) -> Snapshot:
    """Compile all files of a gateway. Raises InvalidInput naming what cannot be compiled."""
    checked(inputs)
    jwks = media.checked_keys(inputs.media_keys.jwks_json) if inputs.media_keys.jwks_json else ""
    services = sorted({route.service for route in inputs.routes})
    chosen, left_out = usable(endpoint for endpoint in inputs.endpoints if endpoint.service in services)
    files = {
        BOOTSTRAP: _encode(_bootstrap(inputs)),
        CLUSTERS: _resources(clusters(services, inputs.folder)),
        LISTENERS: _resources([listener(inputs.node_id, inputs.listen_host, inputs.listen_port, inputs.folder, jwks)]),
        ROUTES: _resources([route_configuration(inputs.routes, inputs.media_root, bool(jwks))]),
    }
    for service in services:
        files[endpoints_file(service)] = _resources([load_assignment(service, chosen, inputs.zone)])
    return Snapshot(version_of(files.items()), files, left_out)


def version_of(files: Iterable[tuple[str, bytes]]) -> str:
    """Return the content hash (16 hex digits) of a set of files, whatever their order."""
    digest = hashlib.sha256()
    for name, content in sorted(files):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def checked(inputs: Inputs) -> Inputs:
    """Return `inputs` if they can be compiled. Raises InvalidInput."""
    media.checked_root(inputs.media_root)
    if not _NAME.fullmatch(inputs.node_id):
        raise _wrong("node_id", inputs.node_id, "letters, digits, `.`, `_` and `-`, at most 63, first no sign")
    if not inputs.folder.startswith("/"):
        raise _wrong("folder", inputs.folder, "an absolute path")
    if not 0 < inputs.listen_port < 65536:
        raise _wrong("listen_port", inputs.listen_port, "a port number, 1 to 65535")
    prefixes: set[str] = set()
    for route in inputs.routes:
        _check_route(route)
        if route.prefix in prefixes:
            raise _wrong("route", route.prefix, "given once; two routes have this prefix")
        prefixes.add(route.prefix)
    return inputs


def _check_route(route: Route) -> None:
    if not _NAME.fullmatch(route.service):
        raise _wrong("service", route.service, "letters, digits, `.`, `_` and `-`, at most 63, first no sign")
    if not _PREFIX.fullmatch(route.prefix) or "//" in route.prefix or "/." in route.prefix:
        raise _wrong("route", route.prefix, "a plain path that begins with `/`")
    if re.match(r"/(media|v)(/|$)", route.prefix):
        raise _wrong("route", route.prefix, "outside /media and /v, which the gateway serves itself")


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
    version = hashlib.sha256(_encode(resources)).hexdigest()[:16]
    return _encode({"version_info": version, "resources": resources})


def _encode(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
