"""The one public listener: what is checked and in which order before a route is taken.

Everything from outside is distrusted here: Envoy's own control headers are dropped, headers and
idle times limited, escaped slashes refused. Paths are not repaired (`normalize_path` and
`merge_slashes` stay off): the routes see what was sent, and refuse what has two readings.
Enter at `listener`.
"""

from __future__ import annotations

from typing import Any

from redqueen.gateway import edge_routes, passport, replies
from redqueen.gateway.clusters import CONNECTION_BUFFER_BYTES
from redqueen.gateway.envoy_json import TYPE
from redqueen.gateway.filters import filter_chain

NAME = "front-door"
STAT_PREFIX = "front_door"


def listener(node_id: str, host: str, port: int, folder: str, jwks_json: str) -> dict[str, Any]:
    """Give the listener; an empty `jwks_json` leaves out whatever serves media."""
    return {
        "@type": TYPE + "envoy.config.listener.v3.Listener",
        "name": NAME,
        "address": {"socket_address": {"address": host, "port_value": port}},
        # All gateways of a machine listen on one address; the kernel deals connections out to the living.
        "enable_reuse_port": True,
        "per_connection_buffer_limit_bytes": CONNECTION_BUFFER_BYTES,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": _connection(node_id, folder, jwks_json)}]}],
    }


def _connection(node_id: str, folder: str, jwks_json: str) -> dict[str, Any]:
    return {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": STAT_PREFIX,
        # HTTP/1.1, or HTTP/2 where the client begins with its preface (h2c) or ALPN chose it.
        "codec_type": "AUTO",
        "rds": {
            "route_config_name": edge_routes.NAME,
            "config_source": {"path_config_source": {"path": f"{folder}/rds.json"}, "initial_fetch_timeout": "1s"},
        },
        "http_filters": filter_chain(jwks_json),
        "local_reply_config": replies.local_reply_config(),
        "access_log": [passport.access_log(node_id)],
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
        "http2_protocol_options": {
            "max_concurrent_streams": 128,
            "initial_stream_window_size": 1 << 20,
            "initial_connection_window_size": 4 << 20,
        },
    }
