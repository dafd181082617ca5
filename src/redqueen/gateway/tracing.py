"""Spans of every request to a collector (OTLP over HTTP), where the region's settings name one.

A span says which service, node, version and arms a request had, and carries the trace on to the
service (W3C traceparent). Without a collector there is nothing here and no request pays for it. A
collector behind TLS is asked by nobody here: Envoy may read no certificates of the machine's.
Enter at `tracing` and `collector`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from redqueen.gateway.arms_script import ARMS_HEADER
from redqueen.gateway.envoy_json import TYPE

CLUSTER = "otlp-collector"
_TRACES = "/v1/traces"


def tracing(otlp_url: str) -> dict[str, Any]:
    """Give the connection manager's part; empty without a collector that can be asked."""
    if not _can_be_asked(otlp_url):
        return {}
    base = otlp_url.rstrip("/")
    uri = {"uri": base if base.endswith(_TRACES) else base + _TRACES, "cluster": CLUSTER, "timeout": "1s"}
    provider = {
        "@type": TYPE + "envoy.config.trace.v3.OpenTelemetryConfig",
        "http_service": {"http_uri": uri},
        "service_name": "gateway",
    }
    tags = [
        _said("redqueen.service", {"route": {}}, "service"),
        _said("redqueen.node", {"host": {}}, "node"),
        _said("redqueen.release", {"host": {}}, "version"),
        {"tag": "redqueen.arms", "request_header": {"name": ARMS_HEADER}},
    ]
    return {
        "tracing": {
            "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": provider},
            "custom_tags": tags,
            # A path may hold a token: none is told whole.
            "max_path_tag_length": 3,
        }
    }


def collector(otlp_url: str) -> list[dict[str, Any]]:
    """Give the collector's cluster for the bootstrap."""
    if not _can_be_asked(otlp_url):
        return []
    told = urlsplit(otlp_url)
    address = {"socket_address": {"address": told.hostname, "port_value": told.port or 80}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return [
        {
            "name": CLUSTER,
            "type": "STRICT_DNS",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": CLUSTER, "endpoints": endpoints},
        }
    ]


def _can_be_asked(otlp_url: str) -> bool:
    return otlp_url.startswith("http://") and bool(urlsplit(otlp_url).hostname)


def _said(tag: str, kind: dict[str, Any], key: str) -> dict[str, Any]:
    return {
        "tag": tag,
        "metadata": {"kind": kind, "metadata_key": {"key": "redqueen", "path": [{"key": key}]}, "default_value": "-"},
    }
