"""One viewer on a simulated network and a virtual clock: retries, stalls, reloads, rungs, seeks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import anyio
import pytest

from redqueen.testing.clock import VirtualClock
from redqueen.testing.viewer import Report, RetryPolicy, Viewing, Wishes
from redqueen.testing.viewer.http import Answer, TooSlow, Unreachable
from redqueen.testing.viewer.playlist import ByteRange

pytestmark = pytest.mark.anyio

MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",DEFAULT=YES,URI="audio.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=400000,RESOLUTION=640x360,AUDIO="a"
low.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=2000000,RESOLUTION=1280x720,AUDIO="a"
high.m3u8
"""


def film(name: str, segments: int, *, ended: bool = True) -> str:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:4", f'#EXT-X-MAP:URI="{name}-init.mp4"']
    for number in range(segments):
        lines += ["#EXTINF:4.0,", f"{name}-{number}.m4s"]
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else [])])


@dataclass
class Network:
    """Answers after `latency_s`; `fault` may raise or give a status instead."""

    clock: VirtualClock
    texts: dict[str, str]
    size_bytes: int = 500_000
    latency_s: float = 0.1
    fault: Callable[[str, float], int | None] = lambda name, now: None
    connections: int = 1
    asked: list[tuple[float, str]] = field(default_factory=list)

    async def get(self, url: str, *, part: ByteRange | None = None, keep_body: bool = False) -> Answer:
        name = url.rpartition("/")[2]
        self.asked.append((self.clock.monotonic(), name))
        await self.clock.sleep(self.latency_s)
        status = self.fault(name, self.clock.monotonic())
        if status is not None:
            return Answer(url, status, {}, 0, self.latency_s, b"no")
        body = self.texts.get(name, "").encode()
        return Answer(url, 200, {}, len(body) or self.size_bytes, self.latency_s, body if keep_body else b"")

    def count(self, name: str) -> int:
        return sum(asked == name for _, asked in self.asked)


def network(clock: VirtualClock, segments: int = 15) -> Network:
    texts = {name: film(name[:-5], segments) for name in ("low.m3u8", "high.m3u8", "audio.m3u8")}
    return Network(clock, {"master.m3u8": MASTER, **texts})


async def viewed(
    net: Network,
    *,
    for_s: float,
    wishes: Wishes | None = None,
    retry: RetryPolicy | None = None,
    meanwhile: Callable[[float], None] | None = None,
) -> Report:
    reports: list[Report] = []
    viewing = Viewing("http://x/master.m3u8", net, net.clock, wishes=wishes or Wishes(), retry=retry or RetryPolicy())

    async def run() -> None:
        reports.append(await viewing.run())

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        for _ in range(int(for_s)):
            await net.clock.run_for(1.0, turns=16)
            if meanwhile:
                meanwhile(net.clock.monotonic())
            if reports:
                break
        group.cancel_scope.cancel()
    assert reports, "the session did not end by itself"
    return reports[0]


async def test_a_film_on_a_good_network_is_watched_to_its_end_without_a_stall() -> None:
    net = network(VirtualClock())
    report = await viewed(net, for_s=90)
    assert report.ended and not report.failed and report.stalls == () and report.retries == 0
    assert report.played_s == pytest.approx(60)
    assert report.play_delay_s == pytest.approx(0.4), "master, playlists, init and the first segments: 4 round trips"
    assert report.wall_s == pytest.approx(60.4, abs=0.1)


async def test_no_more_than_the_buffers_goal_is_fetched_ahead() -> None:
    net = network(VirtualClock())
    report = await viewed(net, for_s=30, wishes=Wishes(duration_s=10, rung="lowest"))
    fetched = sum(name.startswith("low-") and name.endswith(".m4s") for _, name in net.asked)
    assert report.because == "the time was up" and report.played_s == pytest.approx(9.6)
    assert fetched == 6, "9.6 s played and 12 s ahead: 21.6 s lie in 5.4 segments"


async def test_the_rung_rises_only_with_the_measured_bandwidth() -> None:
    fast, slow = network(VirtualClock()), network(VirtualClock())
    slow.size_bytes, slow.latency_s = 150_000, 1.0
    risen, stayed = await viewed(fast, for_s=90), await viewed(slow, for_s=90)
    assert risen.heights == (360, 720) and risen.switches == 1
    assert stayed.heights == (360,) and stayed.switches == 0


async def test_a_fixed_rung_never_switches() -> None:
    report = await viewed(network(VirtualClock()), for_s=90, wishes=Wishes(rung="700"))
    assert report.heights == (720,) and report.switches == 0


async def test_a_short_outage_costs_retries_and_no_stall() -> None:
    net = network(VirtualClock())

    def outage(name: str, now: float) -> int | None:
        if 20 <= now <= 26 and name.endswith(".m4s"):
            raise Unreachable("connection refused")
        return None

    net.fault = outage
    report = await viewed(net, for_s=90)
    assert report.ended and report.stalls == () and report.retries >= 2
    assert {setback.kind for setback in report.setbacks} == {"connection"}


async def test_an_outage_longer_than_the_buffer_is_a_stall_and_then_goes_on() -> None:
    net = network(VirtualClock())

    def outage(name: str, now: float) -> int | None:
        return 503 if 20 <= now <= 45 and name.endswith(".m4s") else None

    net.fault = outage
    report = await viewed(net, for_s=120)
    assert report.ended and len(report.stalls) == 1
    assert 5 < report.stall_s < 20
    assert not report.stalls[0].at_edge


