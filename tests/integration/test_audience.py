"""Light viewers over real sockets: cookies, tries, arms, acknowledgement, and whom the service harmed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from redqueen.errors import InvalidInput
from redqueen.testing.audience import Attendance, Audience, attending
from redqueen.testing.viewer.fate import Habits

pytestmark = pytest.mark.anyio

BRIEF = Habits(fails=0.0, delay_median_s=0.05, watch_most_s=0.2, stalls=0.5, stall_median_s=0.01)
MANY = Attendance(viewers=40, starts_per_minute=6000, again_after_s=0.01, heartbeat_s=0.1, noticed_s=5.0)


@dataclass
class Service:
    """A region as viewers see it; `playback` decides the status and the seconds of a play's answer by the arm."""

    playback: Callable[[str, str], tuple[int, float]] = lambda arm, agent: (200, 0.0)
    beacon: Callable[[int], int] = lambda turn: 204
    cookies: set[str] = field(default_factory=set)
    beacons: int = 0
    events: dict[tuple[str, int], str] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, float, str, bytes]:
        known = headers.get("cookie", "").partition(";")[0].removeprefix("rq_viewer=")
        if path.endswith("/playback"):
            viewer = known or f"v{len(self.cookies)}"
            self.cookies.add(viewer)
            status, delay_s = self.playback(arm(viewer), headers["user-agent"])
            return (
                status,
                delay_s,
                f"Set-Cookie: rq_viewer={viewer}; Path=/; HttpOnly\r\nSet-Cookie: other=1\r\n",
                b"{}",
            )
        if path.endswith("/sessions"):
            assert json.loads(body)["device"] and known in self.cookies
            token = json.dumps({"token": f"{known}-{time.monotonic_ns()}", "arms": {"api-r2": arm(known)}})
            return 200, 0.0, "", token.encode()
        assert (method, path) == ("POST", "/telemetry/v1/events")
        self.beacons += 1
        status = self.beacon(self.beacons)
        if status == 204:
            said = json.loads(body)
            self.events |= {(said["token"], event["seq"]): event["kind"] for event in said["events"]}
        return status, 0.0, "", b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sources.add(writer.get_extra_info("peername")[0])
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split()
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                status, delay_s, extra, said = self.answer(method, path, headers, body)
                await asyncio.sleep(delay_s)
                length = "" if status == 204 else f"Content-Length: {len(said)}\r\n"
                writer.write(f"HTTP/1.1 {status} x\r\n{extra}{length}\r\n".encode() + said)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def arm(viewer: str) -> str:
    return "canary" if int(viewer.removeprefix("v")) % 2 else "control"


@asynccontextmanager
async def serving(service: Service) -> AsyncGenerator[str]:
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_viewers_keep_their_cookies_and_every_event_is_acknowledged() -> None:
    service = Service()
    async with serving(service) as base:
        tally = await Audience(base, ("film",), attendance=MANY, habits=BRIEF).run(1.5)
    assert 90 < tally.begun < 220 and len(tally.plays) == tally.begun
    assert 20 < len(service.sources) <= 40
    # Somebody whose first two plays begin at once gets two cookies, of which one is kept.
    assert len(service.cookies) < tally.begun / 2
    assert tally.told == tally.acknowledged == len(service.events) and tally.lost == 0
    assert {"asked", "first_frame", "stall_begin", "stall_end", "heartbeat", "end"} <= set(service.events.values())
    assert all(found.harmed_viewers == 0 for found in tally.harm("api-r2").values())


async def test_a_bad_arm_harms_only_its_own_viewers_and_the_bad_device_is_named() -> None:
    def playback(arm: str, agent: str) -> tuple[int, float]:
        return (500 if arm == "canary" and "SMART-TV" in agent else 200), 0.0

    service = Service(playback)
    async with serving(service) as base:
        tally = await Audience(base, ("film",), attendance=MANY, habits=BRIEF, seed=3).run(1.0)
    harm = tally.harm("api-r2")
    assert harm["control"].harmed_viewers == 0
    assert harm["canary"].failed_by_service > 0 and set(harm["canary"].by_device) == {"tv"}


async def test_a_start_fails_only_when_every_try_did() -> None:
    turns = iter(range(10_000))
    service = Service(lambda arm, agent: (500 if next(turns) % 2 == 0 else 200, 0.0))
    one = Attendance(viewers=1, starts_per_minute=60, again_after_s=0.01)
    async with serving(service) as base:
        tally = await Audience(base, ("film",), attendance=one, habits=BRIEF).run(3.0)
    assert tally.plays and not any(play.failed for play in tally.plays)
    broken = Service(lambda arm, agent: (500, 0.0))
    async with serving(broken) as base:
        tally = await Audience(base, ("film",), attendance=one, habits=BRIEF).run(3.0)
    assert tally.plays and all(play.service_failure == "status 500" for play in tally.plays)
    assert set(broken.events.values()) == {"asked", "error"}


async def test_events_survive_a_beacon_that_fails_for_a_while() -> None:
    service = Service(beacon=lambda turn: 503 if turn < 12 else 204)
    quick = Attendance(viewers=10, starts_per_minute=1200, heartbeat_s=0.1)
    async with serving(service) as base:
        tally = await Audience(base, ("film",), attendance=quick, habits=BRIEF).run(0.5)
    assert tally.lost == 0 and tally.failed_sends > 0 and len(service.events) == tally.told


async def test_plays_go_on_without_telemetry_and_titles_are_needed() -> None:
    service = Service()
    off = Attendance(viewers=5, starts_per_minute=1200, telemetry=False)
    async with serving(service) as base:
        tally = await Audience(base, ("film",), attendance=off, habits=BRIEF).run(0.3)
        assert tally.plays and tally.told == 0 == service.beacons
        with pytest.raises(InvalidInput):
            await Audience(base, ()).run(1.0)


async def test_an_audience_in_a_thread_ends_with_its_block() -> None:
    service = Service()
    async with serving(service) as base:
        with attending(Audience(base, ("film",), attendance=MANY, habits=BRIEF)) as tally:
            while len(tally.plays) < 20:
                await asyncio.sleep(0.02)
        begun = tally.begun
        await asyncio.sleep(0.1)
    assert tally.begun == begun
