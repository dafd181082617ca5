"""Flags and experiments through a whole api node: who may ask what, which arm is whose, what was felt."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from api_region import BEARER, OPERATOR, REGION_SECRET, Region, build

from redqueen import viewers
from redqueen.api.app import create_app
from redqueen.api.edge import edge
from redqueen.api.services import Services
from redqueen.api.viewer_context import device_of
from redqueen.catalogue.model import Facts
from redqueen.registry.rights import mint
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.ports import Put
from redqueen.telemetry.model import FigureBin
from redqueen.testing.clock import VirtualClock
from redqueen.trials.arming import armed
from redqueen.trials.assignment import arm_of
from redqueen.trials.following import ARMED
from redqueen.trials.model import MetricPlan, Subject, Trial, TrialArm, Viewer
from redqueen.trials.permanent import permanent

pytestmark = pytest.mark.anyio
ORDER, RUNG = "home.row_order", "player.start_rung"
OFREP = "/ofrep/v1/evaluate/flags"


@asynccontextmanager
async def serving(
    folder: Path, app: Callable[[Services], Any] = create_app
) -> AsyncGenerator[tuple[httpx.AsyncClient, Region, VirtualClock]]:
    clock = VirtualClock()
    region = build(folder, MemoryRecords(clock), clock)
    await region.services.accounts.ensure_owner()
    await region.services.accounts.ensure_operator_token(OPERATOR)
    await region.services.flags.flags.ensure_own()
    transport = httpx.ASGITransport(app(region.services), raise_app_exceptions=False)
    async with (
        region.services.telemetry.opened(),
        httpx.AsyncClient(transport=transport, base_url="http://tv") as client,
    ):
        yield client, region, clock


async def arm(region: Region, clock: VirtualClock, key: str, variant: str) -> Any:
    """Let a trial of half the viewers run."""
    treatment = TrialArm(variant, variant=variant)
    trial = Trial(f"t-{variant}", Subject.FLAG, key, "me", "", key, key, (treatment,), (MetricPlan("starts"),))
    row = armed(trial, 0.5)
    await region.records.put(ARMED, Put(row.trial, msgspec.json.encode(row)))
    await region.services.armed.read()
    clock.advance(1)
    return row


async def cookie(region: Region, viewer: int) -> dict[str, str]:
    secret = await region.services.accounts.viewers.secret()
    return {"cookie": f"{viewers.COOKIE}={viewers.mint(secret, viewer)}"}


def viewer_in(row: Any, arm_name: str) -> int:
    return next(key for key in range(1000) if arm_of(row, Viewer(key)) == arm_name)


async def test_a_viewer_is_in_its_own_arm_whatever_key_its_browser_sends(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, clock):
        row = await arm(region, clock, RUNG, "low")
        treated, control = viewer_in(row, "low"), viewer_in(row, "control")
        for key in ("anybody", f"{treated:016x}", await _cookie_value(region, treated)):
            body = {"context": {"targetingKey": key, "zone": "x", "returning": True}}
            answer = await client.post(f"{OFREP}/{RUNG}", json=body, headers=await cookie(region, control))
            assert (answer.json()["value"], answer.json()["metadata"]["arm"]) == (0, "control")
        answer = await client.post(f"{OFREP}/{RUNG}", json={}, headers=await cookie(region, treated))
        assert (answer.json()["value"], answer.json()["reason"]) == (240, "SPLIT")
        forged = (await cookie(region, treated))["cookie"][:-1] + "x"
        assert (await client.post(f"{OFREP}/{RUNG}", json={}, headers={"cookie": forged})).status_code == 401
        assert (await client.post(f"{OFREP}/{RUNG}", json={})).status_code == 401


async def _cookie_value(region: Region, viewer: int) -> str:
    return viewers.mint(await region.services.accounts.viewers.secret(), viewer)


async def test_a_program_may_hand_over_its_viewers_cookie_and_is_drawn_by_hash_otherwise(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, clock):
        row = await arm(region, clock, RUNG, "low")
        made = (await client.post("/api/v1/flag-tokens", json={"name": "shop"}, headers=BEARER)).json()
        headers = {"x-api-key": made["token"]}

        async def value(key: str) -> int:
            answer = await client.post(f"{OFREP}/{RUNG}", json={"context": {"targetingKey": key}}, headers=headers)
            return answer.json()["value"]

        treated, control = viewer_in(row, "low"), viewer_in(row, "control")
        assert await value(await _cookie_value(region, treated)) == 240
        assert await value(await _cookie_value(region, control)) == 0
        values = [await value(f"user-{number}") for number in range(60)]
        assert 15 < values.count(240) < 45
        assert values == [await value(f"user-{number}") for number in range(60)]
        wrong = {"authorization": f"Bearer {OPERATOR}"}
        assert (await client.post(OFREP, json={}, headers=wrong)).status_code == 401, (
            "only for evaluation, only by its own"
        )
        for path in ("/api/v1/flags", "/api/v1/session"):
            refused = await client.get(path, headers={"authorization": f"Bearer {made['token']}"})
            assert refused.status_code == 401


async def test_browsers_read_only_what_is_for_browsers(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, clock):
        inner = {"kind": "boolean", "variants": {"on": True}, "default": "on"}
        await client.put("/api/v1/flags/inner", json=inner, headers=BEARER)
        clock.advance(1)
        headers = await cookie(region, 5)
        assert (await client.post(f"{OFREP}/inner", json={}, headers=headers)).status_code == 404
        everything = await client.post(OFREP, json={}, headers=headers)
        assert [flag["key"] for flag in everything.json()["flags"]] == [ORDER, RUNG]
        tag = everything.headers["etag"]
        again = await client.post(OFREP, json={}, headers={**headers, "if-none-match": tag})
        assert (again.status_code, again.content) == (304, b"")
        for header in ("cross-site", "same-site"):
            foreign = await client.post(OFREP, json={}, headers={**headers, "sec-fetch-site": header})
            assert foreign.status_code == 401, "another site must not make a viewer feel anything"


async def test_a_reader_that_went_wild_is_told_to_wait_and_others_are_not(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, clock):
        wild, calm = await cookie(region, 1), await cookie(region, 2)
        statuses = [(await client.post(f"{OFREP}/{RUNG}", json={}, headers=wild)).status_code for _ in range(125)]
        assert statuses == [200] * 120 + [429] * 5
        refused = await client.post(OFREP, json={}, headers=wild)
        assert (refused.headers["retry-after"], bool(refused.json()["errorDetails"])) == ("1", True)
        assert (await client.post(OFREP, json={}, headers=calm)).status_code == 200
        clock.advance(1)
        assert (await client.post(OFREP, json={}, headers=wild)).status_code == 200


async def test_the_home_page_follows_its_flag_and_only_who_saw_it_is_counted(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, clock):
        title = await a_title(region, "Mine", sample=False)
        await a_title(region, "Theirs", sample=True)
        row = await arm(region, clock, ORDER, "new-first")
        region_order = {"continue": 0, "new": 1, "samples": 2}
        treated = {**BEARER, **await cookie(region, viewer_in(row, "new-first"))}
        await client.put(f"/api/v1/titles/{title}/progress", json={"position_s": 50}, headers=BEARER)
        before = (await client.post(f"/api/v1/titles/{title}/sessions", json={}, headers=treated)).json()
        assert before["arms"] == {}, "a play before the page was seen is not counted"
        page = await client.get("/api/v1/home", headers=treated)
        assert [one["key"] for one in page.json()["rows"]] == ["new", "continue", "samples"]
        felt = page.headers["set-cookie"]
        assert felt.startswith("rq_felt=t-new-first;")
        headers = {**treated, "cookie": f"{treated['cookie']}; rq_felt=t-new-first.never-there.control"}
        after = (await client.post(f"/api/v1/titles/{title}/sessions", json={}, headers=headers)).json()
        assert after["arms"] == {"t-new-first": "new-first"}
        control = {**BEARER, **await cookie(region, viewer_in(row, "control"))}
        usual = await client.get("/api/v1/home", headers=control)
        assert [one["key"] for one in usual.json()["rows"]] == sorted(region_order, key=lambda key: region_order[key])
        assert "rq_felt=t-new-first" in usual.headers["set-cookie"], "the control saw the page too"
        assert exposed(region) == {(ORDER, "new-first"): (1, 1), (ORDER, "control"): (1, 1)}, "before any play"
        await client.get("/api/v1/home", headers=headers)
        await client.get("/api/v1/home", headers=treated)
        assert exposed(region)[ORDER, "new-first"] == (3, 1), "with its cookie or without, a viewer counts once"
        assert (await client.post(OFREP, json={}, headers={"cookie": treated["cookie"]})).status_code == 200
        assert exposed(region)[ORDER, "new-first"] == (3, 1), "reading the flag is not seeing the page"


async def test_who_reads_a_browsers_flag_is_counted_then_and_a_programs_viewers_are_not(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, clock):
        shiny = {"kind": "boolean", "variants": {"off": False, "on": True}, "default": "off", "browser": True}
        made = await client.put("/api/v1/flags/shiny", json=shiny, headers=BEARER)
        assert made.status_code == 200, made.text
        row = await arm(region, clock, "shiny", "on")
        viewer = viewer_in(row, "on")
        token = await region.services.flags.access.mint("shop", "me")
        asked = {"context": {"targetingKey": await _cookie_value(region, viewer)}}
        told = await client.post(f"{OFREP}/shiny", json=asked, headers={"authorization": f"Bearer {token}"})
        assert (told.json()["value"], exposed(region)) == (True, {})
        await client.post(OFREP, json={}, headers=await cookie(region, viewer))
        assert exposed(region) == {("shiny", "on"): (1, 1)}


async def test_viewers_requests_are_counted_by_the_arms_of_trials_in_which_nothing_is_changed(tmp_path: Path) -> None:
    async with serving(tmp_path, edge) as (client, region, _):
        title = await a_title(region, "Mine", sample=False)
        (even, _) = (armed(trial, trial.steps[0]) for trial in permanent())
        await region.records.put(ARMED, Put(even.trial, msgspec.json.encode(even)))
        await region.services.armed.read()
        viewer = viewer_in(even, "same")
        for path in ("/api/v1/home", "/api/v1/nowhere", "/api/v1/health"):
            await client.get(path, headers={**BEARER, **await cookie(region, viewer)})
        await client.get("/api/v1/home", headers={"cookie": "rq_viewer=0011223344556677.0011223344556677"})
        await client.get("/api/v1/health", headers=BEARER)
        counted = {one.arm: one for one in region.services.counts.bins(0, 1 << 40)}
        assert set(counted) == {"same"}, "a forged cookie, or none, is nobody's"
        assert (counted["same"].requests, counted["same"].errors, sum(counted["same"].latency)) == (3, 0, 3)
        await client.post(f"/api/v1/titles/{title}/sessions", json={}, headers=BEARER)
        assert sum(one.requests for one in region.services.counts.bins(0, 1 << 40)) == 4, (
            "one who has just become known"
        )
        path = "/telemetry/v1/sessions/counts?since=0&until=9999999999"
        assert (await client.get(path)).status_code == 401
        own = {"authorization": f"Bearer {mint(REGION_SECRET, 'region')}"}
        told = msgspec.msgpack.decode((await client.get(path, headers=own)).content, type=list[FigureBin])
        assert {(one.trial, one.service) for one in told} == {("aa-even", "")}
        assert (await client.get(path, headers={**own, "x-forwarded-for": "1.2.3.4"})).status_code == 404


def exposed(region: Region) -> dict[tuple[str, str], tuple[int, int]]:
    """Return pages and flags served, and the viewers to whom that was new, by flag and arm."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for one in region.services.counts.bins(0, 1 << 40):
        known = found.get((one.service, one.arm), (0, 0))
        found[one.service, one.arm] = (known[0] + one.requests, known[1] + one.first)
    return found


