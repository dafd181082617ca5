"""What players say of themselves on media requests, by a real Envoy: into Parquet and metrics, never with a token."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import anyio
import httpx
import pytest
from gateway_rig import Endpoints, Gateway, Routes, gateway, put_media, token

from redqueen.clock import SystemClock
from redqueen.events import discard
from redqueen.gateway.player_log import LONGEST, NAME
from redqueen.roles.player_reports import PlayerReports
from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.telemetry import spool
from redqueen.telemetry.media_reports import MediaReports
from redqueen.telemetry.parquet import Lake

pytestmark = pytest.mark.anyio

OURS = "00c0ffee00c0ffee"
# As hls.js, Shaka, dash.js and ExoPlayer send it: one parameter of the query, or four headers.
QUERY = f'bl=21300,br=3200,bs,cid="t1",d=4000,mtp=25400,ot=v,rtp=12800,sf=h,sid="{OURS}",st=v,tb=6000'
HEADERS = {
    "CMCD-Object": "br=800,d=4004,ot=a,tb=800",
    "CMCD-Request": "bl=18500,dl=18500,mtp=3100",
    "CMCD-Session": 'cid="t1",pr=1,sf=d,sid="6e2fb550-c457-11e9-bb97-0800200c9a66"',
    "CMCD-Status": "rtp=3200",
}


async def _play(running: Gateway, reports: PlayerReports) -> None:
    right = token("t1")
    segment, said = f"/v/{right}/t1/v/1.m4s", quote(QUERY)
    async with httpx.AsyncClient(base_url=running.url, trust_env=False, timeout=30) as client:
        preflight = await client.options(
            segment,
            headers={
                "Origin": "https://player.example",
                "Access-Control-Request-Method": "GET",
                "Access-Control-Request-Headers": "cmcd-object,cmcd-request,cmcd-session,cmcd-status,range",
            },
        )
        allowed = preflight.headers["access-control-allow-headers"].split(", ")
        assert preflight.status_code == 204
        assert set(allowed) >= {"range", *(name.lower() for name in HEADERS)}
        asked = [
            (f"{segment}?CMCD={said}", {"Range": "bytes=0-99"}, 206),
            (f"/media/t1/v/1.m4s?a=1&CMCD={said}&b=2", {"Cookie": f"rq_media={right}"}, 200),
            (segment, HEADERS, 200),
            # Kept out: a next address with its token, what is no CMCD, what nobody may read, and what says nothing.
            (f"{segment}?CMCD=" + quote(f'nor="/v/{right}/t1/v/2.m4s"'), {}, 200),
            (segment, {"CMCD-Request": f'nor="/v/{right}/t1/v/2.m4s"'}, 200),
            (f"{segment}?CMCD=" + "a" * (3 * LONGEST), {}, 200),
            (f"{segment}?CMCD=sid%3D", {}, 200),
            (f"/v/{right}/t2/master.m3u8?CMCD={said}", HEADERS, 403),
            (f"/v/{right}/t1/none.m4s?CMCD={said}", {}, 404),
            (segment, {"x-rq-cmcd": "bs", "x-rq-etag": "1"}, 200),
            (f"{segment}?x=1", {}, 200),
        ]
        for path, headers, status in asked:
            assert (await client.get(path, headers=headers)).status_code == status, path
    with anyio.fail_after(30):
        while _counted(reports, 'outcome="kept"', 'outcome="unreadable"') != 7:
            await anyio.sleep(0.05)
    text = (running.settings.folder / "envoy" / NAME).read_text() + running.settings.log.read_text()
    for part in right.split("."):
        assert part not in text
    assert max(map(len, text.splitlines())) < LONGEST + 500


def _counted(reports: PlayerReports, *labels: str) -> int:
    """Return the sum of the counters that have these labels."""
    lines = [line for line in reports.exposition().splitlines() if any(label in line for label in labels)]
    return sum(int(line.rpartition(" ")[2]) for line in lines)


async def test_cmcd_of_media_requests_is_in_parquet_and_metrics_and_holds_no_token(tmp_path: Path) -> None:
    put_media(tmp_path)
    kept = MediaReports(tmp_path / "telemetry", "gateway-a-1", "a", SystemClock(), discard, life_s=1)
    reports = PlayerReports(kept)
    assert reports.exposition() == ""
    async with gateway(tmp_path, Endpoints(), Routes(), players=reports) as running, anyio.create_task_group() as group:
        await running.until_state(lambda state: state.serving)
        group.start_soon(reports.keep)
        await _play(running, reports)
        left: list[spool.Orphan] = []
        with anyio.fail_after(30):
            while sum(len(list(spool.lines(path))) for one in left for path in spool.segments(one.folder)) < 3:
                left += spool.orphans(tmp_path / "telemetry")
                await anyio.sleep(0.05)
        group.cancel_scope.cancel()
    assert (kept.counted.kept, kept.counted.unreadable, kept.counted.starved) == (3, 4, 2)
    text = reports.exposition()
    own = 'gateway="gateway-a-1",zone="a",service="media"'
    assert f"redqueen_gateway_cmcd_starvations_total{{{own}}} 2\n" in text
    assert f'redqueen_gateway_cmcd_throughput_bps_bucket{{{own},le="4000000"}} 1\n' in text
    assert f"redqueen_gateway_cmcd_throughput_bps_sum{{{own}}} 53900000\n" in text
    assert f'redqueen_gateway_cmcd_bitrate_bps_bucket{{{own},le="1000000"}} 1\n' in text
    lake = Lake(ObstoreObjects.folder(tmp_path / "objects"), tmp_path / "scratch")
    for orphan in left:
        for path in spool.segments(orphan.folder):
            for _ in range(2):  # killed before it was marked, and done again
                await lake.ship(path, f"{orphan.folder.name}-{path.stem}")
        orphan.let_go(empty=True)
    now = SystemClock().now()
    rows = await lake.query(
        now - 60,
        now + 1,
        "SELECT title, zone, gateway, kind, printf('%016x', session), sid, status, served_bytes, bitrate_bps, "
        "throughput_bps, stalls, viewer, cardinality(arms) FROM events ORDER BY status, bitrate_bps DESC",
    )
    place = ("t1", "a", "gateway-a-1", "cmcd")
    assert [row[:4] for row in rows] == [place] * 3
    assert [row[5:7] for row in rows] == [(OURS, 200), ("6e2fb550-c457-11e9-bb97-0800200c9a66", 200), (OURS, 206)]
    assert rows[0][4] == rows[2][4] == OURS != rows[1][4]
    assert [row[7:] for row in rows] == [
        (10_240, 3_200_000, 25_400_000, 1, 0, 0),
        (10_240, 800_000, 3_100_000, 0, 0, 0),
        (100, 3_200_000, 25_400_000, 1, 0, 0),
    ]
