"""An api node's counters: by route templates only, with service, release and zone on every series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from redqueen.api.metrics import Metrics, measured
from redqueen.events import discard
from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.telemetry.intake import Wish
from redqueen.telemetry.parquet import Lake
from redqueen.telemetry.ports import Unassigned
from redqueen.telemetry.service import Telemetry
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def telemetry(tmp_path: Path) -> Telemetry:
    lake = Lake(ObstoreObjects.folder(tmp_path / "objects"), tmp_path / "scratch")
    return Telemetry(tmp_path / "spool", "n", b"s" * 32, lake, Unassigned(), VirtualClock(), discard)


def metrics_of(telemetry: Telemetry) -> Metrics:
    return Metrics(telemetry, service="api--r2-canary", release="1+r2", zone="b")


async def test_telemetrys_counts_are_there_while_it_is_open(telemetry: Telemetry) -> None:
    metrics = metrics_of(telemetry)
    assert b"redqueen_telemetry" not in metrics.text()
    async with telemetry.opened():
        await telemetry.intake.grant(Wish(1, "t", "tv", "b", "::1"))
        await telemetry.intake.take(b"{}", "::1")
        text = metrics.text().decode()
    place = 'release="1+r2",service="api--r2-canary",zone="b"'
    for name, words, value in (
        ("grants_total", place, 1),
        ("requests_total", place, 1),
        ("sessions", place, 1),
        ("refused_total", 'reason="body",' + place, 1),
    ):
        assert any(
            line.startswith(f"redqueen_telemetry_{name}{{")
            and sorted(line.partition("{")[2].partition("}")[0].split(",")) == sorted(words.split(","))
            and line.endswith(f" {float(value)}")
            for line in text.splitlines()
        ), (name, text)


async def test_strangers_cannot_add_series_by_addresses_or_methods(telemetry: Telemetry) -> None:
    metrics = metrics_of(telemetry)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["path_template"] = scope["path"] if scope["path"].startswith("/api/") else None
        await send({"type": "http.response.start", "status": 404, "headers": []})

    async def send(message: Any) -> None:
        return

    front = measured(app, metrics)
    for number in range(50):
        scope: Any = {"type": "http", "method": f"GET{number}", "path": f"/nowhere/{number}", "headers": []}
        await front(scope, send, send)
    counted = [
        line for line in metrics.text().decode().splitlines() if line.startswith("redqueen_api_request_seconds_count")
    ]
    assert len(counted) == 1
    assert 'method="other"' in counted[0] and 'route="app"' in counted[0] and counted[0].endswith(" 50.0")