async def test_a_players_flag_comes_with_the_play_and_is_felt_then(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, clock):
        title = await a_title(region, "Mine", sample=False)
        row = await arm(region, clock, RUNG, "low")
        headers = {**BEARER, **await cookie(region, viewer_in(row, "low"))}
        granted = (await client.post(f"/api/v1/titles/{title}/sessions", json={}, headers=headers)).json()
        assert granted["flags"] == {RUNG: 240}
        assert granted["arms"] == {"t-low": "low"}
        control = {**BEARER, **await cookie(region, viewer_in(row, "control"))}
        granted = (await client.post(f"/api/v1/titles/{title}/sessions", json={}, headers=control)).json()
        assert (granted["flags"], granted["arms"]) == ({RUNG: 0}, {"t-low": "control"})


async def a_title(region: Region, name: str, *, sample: bool) -> str:
    catalogue = region.services.catalogue
    title = await catalogue.create(name, size_bytes=10, sample=sample)
    await catalogue.received(title.id)
    await catalogue.probed(title.id, Facts(100.0, 640, 360, 25.0))
    await catalogue.playable(title.id, "master.m3u8")
    return title.id


async def test_flags_and_experiments_are_the_owners_to_change(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, _, _):
        flag = (await client.get(f"/api/v1/flags/{RUNG}", headers=BEARER)).json()
        wish = {key: flag[key] for key in ("kind", "variants", "rules", "enabled", "browser", "revision")}
        changed = await client.put(f"/api/v1/flags/{RUNG}", json={**wish, "default": "low"}, headers=BEARER)
        assert changed.json()["revision"] == 2
        late = await client.put(f"/api/v1/flags/{RUNG}", json={**wish, "default": "high"}, headers=BEARER)
        assert (late.status_code, late.json()["code"]) == (409, "flag.changed")
        bad = await client.put(f"/api/v1/flags/{RUNG}", json={**wish, "default": "x", "revision": 2}, headers=BEARER)
        assert (bad.status_code, bad.json()["code"]) == (400, "flag.invalid")
        tried = await client.post(f"/api/v1/flags/{RUNG}/try", json={"value": 480}, headers=BEARER)
        assert tried.status_code == 201, tried.text
        card = tried.json()
        assert (card["flag"], card["variants"], card["control"], card["phase"]) == (RUNG, ["480"], "low", "testing")
        second = await client.post(f"/api/v1/flags/{RUNG}/try", json={"value": 0}, headers=BEARER)
        assert (second.status_code, second.json()["code"]) == (409, "flag.held")
        found = (await client.get(f"/api/v1/experiments/{card['name']}", headers=BEARER)).json()
        assert found["experiment"]["trial"] == card["name"]
        assert (found["segments"], found["viewing"]["arms"]) == ([], [])
        stopped = await client.post(f"/api/v1/experiments/{card['name']}/stop", json={}, headers=BEARER)
        assert stopped.json()["phase"] == "ended"
        listed = (await client.get("/api/v1/experiments", headers=BEARER)).json()["experiments"]
        assert [one["name"] for one in listed] == [card["name"]]
        lines = (await client.get("/api/v1/audit", headers=BEARER)).json()["lines"]
        assert {line["what"] for line in lines} >= {"set flag", "start experiment", "stop experiment"}


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("Mozilla/5.0 (SMART-TV; Linux; Tizen 7.0) AppleWebKit/538.1", "tv"),
        ("Mozilla/5.0 (Linux; Android 9; AFTMM) AppleWebKit/537.36", "tv"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)", "mobile"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605.1", "desktop"),
        ("Mozilla/5.0 (X11; Linux x86_64) Chrome/131", "desktop"),
        ("curl/8.5", "other"),
        ("", "other"),
    ],
)
def test_a_browsers_name_tells_its_kind_of_device(name: str, device: str) -> None:
    assert device_of(name) == device
