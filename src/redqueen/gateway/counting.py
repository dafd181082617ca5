"""What Envoy counts of requests: how each ended and how long it took, by service, trial, arm and exposure.

One access logger that writes counters instead of lines. It sees every end of a request, the gateway's
own refusals and time limits included, and after all tries. Its names are made of what the compiler and
the arms' script say and of the status, of nothing that a client chooses. Enter at `counter`,
`bucket_settings`, and at `PATTERN` for who reads the counters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from redqueen.gateway.arms_script import EXPOSED, NOTES
from redqueen.gateway.envoy_json import TYPE

PREFIX = "rq"
# What was not said is empty or a dash, as Envoy likes.
_OF = r"of\.([^/]*)/(-?|[^/]+/[^/]+/(?:first|again))"
REQUESTS = re.compile(rf"{PREFIX}\.requests\.{_OF}/(\d+)")
TIMES = re.compile(rf"{PREFIX}\.time\.{_OF}")
PATTERN = rf"^{PREFIX}\."
TIMED = "timed"
"""The route's label under which answers are timed; streams, which last as long as somebody listens, have none."""
# Envoy tells nothing of what lies above the last bound: some eleven days are above all.
_ABOVE_ALL_US = 1e12
FLUSH_S = 1.0
"""How often Envoy's worker hands its histograms over."""


def counter() -> dict[str, Any]:
    """Give the access logger that counts all requests but those for films."""
    # One tag each: Envoy looks every tag's value up by itself, and most of a count's cost is that.
    exposed = f"%DYNAMIC_METADATA({NOTES}:{EXPOSED})%"
    requests = [{"name": "of", "value_format": f"%METADATA(ROUTE:redqueen:service)%/{exposed}/%RESPONSE_CODE%"}]
    times = [{"name": "of", "value_format": f"%METADATA(ROUTE:redqueen:{TIMED})%/{exposed}"}]
    return {
        "name": "counts",
        # No service has a part in films, and there are most of them.
        "filter": {"header_filter": {"header": {"name": ":path", "string_match": _FILMS, "invert_match": True}}},
        "typed_config": {
            "@type": TYPE + "envoy.extensions.access_loggers.stats.v3.Config",
            "stat_prefix": PREFIX,
            "counters": [{"stat": {"name": "requests", "tags": requests}, "value_fixed": 1}],
            "histograms": [
                {
                    "stat": {"name": "time", "tags": times},
                    # A fast service's difference is less than a millisecond.
                    "unit": "Microseconds",
                    # From the request's last byte to the answer's last byte, all tries between them.
                    "value_format": "%COMMON_DURATION(DS_RX_END:DS_TX_END:us)%",
                }
            ],
        },
    }


_FILMS = {"prefix": "/media/"}


def bucket_settings(bounds_ms: Sequence[float]) -> list[dict[str, Any]]:
    """Give the histograms' bounds in the bootstrap's words; nothing leaves Envoy's own."""
    if not bounds_ms:
        return []
    bounds_us = [*(bound * 1000 for bound in bounds_ms), _ABOVE_ALL_US]
    return [{"match": {"prefix": f"{PREFIX}.time."}, "buckets": bounds_us}]
