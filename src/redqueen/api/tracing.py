"""Traces of an api node: a span for each request, and for each call to the store that it makes.

Spans go to the collector that the region's settings name, over OTLP; where none is named nothing is
made and nothing costs. Each span carries the service, its release and the request's arms, and goes
on from the gateway's span (W3C trace context). A collector that does not answer loses spans, never
requests. Enter at `Tracing.exporting`, `Tracing.requests` and `Tracing.records`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from redqueen.api.metrics import route_of
from redqueen.store.ports import Delete, Put, Record, Records

_T = TypeVar("_T")
_EXPORT_LIMIT_S: Final = 5.0
_QUEUE_SPANS: Final = 4096
"""Spans that wait for the collector at most; further ones are dropped."""
_ARMS: Final = "x-rq-arms"
_PATH: Final = "/v1/traces"
_request_arms: ContextVar[str] = ContextVar("request_arms", default="")
"""The arms of the request that this task works for."""


class Tracing:
    """Makes a node's spans; close it in the end, so that the last ones leave."""

    def __init__(self, exporter: SpanExporter, place: Mapping[str, str]) -> None:
        """Hand spans to `exporter`; `place` stands on all of them."""
        self._provider = TracerProvider(resource=Resource.create(dict(place)))
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=_QUEUE_SPANS, export_timeout_millis=_EXPORT_LIMIT_S * 1000)
        )
        self._tracer = self._provider.get_tracer("redqueen")
        self._context = TraceContextTextMapPropagator()

    @classmethod
    def exporting(cls, otlp_url: str, *, service: str, release: str, zone: str, node: str) -> Tracing:
        """Send spans to the collector at `otlp_url` (its base address, or that of its traces)."""
        base = otlp_url.rstrip("/")
        endpoint = base if base.endswith(_PATH) else base + _PATH
        place = {
            "service.name": service,
            "service.version": release,
            "service.instance.id": node,
            "redqueen.zone": zone,
        }
        return cls(OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_LIMIT_S), place)

    def close(self) -> None:
        """Send what waits, within the export's limit; blocks."""
        self._provider.shutdown()

    def requests(self, app: ASGIApp) -> ASGIApp:
        """Return `app` with a span for each request."""

        async def front(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            _request_arms.set(headers.get(_ARMS, "")[:1000])
            with self._tracer.start_as_current_span(
                scope["method"], self._outer(headers), SpanKind.SERVER, _told(scope["method"], headers)
            ) as span:

                async def noting(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        span.set_attribute("http.response.status_code", message["status"])
                        if message["status"] >= 500:
                            span.set_status(StatusCode.ERROR)
                    await send(message)

                await app(scope, receive, noting)
                route = route_of(scope)
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)

        return front

    def records(self, records: Records) -> Records:
        """Return `records` with a span for each call that belongs to a request."""
        return TracedRecords(records, self)

    async def call(self, name: str, partition: str, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask the store within a span; what no request asks for is not traced."""
        if not get_current_span().get_span_context().is_valid:
            return await ask()
        told = {"db.system": "redqueen", "db.operation.name": name, "db.collection.name": partition}
        if arms := _request_arms.get():
            told["redqueen.arms"] = arms
        with self._tracer.start_as_current_span(f"store.{name}", kind=SpanKind.CLIENT, attributes=told):
            return await ask()

    def _outer(self, headers: Mapping[str, str]) -> Context:
        return self._context.extract(headers)


def _told(method: str, headers: Mapping[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = {"http.request.method": method}
    if headers.get(_ARMS):
        told["redqueen.arms"] = headers[_ARMS][:1000]
    if headers.get("x-request-id"):
        told["redqueen.request_id"] = headers["x-request-id"][:64]
    return told


class TracedRecords:
    """Records whose calls are spans; the partition is told, keys and values are not."""

    def __init__(self, records: Records, tracing: Tracing) -> None:
        self._records = records
        self._tracing = tracing

    async def get(self, partition: str, clustering: str) -> Record | None:
        """Return one record, or None."""
        return await self._tracing.call("get", partition, lambda: self._records.get(partition, clustering))

    async def scan(
        self, partition: str, *, start: str = "", end: str | None = None, limit: int = 1000, reverse: bool = False
    ) -> list[Record]:
        """Return records of one partition in order."""
        return await self._tracing.call(
            "scan",
            partition,
            lambda: self._records.scan(partition, start=start, end=end, limit=limit, reverse=reverse),
        )

    async def put(self, partition: str, change: Put) -> Record | None:
        """Write one record; None when its condition did not hold."""
        return await self._tracing.call("put", partition, lambda: self._records.put(partition, change))

    async def delete(self, partition: str, change: Delete) -> bool:
        """Remove one record; False when its condition did not hold."""
        return await self._tracing.call("delete", partition, lambda: self._records.delete(partition, change))

    async def batch(self, partition: str, changes: Sequence[Put | Delete]) -> bool:
        """Make all changes of one partition, or none."""
        return await self._tracing.call("batch", partition, lambda: self._records.batch(partition, changes))

    async def close(self) -> None:
        """Let go of files and connections."""
        await self._records.close()
