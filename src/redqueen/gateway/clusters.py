"""Each service as an Envoy cluster, and its endpoints as a file of its own.

Tuned for services of two nodes, where Envoy's defaults fail: a death fails half of all requests
at once, an ejection takes half the capacity, and nobody may be left with no node at all. Refuses
(leaves out, with the reason) endpoints that cannot be given requests. Enter at `cluster`,
`usable`, `load_assignment`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from redqueen.gateway.counting import LENT
from redqueen.gateway.envoy_json import TYPE, seconds
from redqueen.gateway.model import Endpoint, EndpointStatus, LeftOut, ServicePolicy, ZoneChoice

CONNECTION_BUFFER_BYTES = 256 << 10
ASSIGNMENT = TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment"
OWN_ZONE_WEIGHT, OTHER_ZONE_WEIGHT = 4, 1
_SERVED = {EndpointStatus.UP: "HEALTHY", EndpointStatus.OUT_OF_SERVICE: "DRAINING"}


def endpoints_file(service: str) -> str:
    """Name the file that holds a service's endpoints."""
    return f"eds-{service}.json"


def cluster(service: str, policy: ServicePolicy, folder: str, assigned: object | None = None) -> dict[str, Any]:
    """Give a service's cluster: connections, limits and health.

    Its endpoints are `assigned` (a load assignment), or a file in `folder` where there is none.
    """
    return {
        "@type": TYPE + "envoy.config.cluster.v3.Cluster",
        "name": service,
        "metadata": {"filter_metadata": {"redqueen": {"service": service}}},
        **(_watched(service, folder) if assigned is None else {"type": "STATIC", "load_assignment": assigned}),
        # Loopback and LAN: a node that has not accepted after half a second is not there.
        "connect_timeout": seconds(policy.connect_timeout_s),
        # With weights this divides each weight by the requests in flight, so that load spills over to
        # other zones by itself, and a dead zone needs no second rule.
        "lb_policy": "LEAST_REQUEST",
        "per_connection_buffer_limit_bytes": CONNECTION_BUFFER_BYTES,
        "common_lb_config": {
            # Panic only when nobody at all is healthy: then everybody is tried, instead of a certain 503.
            "healthy_panic_threshold": {"value": 1},
            # The default holds changes of health back for a second.
            "update_merge_window": "0s",
        },
        # Envoy counts its two priorities apart: HIGH is playback's, DEFAULT everybody else's.
        "circuit_breakers": {"thresholds": [_breaker(policy, "DEFAULT"), _breaker(policy, "HIGH")]},
        "outlier_detection": _outliers(policy),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http_protocol_options": {}},
                # Shorter than any server's own keep-alive, so that no request meets a closing connection.
                "common_http_protocol_options": {"idle_timeout": "10s"},
            }
        },
    }


def _watched(service: str, folder: str) -> dict[str, Any]:
    # A listener must not wait long for a service whose file is missing.
    source = {"path_config_source": {"path": f"{folder}/{endpoints_file(service)}"}, "initial_fetch_timeout": "1s"}
    return {"type": "EDS", "eds_cluster_config": {"eds_config": source}}


def _breaker(policy: ServicePolicy, priority: str) -> dict[str, Any]:
    return {
        "priority": priority,
        "max_connections": policy.max_connections,
        "max_pending_requests": policy.max_waiting,
        "max_requests": policy.max_requests,
        # One of two nodes dying fails half the requests in flight at once; all of them
        # may be tried again, up to a fixed number together, and above that a share of the load.
        "retry_budget": {
            "budget_percent": {"value": policy.retry_percent},
            "min_retry_concurrency": policy.retry_at_least,
        },
    }


def _outliers(policy: ServicePolicy) -> dict[str, Any]:
    return {
        # Own failures (cannot connect, reset, time out) count apart from the service's own 5xx answers:
        # a bug in one route must not take nodes away.
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 2,
        "enforcing_consecutive_local_origin_failure": 100,
        "consecutive_gateway_failure": policy.eject_after,
        "enforcing_consecutive_gateway_failure": 100,
        "enforcing_consecutive_5xx": 0,
        # Statistics over hosts need five of them.
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": seconds(policy.eject_s),
        "max_ejection_time": seconds(5 * policy.eject_s),
        # Half: of two nodes one, of three one, and a single node never (hence not always_eject_one_host).
        "max_ejection_percent": policy.eject_percent,
        "always_eject_one_host": False,
    }


