"""What the web player tells, in a real Chromium: every event arrives once, whatever dies; a film plays without it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from playwright.sync_api import Page, Request, Response, expect

from redqueen.cli.upload import examine
from redqueen.fleet.datadir import registry_key
from redqueen.registry.rights import mint
from redqueen.telemetry.model import SessionRow
from redqueen.telemetry.sessions import CLOSES_S
from redqueen.testing.region import Region, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.region, pytest.mark.timeout(240)]
FILMS = Path(os.environ.get("REDQUEEN_TEST_FILMS", Path(__file__).parents[3] / "shared" / "media"))
EVENTS, LEFT = "/telemetry/v1/events", "Object.keys(localStorage).filter((key) => key.startsWith('redqueen.told.'))"


@dataclass
class Wire:
    """What a page asked of the region's telemetry, and what of it was acknowledged."""

    grants: list[dict[str, Any]] = field(default_factory=list)
    granted_at: list[float] = field(default_factory=list)
    """When each of them was heard of; the sessions' own seconds are not later."""
    acknowledged: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    """Events by token and number."""
    failures: int = 0
    introduced: list[str] = field(default_factory=list)
    """CMCD-Session headers of media requests."""

    def listen(self, page: Page) -> None:
        """Follow everything that this page sends."""
        page.on("response", self._heard)
        page.on("requestfailed", self._failed)
        page.on("request", self._asked)

    def seqs(self, token: str) -> list[int]:
        """Return the numbers of the acknowledged events of a session."""
        return sorted(self.acknowledged.get(token, {}))

    def _heard(self, response: Response) -> None:
        path = response.url.partition("?")[0]
        if path.endswith("/sessions") and response.status == 201:
            self.granted_at.append(time.time())
            self.grants.append(response.json())
        elif path.endswith(EVENTS):
            self.failures += response.status != 204
            for batch in json.loads(response.request.post_data or "{}")["batches"] if response.status == 204 else []:
                kept = self.acknowledged.setdefault(batch["token"], {})
                kept |= {event["seq"]: event for event in batch["events"]}

    def _failed(self, request: Request) -> None:
        self.failures += request.url.endswith(EVENTS)

    def _asked(self, request: Request) -> None:
        if "/media/" in request.url and "cmcd-session" in request.headers:
            self.introduced.append(request.headers["cmcd-session"])


def until(page: Page, true: Callable[[], object], what: str, within_s: float = 30.0) -> None:
    """Wait until something is so, while the page goes on."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"it never came to this: {what}"
        page.wait_for_timeout(100)


def clock(page: Page) -> float:
    """Return the video's own time in seconds."""
    return float(page.evaluate("document.querySelector('video')?.currentTime ?? 0"))


@pytest.fixture(scope="module")
def title(region: Region) -> str:
    """Give a film that can be played."""
    film = FILMS / "live_tos_800x332_70s.webm"
    if not film.exists():
        pytest.skip(f"no real films in {FILMS} (set REDQUEEN_TEST_FILMS)")
    with region.api() as api:
        title_id = region.sender(api).send(examine(film), title="Told of").title_id
        wait_for(api, title_id, ("playable", "complete"), timeout_s=120)
    return title_id


def watch(page: Page, region: Region, title: str, *, beyond_s: float = 2.0) -> None:
    """Open the player and wait until it plays."""
    with region.api() as api:
        page.goto(f"{api.address}/watch/{title}")
    until(page, lambda: clock(page) > beyond_s, f"the film plays beyond {beyond_s} s")


def kill_an_api_node(region: Region, number: int) -> None:
    """Kill one of the nodes that take events."""
    with region.api() as api:
        names = sorted(node.id for node in region.nodes(api) if node.role == "api")
    killed = region.run("node", "kill", names[number % len(names)])
    assert killed.returncode == 0, killed.stderr


def rows(region: Region, since: int, until: int) -> list[SessionRow]:
    """Read what the api nodes know of the sessions of some seconds, as the judge does."""
    token = mint(registry_key(region.data), "region")
    found: list[SessionRow] = []
    with region.api() as api:
        nodes = [node for node in api.get("/fleet")["nodes"] if node["role"] == "api"]
    for node in nodes:
        url = f"http://{node['address']}/telemetry/v1/sessions?since={since}&until={until}"
        answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text
        found += msgspec.msgpack.decode(answer.content, type=list[SessionRow])
    return found


def test_every_event_arrives_although_api_nodes_are_killed_and_the_page_is_left(
    owner: Page, region: Region, title: str
) -> None:
    wire, began = Wire(), int(time.time())
    wire.listen(owner)
    watch(owner, region, title)
    grant = wire.grants[0]
    kill_an_api_node(region, 0)
    before = clock(owner)
    until(owner, lambda: clock(owner) > before + 3, "the film goes on")
    kill_an_api_node(region, 1)
    until(owner, lambda: "heartbeat" in {one["kind"] for one in wire.acknowledged[grant["token"]].values()}, "a beat")
    owner.get_by_label("Back to the title").click()
    owner.wait_for_url("**/title/*")
    until(owner, lambda: owner.evaluate(LEFT) == [], "nothing is left to be told")

    told = wire.acknowledged[grant["token"]]
    assert wire.seqs(grant["token"]) == list(range(1, len(told) + 1)), "one number after the other, none missing"
    kinds = [told[seq]["kind"] for seq in wire.seqs(grant["token"])]
    assert kinds[0] == "asked" and "first_frame" in kinds and kinds[-1] == "end"
    last = told[len(told)]
    assert 0 <= last["delay_ms"] < 15_000 and last["played_ms"] > 3000 and last["mean_bitrate_bps"] > 0
    assert any(grant["session"] in header and "v=2" in header for header in wire.introduced), wire.introduced[:3]

    second = int(wire.granted_at[0])
    until(owner, lambda: time.time() > second + CLOSES_S + 2, "the session's second has closed", within_s=60)
    own = [row for row in rows(region, began - 1, second + 1) if row.session == int(grant["session"], 16)]
    best = max(own, key=lambda row: row.seq)
    assert best.seq > 0 and not best.failed and best.delay_ms == last["delay_ms"] and best.device == "desktop"


def test_what_could_not_be_told_is_told_by_the_next_page(owner: Page, region: Region, title: str) -> None:
    wire = Wire()
    wire.listen(owner)
    owner.route(f"**{EVENTS}", lambda route: route.abort())
    watch(owner, region, title, beyond_s=3.0)
    grant = wire.grants[0]
    assert owner.evaluate(LEFT) == [f"redqueen.told.{grant['session']}"]
    until(owner, lambda: wire.failures > 0, "an event could not be delivered")
    assert not owner.get_by_test_id("player-error").is_visible()
    owner.unroute(f"**{EVENTS}")
    owner.goto(owner.url.partition("/watch")[0])
    until(owner, lambda: owner.evaluate(LEFT) == [], "the next page has delivered it")
    seqs = wire.seqs(grant["token"])
    assert seqs == list(range(1, len(seqs) + 1)) and len(seqs) >= 3


def test_a_film_plays_where_no_session_can_be_had(owner: Page, region: Region, title: str) -> None:
    owner.route("**/api/v1/titles/*/sessions", lambda route: route.fulfill(status=500, body="{}"))
    watch(owner, region, title)
    expect(owner.get_by_test_id("player-error")).to_have_count(0)
    assert owner.evaluate(LEFT) == []
