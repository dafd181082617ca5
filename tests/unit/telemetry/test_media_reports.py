"""CMCD of media requests: whose session it is, what is counted, what is let go, and who takes it over."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from redqueen.events import Event, discard
from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.telemetry import media_reports, spool
from redqueen.telemetry.media_reports import MediaRead, MediaReports, Spread, session_of
from redqueen.telemetry.parquet import Lake
from redqueen.telemetry.ports import Unassigned
from redqueen.telemetry.service import Telemetry
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(time.time())  # files have real times


def reports_in(root: Path, clock: VirtualClock) -> MediaReports:
    return MediaReports(root, "gateway-a-1", "a", clock, discard, life_s=5)


def read(clock: VirtualClock, number: int = 1, query: str = "br=3200,bs") -> MediaRead:
    return MediaRead(clock.now(), f"request-{number}", "t1", 200, 1000, query)


@asynccontextmanager
async def keeping(reports: MediaReports, clock: VirtualClock, seconds: int) -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(reports.keep)
        for _ in range(seconds * 4):
            await anyio.sleep(0.02)
            clock.advance(0.25)
        yield
        group.cancel_scope.cancel()


def test_a_session_is_ours_or_the_players_own_or_its_titles() -> None:
    assert session_of("00c0ffee00c0ffee", "t1") == 0x00C0FFEE00C0FFEE
    own = {session_of(sid, title) for sid in ("00C0FFEE00C0FFEE", "c0ffee", "") for title in ("t1",)}
    assert len(own) == 3 and session_of("x", "t1") == session_of("x", "t2")
    assert all(0 <= session < 1 << 64 for session in own)


def test_what_players_measured_falls_into_its_bucket_and_nonsense_into_none() -> None:
    spread = Spread()
    for kbps in (250, 251, 128_001, 0, -5, 1e12, None):
        spread.add(kbps)
    assert (spread.counts[0], spread.counts[1], spread.counts[-1], sum(spread.counts)) == (1, 1, 1, 3)
    assert spread.total == 250_000 + 251_000 + 128_001_000


async def test_an_api_node_brings_a_gateways_reports_into_parquet_and_takes_no_session_from_them(
    tmp_path: Path, clock: VirtualClock
) -> None:
    reports = reports_in(tmp_path / "spool", clock)
    reports.take([read(clock, number, 'br=3200,sid="00c0ffee00c0ffee"') for number in range(3)], dropped=4)
    reports.take([read(clock, query="br="), MediaRead(clock.now(), "r", "t1", 200, 1)])
    async with keeping(reports, clock, 8):
        pass
    lake = Lake(ObstoreObjects.folder(tmp_path / "objects"), tmp_path / "scratch")
    events: list[Event] = []
    telemetry = Telemetry(tmp_path / "spool", "b", b"s" * 32, lake, Unassigned(), clock, events.append)
    async with telemetry.opened():
        await telemetry.finish()
        assert (telemetry.sessions.open, events) == (0, [])
    found = await lake.query(clock.now() - 60, clock.now() + 60, "SELECT session, kind, bitrate_bps FROM events")
    assert found == [(0x00C0FFEE00C0FFEE, "cmcd", 3_200_000)] * 3
    assert (reports.counted.kept, reports.counted.unreadable, reports.counted.dropped) == (3, 2, 4)


async def test_no_more_waits_in_memory_than_may(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_reports, "_WAITING_BYTES", 2000)
    reports = reports_in(tmp_path / "spool", clock)
    reports.take(read(clock, number) for number in range(100))
    assert 2 < reports.counted.kept < 10 and reports.counted.kept + reports.counted.dropped == 100


@pytest.mark.parametrize("bound", ["_LYING_BYTES", "_LEAST_FREE_BYTES"])
async def test_a_disk_that_nobody_empties_is_not_filled(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    root = tmp_path / "spool"
    reports = reports_in(root, clock)
    reports.take([read(clock)])
    async with keeping(reports, clock, 8):
        pass
    before = sorted(root.glob("*/*"))
    assert len(spool.orphans(root)) == 1
    full = -1 if bound == "_LYING_BYTES" else shutil.disk_usage(root).total * 2
    monkeypatch.setattr(media_reports, bound, full)
    reports.take([read(clock), read(clock)])
    async with keeping(reports, clock, 2):
        pass
    assert sorted(root.glob("*/*")) == before
    assert (reports.counted.kept, reports.counted.dropped) == (3, 2)