async def test_requests_of_a_failing_segment_are_spaced_as_shaka_player_spaces_them() -> None:
    net = network(VirtualClock())
    net.fault = lambda name, now: 500 if name == "low-2.m4s" and now < 20 else None
    await viewed(net, for_s=60, wishes=Wishes(duration_s=30, rung="lowest"))
    asked = [at for at, name in net.asked if name == "low-2.m4s"]
    gaps = [later - earlier - net.latency_s for earlier, later in pairwise(asked)]
    assert len(gaps) > 4
    assert all(0.5 <= gap <= 1.5 for gap in gaps[::2]), "within a round: 1 s by 1 ± 0.5"
    assert all(1.5 <= gap <= 2.5 for gap in gaps[1::2]), "between rounds: that and another second"


async def test_a_forbidden_segment_is_fatal_at_once() -> None:
    net = network(VirtualClock())
    net.fault = lambda name, now: 403 if name == "low-3.m4s" else None
    report = await viewed(net, for_s=90, wishes=Wishes(rung="lowest"))
    assert report.failed and "403" in report.error and report.retries == 0


async def test_a_first_playlist_that_cannot_be_had_fails_after_two_attempts() -> None:
    net = network(VirtualClock())

    def slow(name: str, now: float) -> int | None:
        raise TooSlow("no answer began")

    net.fault = slow
    report = await viewed(net, for_s=30)
    assert report.failed and report.requests == 2 and report.retries == 1
    assert report.play_delay_s is None and report.wall_s > 0.5


async def test_a_master_that_is_no_playlist_fails_with_the_reason() -> None:
    net = network(VirtualClock())
    net.texts["master.m3u8"] = "<html>sign in</html>"
    report = await viewed(net, for_s=30)
    assert "does not begin with #EXTM3U" in report.error


async def test_without_streaming_retries_a_lost_segment_is_fatal() -> None:
    net = network(VirtualClock())
    net.fault = lambda name, now: 404 if name == "low-3.m4s" else None
    report = await viewed(net, for_s=90, wishes=Wishes(rung="lowest"), retry=RetryPolicy(retry_streaming=False))
    assert report.failed and "404" in report.error


async def test_a_viewer_gives_up_after_a_minute_of_standing_picture() -> None:
    net = network(VirtualClock())
    net.fault = lambda name, now: 404 if name == "audio-3.m4s" else None
    report = await viewed(net, for_s=200, wishes=Wishes(rung="lowest"))
    assert report.failed and "stood still" in report.error
    assert [stall.starved for stall in report.stalls] == ["audio"]
    assert report.stall_s == pytest.approx(60, abs=1.1)


async def test_a_growing_playlist_is_read_again_every_target_duration_until_it_ends() -> None:
    net = network(VirtualClock())
    net.texts["master.m3u8"] = MASTER.partition("#EXT-X-STREAM-INF:BANDWIDTH=2000000")[0]

    def encode(now: float) -> None:
        done = min(10, 4 + int(now / 3))
        for name in ("low", "audio"):
            net.texts[f"{name}.m3u8"] = film(name, done, ended=done == 10)

    encode(0)
    report = await viewed(net, for_s=90, meanwhile=encode)
    assert report.ended and report.stalls == () and report.played_s == pytest.approx(40)
    times = [at for at, name in net.asked if name == "low.m3u8"]
    assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx([4.1] * (len(times) - 1), abs=0.01)
    assert net.count("master.m3u8") == 1


async def test_an_encode_slower_than_the_film_is_a_stall_at_the_edge() -> None:
    net = network(VirtualClock())
    net.texts["master.m3u8"] = MASTER.partition("#EXT-X-STREAM-INF:BANDWIDTH=2000000")[0]

    def encode(now: float) -> None:
        done = min(6, 1 + int(now / 8))
        net.texts["low.m3u8"] = film("low", done, ended=done == 6)

    encode(0)
    net.texts["audio.m3u8"] = film("audio", 6)
    report = await viewed(net, for_s=120, meanwhile=encode)
    assert report.ended and report.stalls and all(stall.at_edge for stall in report.stalls)


async def test_a_reload_that_fails_is_tried_again_soon() -> None:
    net = network(VirtualClock())
    net.texts["master.m3u8"] = MASTER.partition("#EXT-X-STREAM-INF:BANDWIDTH=2000000")[0]
    net.texts["low.m3u8"] = film("low", 4, ended=False)

    def broken(name: str, now: float) -> int | None:
        if name == "low.m3u8" and 3 < now < 6:
            raise Unreachable("reset")
        return None

    net.fault = broken
    report = await viewed(net, for_s=60, wishes=Wishes(duration_s=10))
    assert not report.failed and len(report.setbacks) >= 8


async def test_a_seek_fetches_from_there_and_counts_its_delay() -> None:
    net = network(VirtualClock())
    wishes = Wishes(duration_s=20, seeks=((5.0, 42.0),), rung="lowest")
    report = await viewed(net, for_s=60, wishes=wishes)
    assert report.stalls == () and len(report.seek_delays_s) == 1
    assert 0.1 <= report.seek_delays_s[0] < 0.6
    assert net.count("low-10.m4s") == 1, "the segment that holds second 42"


async def test_double_speed_plays_the_film_in_half_the_time() -> None:
    report = await viewed(network(VirtualClock()), for_s=60, wishes=Wishes(speed=2.0))
    assert report.ended and report.wall_s == pytest.approx(30.4, abs=0.1)


async def test_a_plain_media_playlist_is_played_too() -> None:
    net = network(VirtualClock())
    net.texts["master.m3u8"] = film("low", 3)
    report = await viewed(net, for_s=30)
    assert report.ended and report.played_s == pytest.approx(12)
