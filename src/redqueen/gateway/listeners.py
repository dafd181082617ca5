"""The public listeners: what is checked and in which order before a route is taken.

Everything from outside is distrusted here: Envoy's own control headers are dropped, headers and
idle times limited, escaped slashes refused. Paths are not repaired (`normalize_path` and
`merge_slashes` stay off): the routes see what was sent, and refuse what has two readings.
Enter at `listeners`.
"""

from __future__ import annotations

import re
import socket
from typing import Any

from redqueen.gateway import counting, edge_routes, passport, player_log, replies, scripts
from redqueen.gateway.envoy_json import TYPE, filter_named, header
from redqueen.gateway.filters import filter_chain
from redqueen.gateway.model import Inputs
from redqueen.gateway.tracing import tracing
from redqueen.gateway.transport import TlsEdge, quic_socket, tls_socket

NAME = "front-door"
STAT_PREFIX = "front_door"
TOOLS_HOST = "127.0.0.1"
READER_BUFFER_BYTES = 64 << 10
"""What Envoy holds for a client that reads slowly; the file server adds up to two pieces of 32 KiB."""
# The kernel too holds so much that was not sent yet, instead of up to 4 MiB (tcp(7), tcp_wmem). What is
# on its way is not counted, so that a fast client far away is as fast as before.
_LITTLE_UNSENT = {"level": socket.IPPROTO_TCP, "name": 25, "int_value": READER_BUFFER_BYTES}  # TCP_NOTSENT_LOWAT
# Envoy keeps as much of an answer for a stream that is not read as it would take of an upload that is not
# passed on: one number for both. An upload over HTTP/2 is so fast as this window in each round trip.
_STREAMS = {
    "max_concurrent_streams": 128,
    "initial_stream_window_size": 128 << 10,
    "initial_connection_window_size": 1 << 20,
}
_LOOPBACK = re.compile(r"127\.[0-9.]+|::1")


def listeners(inputs: Inputs, jwks_json: str) -> list[dict[str, Any]]:
    """Give the front door; an empty `jwks_json` leaves out whatever serves media.

    With a certificate it is HTTPS (HTTP/1.1, HTTP/2) and QUIC (HTTP/3) on the TLS port; the plain port
    then serves this machine's tools only, and sends everybody else to HTTPS.
    """
    host, port, edge = inputs.listen_host, inputs.listen_port, inputs.tls
    filters = filter_chain(jwks_json)
    if edge is None or inputs.tls_pair is None:
        return [_tcp(NAME, host, port, _connection(inputs, filters))]
    here = bool(_LOOPBACK.fullmatch(host))
    plain, secure = [_browsers_to_https(edge), *filters], [_other_protocol(edge), *filters]
    found = [_tcp(NAME, host if here else TOOLS_HOST, port, _connection(inputs, plain))]
    if not here:
        found.append(_tcp("to-https", host, port, _only_redirects(inputs, edge)))
    tls = tls_socket(inputs.folder)
    return [
        *found,
        _tcp("front-door-tls", host, edge.port, _connection(inputs, secure), tls),
        _quic(host, edge.port, _connection(inputs, secure, http3=True), quic_socket(inputs.folder)),
    ]


def _tcp(
    name: str, host: str, port: int, connection: dict[str, Any], transport: dict[str, Any] | None = None
) -> dict[str, Any]:
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": connection}]}
    if transport is not None:
        chain["transport_socket"] = transport
    return {
        "@type": TYPE + "envoy.config.listener.v3.Listener",
        "name": name,
        "address": {"socket_address": {"address": host, "port_value": port}},
        # All gateways of a machine listen on one address; the kernel deals connections out to the living.
        "enable_reuse_port": True,
        "per_connection_buffer_limit_bytes": READER_BUFFER_BYTES,
        "socket_options": [_LITTLE_UNSENT],
        "filter_chains": [chain],
    }


def _quic(host: str, port: int, connection: dict[str, Any], transport: dict[str, Any]) -> dict[str, Any]:
    found = _tcp("front-door-quic", host, port, connection, transport)
    found["address"]["socket_address"]["protocol"] = "UDP"
    # Datagrams that came together are read together.
    del found["socket_options"]
    found["udp_listener_config"] = {"quic_options": {}, "downstream_socket_config": {"prefer_gro": True}}
    return found