def usable(endpoints: Iterable[Endpoint]) -> tuple[tuple[Endpoint, ...], tuple[LeftOut, ...]]:
    """Split endpoints into those that get requests and those left out with a reason, both sorted.

    Of two claims to one address of a service the healthier wins, then the lesser node id.
    """
    chosen: dict[tuple[str, str, int], Endpoint] = {}
    left_out: list[LeftOut] = []
    for endpoint in sorted(set(endpoints), key=_rank):
        because = _unusable(endpoint.host, endpoint.port, endpoint.status)
        address = (endpoint.service, endpoint.host, endpoint.port)
        if because is None and address in chosen:
            because = f"{endpoint.host}:{endpoint.port} is already {chosen[address].node_id}"
        if because is None:
            chosen[address] = endpoint
        else:
            left_out.append(LeftOut(endpoint.node_id, because))
    return tuple(chosen.values()), tuple(sorted(left_out, key=lambda item: (item.node_id, item.because)))


def _rank(endpoint: Endpoint) -> tuple[Any, ...]:
    status_rank = 0 if endpoint.status is EndpointStatus.UP else 1
    where = (endpoint.host, endpoint.port, endpoint.zone, endpoint.version, endpoint.status.value)
    return (endpoint.service, status_rank, endpoint.node_id, *where)


def _unusable(host: str, port: int, status: EndpointStatus) -> str | None:
    if status not in _SERVED:
        return f"it is {status.value}"
    return _wrong_host(host) if 0 < port < 65536 else f"port {port} is not a port"


# One change has a service's endpoints looked at again, and reading an address is half of that.
@lru_cache(maxsize=1 << 14)
def _wrong_host(host: str) -> str | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"host {host!r} is not an IP address"
    return f"host {host} is not one host" if address.is_unspecified or address.is_multicast else None


def load_assignment(
    service: str,
    endpoints: Iterable[Endpoint],
    zone: str,
    choice: ZoneChoice = ZoneChoice.PREFER,
    lent: Iterable[Endpoint] = (),
) -> dict[str, Any]:
    """Give the endpoints of one service as seen from `zone`, with those that another lends; none is valid (503)."""
    chosen = [*(endpoint for endpoint in endpoints if endpoint.service == service), *lent]
    assignment: dict[str, Any] = {"cluster_name": service}
    groups = [chosen]
    if choice is ZoneChoice.STAY:
        groups = [[one for one in chosen if (one.zone == zone) is own] for own in (True, False)]
        # All of the own zone's share as long as it is whole; what its dead nodes carried spills over.
        assignment["policy"] = {"overprovisioning_factor": 100}
    hosts = [
        [_host(endpoint, service, _weight(endpoint, zone, choice)) for endpoint in group] for group in groups if group
    ]
    if hosts:
        # Priorities must begin at 0: without a node in the own zone the others are first.
        assignment["endpoints"] = [
            {"lb_endpoints": group, **({"priority": priority} if priority else {})}
            for priority, group in enumerate(hosts)
        ]
    return assignment


def _weight(endpoint: Endpoint, zone: str, choice: ZoneChoice) -> int:
    preferred = choice is ZoneChoice.PREFER and endpoint.zone == zone
    return OWN_ZONE_WEIGHT if preferred else OTHER_ZONE_WEIGHT


def lending(group: Iterable[Endpoint], service: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Return the nodes that a service lends to one of its groups: as long as that has none which is UP.

    Routes leave a group a moment after its last node has; what is sent there until then shall not fail.
    """
    if any(one.status is EndpointStatus.UP for one in group):
        return ()
    return tuple(one for one in usable(service)[0] if one.status is EndpointStatus.UP)


def _host(endpoint: Endpoint, service: str, weight: int) -> dict[str, Any]:
    seen = {"zone": endpoint.zone, "version": endpoint.version, "node": endpoint.node_id}
    if endpoint.service != service:
        seen[LENT] = endpoint.service
    return {
        "endpoint": {
            "address": {"socket_address": {"address": endpoint.host, "port_value": endpoint.port}},
            # Only for the access log: which node answered.
            "hostname": endpoint.node_id,
        },
        "metadata": {"filter_metadata": {"redqueen": seen}},
        "health_status": _SERVED[endpoint.status],
        "load_balancing_weight": weight,
    }
