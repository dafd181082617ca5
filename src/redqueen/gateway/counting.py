"""What Envoy counts of requests: how each ended and how long it took, by service, and by arm where there is a trial.

Of every service Envoy counts by itself what its nodes answered, each try. For requests that the arms' script has
seen an access logger writes counters: it sees every end, the gateway's own refusals and time limits
included, after all tries, and costs some hundredths of a request, which only services under trial pay.
Its names are made of what the compiler and the script say and of the status, of nothing that a client
chooses. Enter at `counter`, `bucket_settings`, and at `PATTERN` for who reads the counters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from redqueen.gateway.arms_script import EXPOSED, NOTES, VIEWER_HEADER
from redqueen.gateway.envoy_json import TYPE

PREFIX = "rq"
# What was not said is empty or a dash, as Envoy likes. The service is the trial's: at a path that only the release has,
# another one may answer the others. What a lent node answered is nobody's.
_OF = r"([^/]+)/([^/]+/[^/]+/(?:first|again))"
REQUESTS = re.compile(rf"{PREFIX}\.requests\.of\.{_OF}/-?/(\d+)")
TIMES = re.compile(rf"{PREFIX}\.time\.of\.{_OF}/-?/(?!-$)[^/]+")
CLUSTER = re.compile(r"cluster\.(.+)\.upstream_rq_(completed|5xx|time)")
PATTERN = rf"^({PREFIX}\.|cluster\..*\.upstream_rq_(completed|5xx|time)$)"
KEPT_SUFFIXES = (".upstream_rq_completed", ".upstream_rq_5xx", ".upstream_rq_time")
TIMED = "timed"
"""The route's label under which answers are timed; streams, which last as long as somebody listens, have none."""
LENT = "lent"
"""A node's label where it answers for a group that has none."""
# Envoy tells nothing of what lies above the last bound: some eleven days are above all.
_ABOVE_ALL = 1e12
FLUSH_S = 1.0
"""How often Envoy's worker hands its histograms over."""


def counter() -> dict[str, Any]:
    """Give the access logger that counts requests to services under trial."""
    # One tag each: Envoy looks every tag's value up by itself, and most of a count's cost is that.
    exposed, lent = f"%DYNAMIC_METADATA({NOTES}:{EXPOSED})%", f"%METADATA(UPSTREAM_HOST:redqueen:{LENT})%"
    requests = [{"name": "of", "value_format": f"{exposed}/{lent}/%RESPONSE_CODE%"}]
    times = [{"name": "of", "value_format": f"{exposed}/{lent}/%METADATA(ROUTE:redqueen:{TIMED})%"}]
    return {
        "name": "counts",
        # Only where the script has been: nobody outside can send that header.
        "filter": {"header_filter": {"header": {"name": VIEWER_HEADER, "present_match": True}}},
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


def bucket_settings(bounds_ms: Sequence[float]) -> list[dict[str, Any]]:
    """Give the histograms' bounds in the bootstrap's words; nothing leaves Envoy's own."""
    if not bounds_ms:
        return []
    bounds_us = [*(bound * 1000 for bound in bounds_ms), _ABOVE_ALL]
    return [
        {"match": {"prefix": f"{PREFIX}.time."}, "buckets": bounds_us},
        # Envoy's own are in milliseconds.
        {"match": {"suffix": ".upstream_rq_time"}, "buckets": [*bounds_ms, _ABOVE_ALL]},
    ]
