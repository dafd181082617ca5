"""What an api node counts, for Prometheus: requests by route, and what telemetry took, refused and knows.

Counters live as long as the node. Every series names the service (a group's name where a release is
tried), the release and the zone. Routes are templates, never addresses, so that nobody outside can
add series. Enter at `Metrics`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from redqueen.errors import RedQueenError
from redqueen.telemetry.service import Telemetry

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PLACE: Final = ("service", "release", "zone")


class Metrics(Collector):
    """One node's counters; `service`, `release` and `zone` stand on every series."""

    def __init__(self, telemetry: Telemetry, *, service: str, release: str, zone: str) -> None:
        self._telemetry = telemetry
        self._place = (service, release, zone)
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Histogram(
            "redqueen_api_request_seconds",
            "Requests by route and status, and how long they took.",
            (*_PLACE, "method", "route", "status"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._registry.register(self)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def request(self, method: str, route: str, status: int, took_s: float) -> None:
        """Count a request that ended."""
        known = method if method in _METHODS else "other"
        self._requests.labels(*self._place, known, route, str(status)).observe(took_s)

    def collect(self) -> Iterable[Metric]:
        """Give what telemetry has counted by itself."""
        try:
            intake, spool = self._telemetry.intake, self._telemetry.spool
        except RedQueenError:  # not open, or not any more
            return
        tally, sessions = intake.tally, self._telemetry.sessions
        yield from self._counters(
            ("redqueen_telemetry_events", "Player events that were acknowledged.", tally.events),
            ("redqueen_telemetry_reports", "CMCD reports that were acknowledged.", tally.reports),
            ("redqueen_telemetry_requests", "Beacons that came.", tally.requests),
            ("redqueen_telemetry_grants", "Sessions that were granted.", tally.grants),
            ("redqueen_telemetry_unjudged", "Grants of addresses that had their share of the trials.", tally.unjudged),
            ("redqueen_telemetry_commits", "Times that the spool was synced.", spool.commits),
            ("redqueen_telemetry_spooled_bytes", "Bytes that were written to the spool.", spool.written_bytes),
            ("redqueen_telemetry_dropped", "Closed sessions forgotten early for want of room.", sessions.dropped),
        )
        yield self._by("redqueen_telemetry_refused", "What was refused, by the reason.", "reason", tally.refused)
        folds = {str(fold): count for fold, count in tally.folds.items()}
        yield self._by("redqueen_telemetry_folds", "What became of events in their sessions.", "fold", folds)
        held = GaugeMetricFamily("redqueen_telemetry_sessions", "Sessions that may still change.", labels=_PLACE)
        held.add_metric(self._place, sessions.open)
        yield held

    def _counters(self, *counts: tuple[str, str, int]) -> Iterator[Metric]:
        for name, words, count in counts:
            family = CounterMetricFamily(name, words, labels=_PLACE)
            family.add_metric(self._place, count)
            yield family

    def _by(self, name: str, words: str, label: str, counts: dict[str, int]) -> Metric:
        family = CounterMetricFamily(name, words, labels=(*_PLACE, label))
        for key, count in sorted(counts.items()):
            family.add_metric((*self._place, key), count)
        return family


def measured(app: ASGIApp, metrics: Metrics) -> ASGIApp:
    """Return `app` with each of its requests counted when it ends."""

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        status, began_s = 500, time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, noting)
        finally:
            metrics.request(scope["method"], route_of(scope), status, time.perf_counter() - began_s)

    return front


def route_of(scope: Any) -> str:
    """Return the template of the route that a request took; the app's pages and what is nowhere share one."""
    found = scope.get("path_template")
    return found if isinstance(found, str) and found.startswith(("/api/", "/ofrep/", "/telemetry/")) else "app"
