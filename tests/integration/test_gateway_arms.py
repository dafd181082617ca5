"""Arms at the gateway: who is sent where, through a real Envoy; what nobody can choose; what a change costs."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest
from arms_rig import BASELINE, CANARY, SECRET, SHOP, TRIAL, arm_of, cookie_of, trial_region, viewer_in
from policy_region import Node

from redqueen.gateway.figures import Kept
from redqueen.gateway.model import EndpointStatus, Route
from redqueen.viewers import COOKIE, mint, new_viewer, verified

pytestmark = pytest.mark.anyio
NODE_OF = {"canary": "canary", "baseline": "baseline", "control": "own", "": "own"}


async def test_the_gateway_draws_thousands_of_viewers_as_everybody_else_does(tmp_path: Path) -> None:
    viewers = [new_viewer() for _ in range(2000)] + [0, 1, 2**63, 2**64 - 1]
    half = replace(TRIAL, layer_last=1 << 19)
    async with trial_region(tmp_path, trials=(half,)) as region:
        wrong = list[str]()

        async def ask(some: list[int]) -> None:
            async with await anyio.connect_tcp("127.0.0.1", region.running.settings.listen_port) as stream:
                for viewer in some:
                    cookie = cookie_of(viewer)["cookie"]
                    await stream.send(f"GET /shop/x HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\n\r\n".encode())
                    answer = await stream.receive()
                    while b"GET /shop/x" not in answer:
                        answer += await stream.receive()
                    arm = arm_of(viewer, half)
                    name = arm.name if arm else ""
                    if f"\r\n\r\n{NODE_OF[name]} ".encode() not in answer:
                        wrong.append(f"{viewer:016x} in {name!r}: {answer!r}")

        async with anyio.create_task_group() as group:
            for part in range(4):
                group.start_soon(ask, viewers[part::4])
        seen = {asked.headers["x-rq-viewer"]: asked.headers for node in region.nodes.values() for asked in node.asked}
        assert {int(viewer, 16) for viewer in seen} == set(viewers)
        for viewer, headers in seen.items():
            arm = arm_of(int(viewer, 16), half)
            assert headers.get("x-rq-arms") == (f"shop-r1={arm.name}" if arm else None)
        assert {node.name: len(node.asked) > 200 for node in region.nodes.values()} == dict.fromkeys(region.nodes, True)


async def test_who_comes_without_a_cookie_gets_one_and_keeps_the_arm(tmp_path: Path) -> None:
    async with trial_region(tmp_path) as region:
        for _ in range(5):
            async with httpx.AsyncClient(trust_env=False) as browser:
                first = await browser.get(f"{region.url}/shop/x")
                lines = first.headers.get_list("set-cookie")
                assert sorted(line.partition("=")[0] for line in lines) == ["rq_seen", "rq_viewer"]
                assert all(line.endswith("; HttpOnly; SameSite=Lax") and "; Path=/; " in line for line in lines)
                viewer = verified(SECRET, browser.cookies[COOKIE])
                assert viewer is not None
                arm = arm_of(viewer)
                assert arm is not None
                assert first.text.partition(" ")[0] == NODE_OF[arm.name]
                again = await browser.get(f"{region.url}/shop/x")
                assert again.text == first.text
                assert again.headers.get_list("set-cookie") == []


async def test_forged_cookies_are_none_and_neither_choose_an_arm_nor_make_an_error(tmp_path: Path) -> None:
    async with trial_region(tmp_path) as region:
        canary = viewer_in("canary")
        good = mint(SECRET, canary)
        forged = (
            f"{COOKIE}={mint(bytes(16), canary)}",
            f"{COOKIE}={canary:016x}.{0:016x}",
            f"{COOKIE}={good}; {COOKIE}={good}",
            f"{COOKIE}={good}; x=1; {COOKIE}={mint(SECRET, new_viewer())}",
            f"{COOKIE}={good}0",
            f"{COOKIE}={good.upper()}" if good.upper() != good else f"{COOKIE}=",
            f"{COOKIE}={'a' * 8192}",
            f"{COOKIE}={good}{'.' * 8192}",
            f"x{COOKIE}={good}",
            f"{COOKIE}=",
            COOKIE,
            f"x{COOKIE}=" * 700 + f"; {COOKIE}={good}",
            f"{COOKIE}=%00; a=~",
            ";;;;=;",
        )
        for bad in forged:
            for _ in range(3):
                raw = [(b"cookie", bad.encode("latin-1"))]
                answer = await region.client.get(f"{region.url}/shop/x", headers=raw)
                assert answer.status_code == 200, bad[:80]
                seen = int(region.last()["x-rq-viewer"], 16)
                assert seen != canary, bad[:80]
                made = next(line for line in answer.headers.get_list("set-cookie") if line.startswith(COOKIE))
                assert verified(SECRET, made.partition(";")[0].partition("=")[2]) == seen
        two = [(b"cookie", f"{COOKIE}={good}".encode())] * 2
        await region.client.get(f"{region.url}/shop/x", headers=two)
        assert int(region.last()["x-rq-viewer"], 16) != canary
        # What a client says under our own names never arrives.
        answer = await region.client.get(
            f"{region.url}/shop/x",
            headers={**cookie_of(viewer_in("control")), "x-rq-arms": "shop-r1=canary", "x-rq-viewer": "1" * 16},
        )
        assert answer.text.startswith("own ")
        assert region.last()["x-rq-arms"] == "shop-r1=control"


async def test_a_viewer_is_exposed_for_the_first_time_once_and_nobody_elses_list_helps(tmp_path: Path) -> None:
    async with trial_region(tmp_path) as region:
        mine, other = viewer_in("canary"), viewer_in("canary")

        async def seen(viewer: int, *more: str) -> str:
            answer = await region.client.get(f"{region.url}/shop/x", headers=cookie_of(viewer, *more))
            assert answer.status_code == 200
            return answer.headers.get("set-cookie", "").partition(";")[0]

        first = await seen(mine)
        assert first.startswith("rq_seen=")
        assert await seen(mine, first) == ""
        theirs = await seen(other)
        assert theirs != first
        assert (await seen(mine, theirs)).startswith("rq_seen=")
        assert await seen(mine, await seen(mine, theirs)) == ""
        for odd in ("rq_seen=" + "f" * 8192, "rq_seen=; rq_seen=", first + "; " + first, "rq_seen=<x>"):
            assert (await seen(mine, odd)) == first, odd[:40]
        # However many lists there were, the cookie stays short.
        many = "rq_seen=" + ".".join(f"{number:016x}" for number in range(8))
        longer = await seen(mine, many)
        assert len(longer) == len(many)
        assert longer.endswith(first.partition("=")[2])


async def test_every_kind_of_request_follows_the_arm(tmp_path: Path) -> None:
    async with trial_region(tmp_path) as region:
        for name in ("canary", "baseline", "control", ""):
            viewer, node = viewer_in(name) if name else viewer_in("control"), region.nodes[NODE_OF[name]]
            for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE"):
                before = len(node.asked)
                answer = await region.client.request(method, f"{region.url}/shop/x", headers=cookie_of(viewer))
                assert answer.status_code == 200
                assert [asked.method for asked in node.asked[before:]] == [method]
            events = await region.client.get(
                f"{region.url}/shop/events", headers={**cookie_of(viewer), "accept": "text/event-stream"}
            )
            assert events.text.count("data: event") == 6
            assert node.asked[-1].path == "/shop/events"
            assert await _websocket(region.running.settings.listen_port, cookie_of(viewer)["cookie"]) == b"hello"
            assert node.asked[-1].headers["upgrade"] == "websocket"


async def _websocket(port: int, cookie: str) -> bytes:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        head = "GET /shop/ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        await stream.send(
            f"{head}sec-websocket-version: 13\r\nsec-websocket-key: eA==\r\ncookie: {cookie}\r\n\r\n".encode()
        )
        with anyio.fail_after(30):
            assert b" 101 " in (await stream.receive()).split(b"\r\n")[0]
            await stream.send(b"hello")
            return await stream.receive()


async def test_a_trial_a_change_of_it_and_its_end_are_in_effect_within_two_seconds(tmp_path: Path) -> None:
    async with trial_region(tmp_path, trials=()) as region:
        viewer = viewer_in("canary")
        assert await region.who(viewer) == "own"
        assert "x-rq-viewer" not in region.last()

        async def until(node: str, **changes: object) -> float:
            began = time.monotonic()
            region.told.now = replace(region.told.now, **changes)  # type: ignore[arg-type]
            with anyio.fail_after(30):
                while await region.who(viewer) != node:
                    await anyio.sleep(0.01)
            return time.monotonic() - began

        took = [
            await until("canary", trials=(TRIAL,)),
            await until("own", trials=()),
            await until("baseline", pins=(("shop", BASELINE),)),
            await until("canary", trials=(TRIAL,)),
            await until("baseline", trials=()),
            await until("own", pins=()),
        ]
        assert statistics.median(took) < 2 and max(took) < 10, took


async def test_an_arm_without_a_node_and_a_pin_to_nobody_harm_no_viewer(tmp_path: Path) -> None:
    async with trial_region(tmp_path) as region:
        viewer = viewer_in("canary")
        assert await region.who(viewer) == "canary"
        left = [node.endpoint() for node in region.nodes.values() if node.name != "canary"]
        leaving = replace(region.nodes["canary"].endpoint(), status=EndpointStatus.OUT_OF_SERVICE)
        region.endpoints.set(*left, leaving)
        with anyio.fail_after(30):
            while await region.who(viewer) != "own":
                pass  # each of these was answered: who leaves in order loses nothing
        region.endpoints.set(*left)
        for _ in range(100):
            assert await region.who(viewer) == "own"
        region.mark()
        await region.who(viewer)
        assert "x-rq-arms" not in region.last(), "who is not where the trial wants him is not counted"
        assert await region.who(viewer_in("baseline")) == "baseline"
        await region.apply(pins=(("shop", "shop--r0-warm"),), trials=())
        assert await region.who(viewer) == "own"
        assert await region.who(viewer_in("baseline")) == "own"


async def test_who_vanishes_without_a_word_fails_no_request_and_what_others_answer_is_not_the_arms(
    tmp_path: Path,
) -> None:
    kept = Kept()
    async with trial_region(tmp_path, figures=kept) as region:
        viewer, asked, statuses = cookie_of(viewer_in("canary")), 0, set[int]()
        left = [node.endpoint() for node in region.nodes.values() if node.name != "canary"]
        for _ in range(3):
            region.endpoints.set(*left, region.nodes["canary"].endpoint())
            who = ""
            with anyio.fail_after(30):
                while who != "canary":
                    who = (await region.client.post(f"{region.url}/shop/x", headers=viewer)).text.partition(" ")[0]
            region.endpoints.set(*left)
            with anyio.move_on_after(0.6):
                while True:
                    # A POST is not tried again: it shows each moment in which nobody is there.
                    answer = await region.client.post(f"{region.url}/shop/x", headers=viewer)
                    statuses.add(answer.status_code)
            asked += 1
        assert (asked, statuses) == (3, {200})
        served = sum(one.headers["x-rq-arms"] == "shop-r1=canary" for one in region.nodes["canary"].asked)

        def counted() -> int:
            return sum(one.requests for _, one in kept.since(0) if one.place.arm == "canary")

        with anyio.move_on_after(30):
            while counted() < served:
                await anyio.sleep(0.1)
        await anyio.sleep(1.1)
        assert counted() == served


async def test_a_releases_own_routes_are_its_viewers_alone_and_leave_with_its_trial(tmp_path: Path) -> None:
    kept, web = Kept(), Node("web", "api")
    async with trial_region(tmp_path, figures=kept) as region:
        server = await web.start()
        try:
            region.endpoints.set(web.endpoint(), *(node.endpoint() for node in region.nodes.values()))
            with anyio.fail_after(30):
                while (await region.client.get(f"{region.url}/cart/x")).status_code != 200:
                    await anyio.sleep(0.02)
            old = Route("/shop/old", "shop", SHOP.policy, exact=True, declared_by="shop")
            brought = [replace(SHOP, service=CANARY, declared_by=CANARY), Route("/cart", CANARY, declared_by=CANARY)]
            await region.apply(routes=(*region.told.now.routes, old, *brought))
            viewers = {name: viewer_in(name) for name in ("canary", "baseline", "control")}
            met = {name: await region.who(viewer, "/cart/x") for name, viewer in viewers.items()}
            assert met == {"canary": "canary", "baseline": "web", "control": "web"}
            assert await region.who(viewers["canary"], "/cart/x", "POST") == "canary"
            # A stranger gets a cookie there, and is drawn by it from then on.
            answer = await region.client.get(f"{region.url}/cart/x")
            stranger = verified(SECRET, answer.headers["set-cookie"].partition(";")[0].partition("=")[2])
            assert stranger is not None
            arm = arm_of(stranger)
            assert answer.text.partition(" ")[0] == ("canary" if arm is not None and arm.name == "canary" else "web")
            assert {name: await region.who(viewer) for name, viewer in viewers.items()} == {
                "canary": "canary",
                "baseline": "baseline",
                "control": "own",
            }
            with anyio.fail_after(30):
                while {one.place.arm for _, one in kept.since(0) if one.place.trial} != set(viewers):
                    await anyio.sleep(0.05)
            assert {one.place.service for _, one in kept.since(0) if one.place.trial} == {"shop"}
            await region.apply(trials=())
            assert {await region.who(viewer, "/cart/x") for viewer in viewers.values()} == {"web"}
        finally:
            server.close()


async def test_with_both_a_pin_and_a_trial_the_rest_of_the_viewers_go_to_the_pinned_group(tmp_path: Path) -> None:
    async with trial_region(tmp_path, pins=(("shop", BASELINE),)) as region:
        assert await region.who(viewer_in("canary")) == "canary"
        assert await region.who(viewer_in("control")) == "baseline"
        region.mark()
        region.nodes["own"].asked.clear()
        for _ in range(20):
            await region.who()
        assert region.nodes["own"].asked == []


async def test_a_failed_read_in_an_arm_is_tried_again_within_the_arm(tmp_path: Path) -> None:
    async with trial_region(tmp_path) as region:
        second = Node("second", CANARY)
        server = await second.start()
        try:
            everybody = [*region.nodes.values(), second]
            region.endpoints.set(*(node.endpoint() for node in everybody))
            viewer, met = viewer_in("canary"), set[str]()
            with anyio.fail_after(30):
                while met != {"canary", "second"}:
                    met.add(await region.who(viewer))
            region.nodes["canary"].fails = True
            for _ in range(30):
                assert await region.who(viewer) == "second"
        finally:
            server.close()


async def test_a_cookie_is_not_put_on_what_others_get_from_a_cache(tmp_path: Path) -> None:
    route = replace(SHOP, policy=replace(SHOP.policy, response_headers=(("cache-control", "public, max-age=60"),)))
    async with trial_region(tmp_path) as region:
        routes = tuple(one for one in region.told.now.routes if one.service != "shop")
        await region.apply(routes=(*routes, route))
        answer = await region.client.get(f"{region.url}/shop/x")
        assert answer.headers["cache-control"] == "public, max-age=60"
        assert answer.headers.get_list("set-cookie") == []


async def test_a_viewer_keeps_the_arm_on_another_gateway_and_after_a_restart(tmp_path: Path) -> None:
    viewers = [new_viewer() for _ in range(30)]
    async with trial_region(tmp_path / "one") as region:
        before = [await region.who(viewer) for viewer in viewers]
    async with trial_region(tmp_path / "two") as region:
        assert [await region.who(viewer) for viewer in viewers] == before
