"""The main job in a real browser: sign in, publish, watch while it encodes, and lose servers meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from redqueen.cli.upload import examine
from redqueen.testing.region import Region, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.region, pytest.mark.timeout(240)]
CLOCK = "document.querySelector('video')?.currentTime ?? 0"


def clock(page: Page) -> float:
    """Return the video's own time in seconds."""
    return float(page.evaluate(CLOCK))


def until_plays(page: Page, beyond_s: float, within_s: float = 60) -> None:
    """Wait until the video's clock is past `beyond_s`."""
    deadline = time.monotonic() + within_s
    while clock(page) <= beyond_s:
        assert time.monotonic() < deadline, f"the clock stands at {clock(page):.1f} s, not beyond {beyond_s:.1f} s"
        page.wait_for_timeout(50)


def test_a_stranger_sees_the_sign_in_page_and_no_title(page: Page, region: Region) -> None:
    with region.api() as api:
        page.goto(api.address)
    expect(page.get_by_test_id("sign-in-submit")).to_be_visible()
    expect(page.get_by_test_id("title-card")).to_have_count(0)
    page.get_by_test_id("sign-in-name").fill("owner")
    page.get_by_test_id("sign-in-password").fill("guess")
    page.get_by_test_id("sign-in-submit").click()
    expect(page.get_by_test_id("sign-in-error")).to_contain_text("wrong")


def test_a_sign_in_link_works_exactly_once(owner: Page, region: Region, page: Page) -> None:
    with region.api() as api:
        link = api.post("/sign-in-links", {})["url"]
    context = owner.context.browser.new_context()  # type: ignore[union-attr]
    first = context.new_page()
    first.goto(link)
    expect(first.get_by_test_id("search")).to_be_visible()
    context.clear_cookies()
    second = context.new_page()
    second.goto(link)
    expect(second.get_by_test_id("sign-in-error")).to_be_visible()
    context.close()


def test_who_has_just_signed_in_is_not_signed_out_by_a_late_answer_from_before(page: Page, region: Region) -> None:
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if route.request.method == "GET" and not held:
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/v1/session", hold_the_first)
    with region.api() as api:
        link = api.post("/sign-in-links", {})["url"]
    page.goto(link)
    expect(page.get_by_test_id("search")).to_be_visible()
    with page.expect_response(lambda answer: answer.status == 401):
        held[0].fulfill(status=401, json={"key": "session.missing", "message": "Nobody is signed in"})
    page.wait_for_timeout(500)
    expect(page.get_by_test_id("sign-in-name")).to_have_count(0)
    expect(page.get_by_test_id("search")).to_be_visible()


def test_a_password_set_in_the_app_signs_in_on_a_device_that_no_link_reaches(owner: Page, region: Region) -> None:
    owner.get_by_test_id("password").click()
    owner.get_by_test_id("new-password").fill("correct horse battery")
    owner.get_by_role("button", name="Set password").click()
    expect(owner.get_by_role("dialog")).to_have_count(0)
    context = owner.context.browser.new_context()  # type: ignore[union-attr]
    device = context.new_page()
    with region.api() as api:
        device.goto(api.address)
    device.get_by_test_id("sign-in-name").fill("owner")
    device.get_by_test_id("sign-in-password").fill("correct horse battery")
    device.get_by_test_id("sign-in-submit").click()
    expect(device.get_by_test_id("search")).to_be_visible()
    context.close()
    owner.get_by_test_id("password").click()
    owner.get_by_test_id("new-password").fill("another horse entirely")
    owner.get_by_role("button", name="Set password").click()
    expect(owner.get_by_role("dialog")).to_contain_text("current")


def test_a_film_is_published_watched_while_it_encodes_and_resumed(owner: Page, region: Region, films: Path) -> None:
    film = films / "live_tos_800x332_70s.webm"
    with region.api() as api:
        owner.goto(f"{api.address}/console")
    owner.get_by_test_id("upload-input").set_input_files(film)
    owner.get_by_test_id("watch-upload").click()
    until_plays(owner, 3)
    with region.api() as api:
        title = next(found for found in api.get("/titles")["titles"] if found["size_bytes"] == film.stat().st_size)
        assert title["state"] in ("playable", "complete")

        owner.keyboard.press("ArrowRight")
        until_plays(owner, 12)
        owner.keyboard.press("k")
        stopped = clock(owner)
        wait_until_saved(region, title["id"], stopped)

        owner.reload()
        until_plays(owner, stopped - 0.5)
        assert clock(owner) < stopped + 10, "it went on from where it was left"


def wait_until_saved(region: Region, title_id: str, position_s: float) -> None:
    """Wait until the region knows the exact second."""
    deadline = time.monotonic() + 30
    with region.api() as api:
        while abs(api.get(f"/titles/{title_id}/playback")["position_s"] - position_s) > 0.5:
            assert time.monotonic() < deadline, "the position was not saved"
            time.sleep(0.1)


def test_the_clock_goes_on_while_api_gateway_and_envoy_are_killed(owner: Page, region: Region, films: Path) -> None:
    with region.api() as api:
        title_id = region.sender(api).send(examine(films / "live_tos_800x332_70s.webm"), title="Killed").title_id
        wait_for(api, title_id, ("playable", "complete"), timeout_s=60)
        owner.goto(f"{api.address}/watch/{title_id}")
    until_plays(owner, 1)
    for role in ("api", "gateway", "envoy"):
        with region.api() as api:
            victim = next(node for node in region.nodes(api) if node.role == role)
        killed = region.run("node", "kill", victim.id)
        assert killed.returncode == 0, killed.stderr
        before = clock(owner)
        until_plays(owner, before + 2, within_s=20)
    assert not owner.get_by_test_id("player-error").is_visible()


def test_the_fleet_is_a_live_picture_in_which_a_killed_node_comes_back(owner: Page, region: Region) -> None:
    with region.api() as api:
        owner.goto(f"{api.address}/console/fleet")
        expect(owner.get_by_test_id("zone")).to_have_count(3)
        expect(owner.get_by_test_id("node").filter(has_text="worker-a-1")).to_be_visible()
        before = next(node for node in region.nodes(api) if node.id == "worker-a-1").pid
        api.post("/fleet/nodes/worker-a-1/kill", {})
        deadline = time.monotonic() + 20
        while True:
            node = next(node for node in region.nodes(api) if node.id == "worker-a-1")
            if node.state == "up" and node.pid != before:
                break
            assert time.monotonic() < deadline, f"the worker did not come back: {node}"
            time.sleep(0.1)
    expect(owner.get_by_test_id("node").filter(has_text=str(node.pid))).to_be_visible()
