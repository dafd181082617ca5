"""What a gateway node tells: its figures by the second to the region, its metrics to whoever watches.

A small server of the node's own, beside Envoy and never behind it: it answers from memory, and only
to a token of the region's. Enter at `FigureDesk`.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl

import msgspec

from redqueen.errors import RedQueenError
from redqueen.gateway.figures import Figures, Kept
from redqueen.gateway.metrics import CONTENT_TYPE, exposition
from redqueen.registry.drivers.http import Answer, Head
from redqueen.registry.rights import Gate
from redqueen.telemetry.model import LATENCY_BOUNDS_MS, FigureBin

FIGURES, METRICS = "/telemetry/v1/figures", "/metrics"
UNTIL_HEADER = "x-rq-until"
"""The last second that is complete: what is not there up to it did not happen."""


class FigureDesk:
    """Answers the two questions that a gateway node is asked."""

    def __init__(
        self,
        node_id: str,
        zone: str,
        secret: bytes,
        kept: Kept,
        serving: Callable[[], bool],
        more: Callable[[], str] = str,
    ) -> None:
        """Answer for a gateway; `more` gives further metrics."""
        self._node_id = node_id
        self._zone = zone
        self._gate = Gate(secret)
        self._kept = kept
        self._serving = serving
        self._more = more

    def admit(self, head: Head) -> int | Answer:
        """Refuse everybody but the region itself; no question has a body."""
        try:
            caller = self._gate.caller(head.headers.get("authorization", ""), here=head.here)
        except RedQueenError:
            return Answer(401)
        return 0 if caller.commands else Answer(401)

    def handle(self, head: Head, body: bytes) -> Answer:
        """Answer one call."""
        if head.path not in (FIGURES, METRICS):
            return Answer(404)
        if head.method not in ("GET", "HEAD"):
            return Answer(405)
        return self._figures(head.query) if head.path == FIGURES else self._metrics()

    def _figures(self, query: str) -> Answer:
        since = dict(parse_qsl(query)).get("since", "0")
        if not since.isascii() or not since.isdecimal() or len(since) > 18:
            return Answer(400)
        bins = [self._bin(second, one) for second, one in self._kept.since(int(since))]
        headers = {"content-type": "application/msgpack", UNTIL_HEADER: str(self._kept.until)}
        return Answer(200, msgspec.msgpack.encode(bins), headers)

    def _bin(self, second: int, one: Figures) -> FigureBin:
        place, who = one.place, self._node_id
        return FigureBin(
            second,
            who,
            self._zone,
            place.service,
            place.trial,
            place.arm,
            one.requests,
            one.first,
            one.errors,
            one.latency,
        )

    def _metrics(self) -> Answer:
        serving = self._serving()
        text = exposition(self._node_id, self._zone, self._kept.totals, LATENCY_BOUNDS_MS, serving=serving)
        return Answer(200, (text + self._more()).encode(), {"content-type": CONTENT_TYPE})
