"""Traces: a span for each request and each call to the store, with release and arms, after the gateway's span."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from redqueen.api.tracing import Tracing
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.ports import Put
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def _requested(tracing: Tracing, records: Any, headers: list[tuple[bytes, bytes]], status: int = 200) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["path_template"] = "/api/v1/titles/{title_id}"
        await records.put("titles", Put("secret-key", b"secret-value"))
        await records.get("titles", "secret-key")
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        return

    scope: Any = {"type": "http", "method": "GET", "path": "/api/v1/titles/t1", "headers": headers}
    await tracing.requests(app)(scope, receive, send)


async def test_a_request_and_its_calls_to_the_store_are_one_trace_with_release_and_arms() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter, {"service.name": "api--r2-canary", "service.version": "1.1+r2"})
    records = tracing.records(MemoryRecords(VirtualClock()))
    headers = [(b"traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode()), (b"x-rq-arms", b"api-r2=canary")]
    await _requested(tracing, records, headers, status=503)
    tracing.close()
    put, get, request = exporter.get_finished_spans()
    assert [span.name for span in (put, get, request)] == ["store.put", "store.get", "GET /api/v1/titles/{title_id}"]
    assert {f"{span.context.trace_id:032x}" for span in (put, get, request)} == {TRACE}
    assert put.parent is not None and put.parent.span_id == request.context.span_id
    for span in (put, get, request):
        assert span.attributes is not None and span.attributes["redqueen.arms"] == "api-r2=canary"
        assert span.resource.attributes["service.version"] == "1.1+r2"
        assert "secret" not in str(span.attributes)
    assert request.attributes is not None and request.attributes["http.response.status_code"] == 503
    assert not request.status.is_ok


async def test_what_no_request_asks_of_the_store_is_not_traced() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter, {"service.name": "api"})
    records = tracing.records(MemoryRecords(VirtualClock()))
    await records.put("p", Put("a", b"1"))
    assert [record.value for record in await records.scan("p")] == [b"1"]
    tracing.close()
    assert exporter.get_finished_spans() == ()
