"""What a gateway counts by service and arm, through a real Envoy, and who is told."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import anyio.abc
import pytest
from arms_rig import TRIAL, cookie_of, trial_region, viewer_in

from redqueen.gateway.figures import Figures, Kept, Place
from redqueen.telemetry.model import LATENCY_BOUNDS_MS
from redqueen.testing.region import free_port

pytestmark = pytest.mark.anyio
CANARY = Place("shop", "shop-r1", "canary")


async def test_each_request_is_counted_once_in_its_arm_and_in_its_service(tmp_path: Path) -> None:
    kept = Kept()
    async with trial_region(tmp_path, figures=kept) as region:
        viewer, began = viewer_in("canary"), time.monotonic()
        answer = await region.client.get(f"{region.url}/shop/x", headers=cookie_of(viewer))
        seen = answer.headers["set-cookie"].partition(";")[0]
        for _ in range(4):
            await region.client.post(f"{region.url}/shop/x", headers=cookie_of(viewer, seen))
        await region.client.get(f"{region.url}/shop/slow", headers=cookie_of(viewer, seen))
        events = {**cookie_of(viewer, seen), "accept": "text/event-stream"}
        await region.client.get(f"{region.url}/shop/events", headers=events)
        region.nodes["canary"].fails = True
        await region.client.get(f"{region.url}/shop/x", headers=cookie_of(viewer, seen))
        # Nobody there is the service's failure too, though no node of it said so.
        await region.client.post(f"{region.url}/shop/cut", headers=cookie_of(viewer, seen))
        for name in ("control", "baseline"):
            await region.client.get(f"{region.url}/shop/x", headers=cookie_of(viewer_in(name)))
        with anyio.fail_after(30):
            while _sum(kept, CANARY).requests < 9 or sum(_sum(kept, CANARY).latency) < 8:
                await anyio.sleep(0.05)
        canary = _sum(kept, CANARY)
        assert (canary.requests, canary.first, canary.errors) == (9, 1, 2)
        assert len(canary.latency) == len(LATENCY_BOUNDS_MS) + 1
        # The slow one took 400 ms; how long a stream lasts says nothing.
        assert sum(canary.latency) == 8
        assert sum(canary.latency[LATENCY_BOUNDS_MS.index(300) + 1 :]) >= 1
        longest = max(number for number, requests in enumerate(canary.latency) if requests)
        assert LATENCY_BOUNDS_MS[longest - 1] < (time.monotonic() - began) * 1000, "longer than its viewer waited"
        for arm in ("control", "baseline"):
            assert (_sum(kept, Place("shop", "shop-r1", arm)).requests) == 1
        whole = _sum(kept, Place("shop"))
        # Of a service each try counts, and the failed read was tried three times more.
        assert (whole.requests, whole.errors) == (14, 5)
        assert len(whole.latency) == len(LATENCY_BOUNDS_MS) + 1
        await region.apply(trials=())
        await region.who(viewer)
        with anyio.fail_after(30):
            while _sum(kept, Place("shop")).requests < 15:
                await anyio.sleep(0.05)
        assert _sum(kept, CANARY).requests == 9
        assert TRIAL.trial == "shop-r1"


def _sum(kept: Kept, place: Place) -> Figures:
    found = [one for _, one in kept.since(0) if one.place == place]
    latency = tuple(map(sum, zip(*(one.latency for one in found if one.latency), strict=True)))
    requests, first, errors = (sum(getattr(one, name) for one in found) for name in ("requests", "first", "errors"))
    return Figures(place, requests, first, errors, latency)


async def test_spans_tell_the_collector_of_service_node_and_arms_and_no_path(tmp_path: Path) -> None:
    spans = bytearray()

    async def collect(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            async for piece in stream:
                spans.extend(piece)
                if b"\r\n\r\n" in piece or len(piece) < 65536:
                    await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    port = free_port()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, collect)
        async with trial_region(tmp_path, otlp_url=f"http://127.0.0.1:{port}") as region:
            with anyio.fail_after(30):
                while not all(word in spans for word in (b"shop-r1=canary", b"redqueen.service", b"redqueen.node")):
                    await region.who(viewer_in("canary"), "/shop/a-secret-path")
                    await anyio.sleep(0.2)
            assert "traceparent" in region.nodes["canary"].asked[-1].headers
            assert b"POST /v1/traces" in spans
            assert b"a-secret-path" not in spans
        group.cancel_scope.cancel()
    await listener.aclose()