def _other_protocol(edge: TlsEdge) -> dict[str, Any]:
    """Tell browsers that HTTP/3 is to be had, for a day."""
    offer = header("alt-svc", f'h3=":{edge.public_port}"; ma=86400')
    mutations = {"response_mutations": [{"append": {**offer, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}]}
    return filter_named("http3-offer", "header_mutation.v3.HeaderMutation", mutations=mutations)


def _browsers_to_https(edge: TlsEdge) -> dict[str, Any]:
    """Send whoever opens a page over plain HTTP to HTTPS; tools never say that they navigate."""
    script = scripts.browsers_to_https(edge.public_host, edge.public_port)
    return filter_named("browsers", "lua.v3.Lua", default_source_code={"inline_string": script})


def _only_redirects(inputs: Inputs, edge: TlsEdge) -> dict[str, Any]:
    action: dict[str, Any] = {
        "https_redirect": True,
        "port_redirect": edge.public_port,
        # Keeps the method and the body.
        "response_code": "PERMANENT_REDIRECT",
    }
    if edge.public_host:
        action["host_redirect"] = edge.public_host
    # Permanent for this request, not for the day when the certificate is taken away again.
    route = {"match": {"prefix": "/"}, "redirect": action, "response_headers_to_add": [header(*scripts.NOT_KEPT)]}
    connection = _connection(inputs, [filter_named("router", "router.v3.Router")])
    del connection["rds"]
    hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
    connection["route_config"] = {"name": "to-https", "virtual_hosts": hosts}
    return connection


def _connection(inputs: Inputs, filters: list[dict[str, Any]], *, http3: bool = False) -> dict[str, Any]:
    rds = f"{inputs.folder}/rds.json"
    return {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": STAT_PREFIX,
        # AUTO: HTTP/1.1, or HTTP/2 where the client begins with its preface (h2c) or ALPN chose it.
        **(
            {"codec_type": "HTTP3", "http3_protocol_options": {"quic_protocol_options": _STREAMS}}
            if http3
            else {"codec_type": "AUTO"}
        ),
        "rds": {
            "route_config_name": edge_routes.NAME,
            "config_source": {"path_config_source": {"path": rds}, "initial_fetch_timeout": "1s"},
        },
        "http_filters": filters,
        "local_reply_config": replies.local_reply_config(),
        "access_log": [passport.access_log(inputs.node_id), player_log.player_log(inputs.folder), counting.counter()],
        **tracing(inputs.otlp_url),
        **_paths(),
        **_trust(),
        **_limits(),
    }


def _paths() -> dict[str, Any]:
    return {
        "normalize_path": False,
        "merge_slashes": False,
        # `..%2f` has no honest use: 400, before any route is looked at.
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
    }


def _trust() -> dict[str, Any]:
    return {
        "server_name": "redqueen",
        # The peer is the client: its own x-forwarded-for is not believed.
        "use_remote_address": True,
        # Nobody is internal, not even loopback (an empty list would mean Envoy's own idea of internal).
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        "generate_request_id": True,
        "always_set_request_id_in_response": True,
        "early_header_mutation_extensions": [
            {
                "name": "outside-headers",
                "typed_config": {
                    "@type": TYPE + "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                    "mutations": [
                        {"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}},
                        {"remove_on_match": {"key_matcher": {"prefix": "x-rq-"}}},
                        {"remove": "x-request-id"},
                    ],
                },
            }
        ],
    }


def _limits() -> dict[str, Any]:
    return {
        "common_http_protocol_options": {
            "idle_timeout": "120s",
            "max_headers_count": 100,
            # Many servers read `a_b` as `a-b`: a way around the headers dropped above.
            "headers_with_underscores_action": "DROP_HEADER",
        },
        "max_request_headers_kb": 32,
        # Slow loris: headers within 10 s; bodies are limited by each route.
        "request_headers_timeout": "10s",
        # A paused player may leave a segment half read for minutes.
        "stream_idle_timeout": "300s",
        "delayed_close_timeout": "1s",
        "drain_timeout": "1s",
        "http2_protocol_options": _STREAMS,
    }
