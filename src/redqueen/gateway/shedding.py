"""Who has to wait when a service is slow: prefetch first, then browsing, playback never.

The signal is the service's own answer time on this route, as one gateway sees it: while the median
lies above a route's limit, fewer requests are let through, until it lies below or the floor is
reached; the rest are answered 503 at once instead of queueing in front of playback. Browsing's
limit is four times prefetch's, so that shedding prefetch alone is tried first. Envoy's adaptive
concurrency does the counting, with a fixed limit: measuring its own minimum would hold back
requests again and again just to look. Enter at `shedding`.
"""

from __future__ import annotations

from typing import Any

from redqueen.gateway.envoy_json import FILTER, filter_named, seconds
from redqueen.gateway.model import Policy, Priority

BROWSING_PATIENCE = 4
PREFETCH_FLOOR = 4
# Where the limit stands while all is well: from here it halves four times a second when all is not.
_MOST = 1024


def shedding(policy: Policy) -> dict[str, Any] | None:
    """Give a route's own filter, or None where nothing is shed: playback, and bodies that stream."""
    if policy.slow_s is None or policy.timeout_s is None or policy.priority is Priority.PLAYBACK:
        return None
    prefetch = policy.priority is Priority.PREFETCH
    slow_s = policy.slow_s * (1 if prefetch else BROWSING_PATIENCE)
    controller = {
        "sample_aggregate_percentile": {"value": 50},
        "concurrency_limit_params": {
            "max_concurrency_limit": max(_MOST, policy.never_shed_below),
            "concurrency_update_interval": "0.25s",
        },
        "min_rtt_calc_params": {
            "fixed_value": seconds(slow_s),
            "min_concurrency": PREFETCH_FLOOR if prefetch else policy.never_shed_below,
            "buffer": {"value": 0},
        },
    }
    one = filter_named(
        "concurrency",
        "adaptive_concurrency.v3.AdaptiveConcurrency",
        gradient_controller_config=controller,
        # The runtime key is required and never set.
        enabled={"default_value": True, "runtime_key": "redqueen.unset"},
    )
    # Each route counts for itself: the chain's own filter is empty and takes the route's.
    return {"@type": FILTER + "filter_chain.v3.FilterChainConfigPerRoute", "filter_chain": {"filters": [one]}}
