"""Light viewers over real sockets: cookies, tries, arms, acknowledgement, and whom the service harmed."""

from __future__ import annotations

import asyncio
import itertools
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
    """A region as viewers see it; `playback` decides the status of a play's answer by arm, agent and try (1, 2, …)."""

    playback: Callable[[str, str, int], int] = lambda arm, agent, attempt: 200
    beacon: Callable[[int], int] = lambda turn: 204
    cookies: set[str] = field(default_factory=set)
    beacons: int = 0
    events: dict[tuple[str, int], str] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes, turn: int) -> tuple[int, str, bytes]:
        known = headers.get("cookie", "").partition(";")[0].removeprefix("rq_viewer=")
        if path.endswith("/playback"):
            viewer = known or f"v{len(self.cookies)}"
            self.cookies.add(viewer)
            status = self.playback(arm(viewer), headers["user-agent"], turn)
            cookies = f"Set-Cookie: rq_viewer={viewer}; Path=/; HttpOnly\r\nSet-Cookie: other=1\r\n"
            return status, f"{cookies}Server-Timing: door;dur=2.5, store;dur=0.5\r\n", b"{}"
        if path.endswith("/sessions"):
            assert json.loads(body)["device"] and known in self.cookies
            token = json.dumps({"token": f"{known}-{time.monotonic_ns()}", "arms": {"api-r2": arm(known)}})
            return 200, "", token.encode()
        assert (method, path) == ("POST", "/telemetry/v1/events")
        self.beacons += 1
        status = self.beacon(self.beacons)
        if status == 204:
            said = json.loads(body)
            self.events |= {(said["token"], event["seq"]): event["kind"] for event in said["events"]}
        return status, "", b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sources.add(writer.get_extra_info("peername")[0])
        try:
            # A play has connections of its own, and its tries come first.
            for turn in itertools.count(1):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split()
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                status, extra, said = self.answer(method, path, headers, body, turn)
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
    def playback(arm: str, agent: str, attempt: int) -> int:
        return 500 if arm == "canary" and "SMART-TV" in agent else 200

    service = Service(playback)
    async with serving(service) as base:
        tally = await Audience(base, ("film",), attendance=MANY, habits=BRIEF, seed=3).run(1.0)
    harm = tally.harm("api-r2")
    assert harm["control"].harmed_viewers == 0
    assert harm["canary"].failed_by_service > 0 and set(harm["canary"].by_device) == {"tv"}


async def test_a_start_fails_only_when_every_try_did() -> None:
    service = Service(lambda arm, agent, attempt: 500 if attempt == 1 else 200)
    one = Attendance(viewers=1, starts_per_minute=60, again_after_s=0.01)
    async with serving(service) as base:
        tally = await Audience(base, ("film",), attendance=one, habits=BRIEF).run(3.0)
    assert tally.plays and not any(play.failed for play in tally.plays)
    # Two tries of 3 ms as the service says, and the pause between them.
    assert all(play.felt[0].own_s == pytest.approx(0.016) for play in tally.plays)
    broken = Service(lambda arm, agent, attempt: 500)
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
