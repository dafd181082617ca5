"""An emulated player's events: numbered, with sums, kept until the region has acknowledged them."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest

from redqueen.telemetry.model import Kind, PlayerEvent
from redqueen.testing.clock import VirtualClock
from redqueen.testing.viewer.http import Answer, Unreachable
from redqueen.testing.viewer.telemetry import Granted, Teller, granted

pytestmark = pytest.mark.anyio
BASE = "http://region"


class Sent(msgspec.Struct):
    token: str
    events: list[PlayerEvent]


@dataclass
class Region:
    """Answers with the next of `statuses` (0: unreachable), then with 204."""

    statuses: list[int] = field(default_factory=list)
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    taken: list[PlayerEvent] = field(default_factory=list)

    async def send(self, method: str, url: str, body: bytes = b"") -> Answer:
        self.asked.append((method, url))
        status = self.statuses.pop(0) if self.statuses else 204
        if status == 0:
            raise Unreachable("refused")
        if status == 204:
            self.taken += msgspec.json.decode(body, type=Sent).events
        return Answer(url, status, self.headers, len(self.body), 0.0, self.body)


class Skipping(VirtualClock):
    """Sleeps pass at once."""

    async def sleep(self, delay_s: float) -> None:
        self.advance(max(0.0, delay_s))


def teller() -> Teller:
    return Teller(Granted("token"), Skipping(), 0.0)


async def test_events_are_numbered_and_carry_the_sums_so_far() -> None:
    region, tells = Region(), teller()
    tells.note(Kind.ASKED)
    await tells.clock.sleep(1.5)
    tells.note(Kind.FIRST_FRAME, tells.add(delay_ms=1500))
    tells.note(Kind.END, tells.add(played_ms=2000))
    assert await tells.flush(region, BASE)
    assert [(e.seq, e.kind, e.at_ms, e.delay_ms, e.played_ms) for e in region.taken] == [
        (1, "asked", 0, -1, 0),
        (2, "first_frame", 1500, 1500, 0),
        (3, "end", 1500, 1500, 2000),
    ]
    assert region.asked == [("POST", "http://region/telemetry/v1/events")]


@pytest.mark.parametrize("status", [0, 429, 502, 503, 504, 500])
async def test_what_was_not_acknowledged_is_sent_again(status: int) -> None:
    region, tells = Region([status, status]), teller()
    tells.note(Kind.ASKED)
    assert not await tells.flush(region, BASE)
    assert tells.waiting and not region.taken
    assert await tells.flush(region, BASE, patience_s=10)
    assert [event.seq for event in region.taken] == [1]
    assert tells.acknowledged == 1 and tells.failed_sends == 2


async def test_the_regions_wish_to_wait_is_obeyed() -> None:
    region, tells = Region([429], headers={"retry-after": "7"}), teller()
    tells.note(Kind.ASKED)
    assert await tells.flush(region, BASE, patience_s=20)
    assert tells.clock.monotonic() == pytest.approx(7)


async def test_what_the_region_calls_wrong_is_not_sent_again() -> None:
    region, tells = Region([400], body=b"no such token"), teller()
    tells.note(Kind.ASKED)
    assert not await tells.flush(region, BASE, patience_s=60)
    assert "no such token" in tells.refused and len(region.asked) == 1


async def test_many_events_go_in_several_requests() -> None:
    region, tells = Region(), teller()
    for _ in range(130):
        tells.note(Kind.HEARTBEAT)
    assert await tells.flush(region, BASE)
    assert [event.seq for event in region.taken] == list(range(1, 131)) and len(region.asked) == 3


async def test_a_session_that_is_not_granted_breaks_nothing() -> None:
    good = b'{"token": "t", "session": "0f", "arms": {"a": "b"}, "window_s": 20}'
    assert await granted(Region([200], body=good), BASE, "film", "tv") == Granted("t", "0f", arms={"a": "b"})
    for region in (Region([0]), Region([503]), Region([200], body=b"<html>"), Region([200], body=b"{}")):
        assert await granted(region, BASE, "film", "tv") is None
