"""One trace from a real Envoy through an api node to its store, as a collector of OTLP receives it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import httpx
import pytest
from api_region import BEARER, OPERATOR, build
from arms_rig import SECRET, TRIAL, cookie_of, viewer_in
from gateway_rig import Endpoints, Routes, free_port, gateway, jwks
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from redqueen.api.edge import edge
from redqueen.api.services import Place
from redqueen.api.tracing import Tracing
from redqueen.clock import SystemClock
from redqueen.gateway.model import ArmRange, Endpoint, MediaKeys, RouteInputs
from redqueen.gateway.routes import default_routes
from redqueen.serving import serving
from redqueen.store.drivers.memory import MemoryRecords

pytestmark = pytest.mark.anyio

CANARY, RELEASE = "api--r2-canary", "1.1+r2"
BUCKETS = 1 << 20


@dataclass
class Traced:
    """A span with what stands on it and on its sender."""

    span: Span
    facts: dict[str, str]

    @property
    def trace(self) -> str:
        return self.span.trace_id.hex()


@dataclass
class Collector:
    """An OTLP receiver that keeps what it is sent."""

    url: str = ""
    spans: list[Traced] = field(default_factory=list[Traced])

    def take(self, body: bytes) -> None:
        for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in sent.scope_spans:
                for span in scope.spans:
                    facts = {**_told(sent.resource.attributes), **_told(span.attributes)}
                    self.spans.append(Traced(span, facts))


def _told(attributes: Iterable[KeyValue]) -> dict[str, str]:
    return {one.key: one.value.string_value for one in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    found = Collector()

    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            assert self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
            length = self.headers["content-length"]
            found.take(self.rfile.read(int(length)) if length else b"".join(self.chunks()))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def chunks(self) -> Iterator[bytes]:
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        def log_message(self, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.daemon_threads = True
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


async def test_gateway_api_and_store_are_one_trace_with_service_release_and_arms_on_every_span(tmp_path: Path) -> None:
    trial = replace(
        TRIAL,
        trial="api-r2",
        service="api",
        arms=(ArmRange("canary", 0, BUCKETS // 2, CANARY), ArmRange("control", BUCKETS // 2, BUCKETS, "api")),
    )
    clock, port = SystemClock(), free_port()
    with collecting() as collector:
        tracing = Tracing.exporting(collector.url, service=CANARY, release=RELEASE, zone="a", node="api-a-2")
        region = build(tmp_path, tracing.records(MemoryRecords(clock)), clock)
        services = replace(region.services, place=Place("api-a-2", "a", CANARY, RELEASE))
        await services.accounts.ensure_operator_token(OPERATOR)
        inputs = RouteInputs(default_routes(), MediaKeys(jwks()), trials=(trial,), viewer_secret=SECRET)
        nodes = [Endpoint(name, "api-a-2", "127.0.0.1", port, "a", RELEASE) for name in ("api", CANARY)]
        async with (
            services.telemetry.opened(),
            serving(edge(services, tracing), "127.0.0.1", port, linger_s=0.1),
            gateway(tmp_path, Endpoints(*nodes), Routes(inputs), otlp_url=collector.url) as running,
            httpx.AsyncClient(base_url=running.url, trust_env=False, timeout=30) as client,
        ):
            await running.until_state(lambda state: state.serving)
            headers = {**BEARER, **cookie_of(viewer_in("canary", trial))}
            for _ in range(6):  # Envoy sends spans by fives, or every five seconds
                answer = await client.get("/api/v1/titles", headers=headers)
                assert answer.status_code == 200, answer.text
            await anyio.to_thread.run_sync(tracing.close)
            with anyio.fail_after(30):
                while not any(one.facts["service.name"] == "gateway" for one in collector.spans):
                    await anyio.sleep(0.05)
    first = next(one for one in collector.spans if one.facts["service.name"] == "gateway")
    trace = [one for one in collector.spans if one.trace == first.trace]
    by_id = {one.span.span_id: one for one in trace}
    (asked,) = [one for one in trace if one.span.name == "GET /api/v1/titles"]
    stored = [one for one in trace if one.span.name.startswith("store.")]
    assert stored and {by_id[one.span.parent_span_id].span.span_id for one in stored} == {asked.span.span_id}
    above = by_id[asked.span.parent_span_id]
    assert above.facts["service.name"] == "gateway"
    for one in trace:
        own = one.facts["service.name"] == "gateway"
        service, release = ("redqueen.service", "redqueen.release") if own else ("service.name", "service.version")
        assert one.facts[service] == (CANARY if not own else "api"), one
        assert (one.facts[release], one.facts["redqueen.arms"]) == (RELEASE, "api-r2=canary"), one
    assert OPERATOR not in str(collector.spans)
