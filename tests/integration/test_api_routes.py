"""The API's routes over a whole api node: identity, titles, playback, fleet, errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
from api_region import BEARER, OPERATOR, Region, build

from redqueen.accounts.model import OWNER_ID
from redqueen.api.app import create_app
from redqueen.catalogue.model import Facts, Failure, Rung
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.testing.clock import VirtualClock
from redqueen.viewers import COOKIE, mint, verified

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serving(
    folder: Path, *, public_url: str = "http://tv"
) -> AsyncGenerator[tuple[httpx.AsyncClient, Region, VirtualClock]]:
    clock = VirtualClock()
    region = build(folder, MemoryRecords(clock), clock, public_url=public_url)
    (folder / "app" / "assets").mkdir(parents=True)
    (folder / "app" / "index.html").write_text("<!doctype html>" + "app " * 400)
    (folder / "app" / "assets" / "index-Ab3dEf9h.js").write_text("export {}")
    (folder / "app" / "secret.txt").write_text("not secret")
    await region.services.accounts.ensure_owner()
    await region.services.accounts.ensure_operator_token(OPERATOR)
    transport = httpx.ASGITransport(create_app(region.services), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=public_url) as client:
        yield client, region, clock


async def a_title(region: Region, name: str = "The Film", *, playable: bool = True) -> str:
    catalogue = region.services.catalogue
    title = await catalogue.create(name, size_bytes=10)
    if playable:
        await catalogue.received(title.id)
        await catalogue.probed(title.id, Facts(100.0, 640, 360, 25.0))
        await catalogue.progress(title.id, 0.25, [Rung("360p", 360, 400_000, 0.5)])
        await catalogue.playable(title.id, "master.m3u8")
    return title.id


async def test_everything_but_health_sign_in_and_the_description_needs_an_identity(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, _, _):
        document = (await client.get("/api/v1/openapi.json")).json()
        checked = 0
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                answer = await client.request(method, path.replace("{title_id}", "x" * 12).replace("{lang}", "en"))
                public = operation["operationId"] in ("getHealth", "signIn")
                assert (answer.status_code == 401) == (not public), (method, path, answer.text)
                checked += 1
        assert checked > 20


async def test_a_link_signs_in_once_with_careful_cookies(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, _, _):
        link = (await client.post("/api/v1/sign-in-links", headers=BEARER)).json()
        assert link["url"].startswith("http://tv/sign-in#token=")
        token = link["url"].partition("#token=")[2]
        answer = await client.post("/api/v1/session", json={"link_token": token})
        assert answer.status_code == 200
        assert answer.json() == {"account": {"id": OWNER_ID, "name": "owner", "role": "owner"}}
        media, session, viewer = sorted(answer.headers.get_list("set-cookie"))
        assert all(flag in viewer for flag in ("rq_viewer=", "HttpOnly", "SameSite=lax", "Path=/", "Max-Age=31536000"))
        assert all(flag in session for flag in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=2592000"))
        assert all(flag in media for flag in ("HttpOnly", "SameSite=lax", "Path=/media", "Max-Age=43200"))
        assert "Secure" not in session
        again = await client.post("/api/v1/session", json={"link_token": token})
        assert again.status_code == 401
        assert again.json()["code"] == "session.link"
        mine = await client.get("/api/v1/session")
        assert mine.status_code == 200
        assert "rq_media=" in mine.headers["set-cookie"]
        assert "rq_viewer=" not in mine.headers["set-cookie"], "who is known is left as he is"


async def test_a_viewer_is_who_the_cookie_says_else_who_the_gateway_says_else_new(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        secret = await region.services.accounts.viewers.secret()
        address = f"/api/v1/titles/{await a_title(region)}/playback"

        async def set_cookie(**headers: str) -> str:
            client.cookies.clear()
            answer = await client.get(address, headers={**BEARER, **headers})
            assert answer.status_code == 200
            return answer.headers.get("set-cookie", "")

        mine = f"{COOKIE}={mint(secret, 7)}"
        assert await set_cookie(cookie=mine) == ""
        assert await set_cookie(**{"x-rq-viewer": "00000000000000ff"}) == ""
        forged = (f"{COOKIE}={mint(bytes(16), 7)}", f"{mine}; {mine}", f"{mine}0", f"{COOKIE}={'x' * 8192}")
        for bad in (*forged, ""):
            sent = await set_cookie(cookie=bad, **{"x-rq-viewer": "7"})
            value = sent.partition(";")[0].partition("=")[2]
            assert verified(secret, value) not in (None, 7), bad


async def test_cookies_are_secure_where_the_public_address_is_https(tmp_path: Path) -> None:
    async with serving(tmp_path, public_url="https://tv") as (client, region, _):
        link = await region.services.accounts.mint_link()
        answer = await client.post("/api/v1/session", json={"link_token": link.token})
        assert all("Secure" in line for line in answer.headers.get_list("set-cookie"))


async def test_a_link_that_two_use_at_once_works_for_one(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        link = await region.services.accounts.mint_link()
        statuses: list[int] = []

        async def use() -> None:
            statuses.append((await client.post("/api/v1/session", json={"link_token": link.token})).status_code)

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(use)
        assert sorted(statuses) == [200] + [401] * 7


async def test_an_old_link_and_a_used_up_password_are_refused_in_constant_words(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, clock):
        link = await region.services.accounts.mint_link()
        clock.advance(901)
        old = await client.post("/api/v1/session", json={"link_token": link.token})
        never = await client.post("/api/v1/session", json={"link_token": "x" * 43})
        assert old.status_code == never.status_code == 401
        assert old.json() == never.json()
        wrong = await client.post("/api/v1/session", json={"name": "owner", "password": "wrong"})
        nobody = await client.post("/api/v1/session", json={"name": "nobody", "password": "wrong"})
        assert wrong.status_code == nobody.status_code == 401
        assert wrong.json() == nobody.json()


async def test_ten_wrong_passwords_close_the_name_for_a_while(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, _, clock):
        done = await client.put("/api/v1/account/password", json={"password": "a long phrase"}, headers=BEARER)
        assert done.status_code == 204
        right = {"name": "Owner ", "password": "a long phrase"}
        for _ in range(10):
            assert (await client.post("/api/v1/session", json={**right, "password": "no"})).status_code == 401
        refused = await client.post("/api/v1/session", json=right)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "60"
        clock.advance(901)
        assert (await client.post("/api/v1/session", json=right)).status_code == 200


async def test_a_new_password_ends_other_sessions_and_keeps_this_one(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, clock):
        owner = {"X-Redqueen": "1"}
        other = await region.services.accounts.sign_in_with_link((await region.services.accounts.mint_link()).token)
        link = await region.services.accounts.mint_link()
        await client.post("/api/v1/session", json={"link_token": link.token})
        answer = await client.put("/api/v1/account/password", json={"password": "first phrase"}, headers=owner)
        assert answer.status_code == 204, answer.text
        assert (await client.get("/api/v1/session")).status_code == 200
        stale = {"Authorization": f"Bearer {other.token}"}
        assert (await client.get("/api/v1/session", headers=stale)).status_code == 401
        clock.advance(2000)
        wish = {"password": "second phrase"}
        assert (await client.put("/api/v1/account/password", json=wish, headers=owner)).status_code == 403
        wish["current"] = "first phrase"
        assert (await client.put("/api/v1/account/password", json=wish, headers=owner)).status_code == 204
        assert (await client.delete("/api/v1/session", headers=owner)).status_code == 204
        assert (await client.get("/api/v1/session")).status_code == 401


async def test_a_change_by_cookie_needs_the_header_that_other_sites_cannot_send(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        title_id = await a_title(region)
        link = await region.services.accounts.mint_link()
        foreign = {"Sec-Fetch-Site": "cross-site"}
        refused = await client.post("/api/v1/session", json={"link_token": link.token}, headers=foreign)
        assert refused.status_code == 403
        await client.post("/api/v1/session", json={"link_token": link.token})
        refused = await client.delete(f"/api/v1/titles/{title_id}")
        assert refused.status_code == 403
        assert refused.json()["code"] == "request.csrf"
        assert (await client.delete(f"/api/v1/titles/{title_id}", headers={"X-Redqueen": "1"})).status_code == 204
        assert region.studio.removed == [title_id]


async def test_titles_are_listed_searched_paged_changed_and_removed(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, clock):
        for name in ("Amélie", "The Red Shoes", "Red River", "Stalker"):
            await a_title(region, name)
            clock.advance(1)
        listed = (await client.get("/api/v1/titles?limit=3", headers=BEARER)).json()
        assert [card["title"] for card in listed["titles"]] == ["Stalker", "Red River", "The Red Shoes"]
        rest = (await client.get("/api/v1/titles", params={"limit": 3, "after": listed["next"]}, headers=BEARER)).json()
        assert [card["title"] for card in rest["titles"]] == ["Amélie"]
        assert rest["next"] is None
        found = (await client.get("/api/v1/titles?query=AMELI", headers=BEARER)).json()["titles"]
        assert [card["title"] for card in found] == ["Amélie"]
        assert found[0]["rungs"] == [{"name": "360p", "height": 360, "bitrate_bps": 400_000, "progress": 0.5}]
        assert found[0]["created_at"].startswith("2027-01-15T08:00:00")
        address = f"/api/v1/titles/{found[0]['id']}"
        changed = await client.patch(address, json={"title": "  a\nb\u202e ", "description": "x\ny"}, headers=BEARER)
        assert (changed.json()["title"], changed.json()["description"]) == ("a b", "x\ny")
        refused = await client.patch(address, json={"titel": "x"}, headers=BEARER)
        assert refused.status_code == 400
        assert "titel" in refused.json()["why"]
        assert (await client.delete(address, headers=BEARER)).status_code == 204
        assert (await client.get(address, headers=BEARER)).status_code == 404


async def test_a_viewer_goes_on_from_the_exact_second(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        title_id = await a_title(region)
        address = f"/api/v1/titles/{title_id}"
        assert (await client.put(f"{address}/progress", json={"position_s": 41.5}, headers=BEARER)).status_code == 204
        info = (await client.get(f"{address}/playback", headers=BEARER)).json()
        assert info["hls"] == f"/media/{title_id}/master.m3u8"
        assert (info["position_s"], info["duration_s"], info["complete"], info["dash"]) == (41.5, 100.0, False, None)
        rows = (await client.get("/api/v1/home", headers=BEARER)).json()["rows"]
        assert [row["key"] for row in rows] == ["continue", "new"]
        assert rows[0]["items"][0]["position_s"] == 41.5
        await client.put(f"{address}/progress", json={"position_s": 96}, headers=BEARER)
        rows = (await client.get("/api/v1/home", headers=BEARER)).json()["rows"]
        assert [row["key"] for row in rows] == ["new"]
        for bad in (-1, 1e9, "NaN"):
            answer = await client.put(f"{address}/progress", json={"position_s": bad}, headers=BEARER)
            assert answer.status_code == 400


async def test_a_play_link_gives_a_right_to_one_title_for_a_bounded_time(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, clock):
        title_id = await a_title(region)
        address = f"/api/v1/titles/{title_id}/play-link"
        link = (await client.post(address, json={"ttl_s": 60}, headers={**BEARER, "Host": "evil.example"})).json()
        prefix, token, path_title, name = link["url"].rsplit("/", 3)
        assert (prefix, path_title, name) == ("http://tv/v", title_id, "master.m3u8")
        media = region.services.accounts.media
        assert await media.verify(token) == (title_id,)
        clock.advance(61)
        assert await media.verify(token) is None
        for ttl_s in (59, 7 * 86_400 + 1, -5):
            assert (await client.post(address, json={"ttl_s": ttl_s}, headers=BEARER)).status_code == 400
        assert (await client.post(address, headers=BEARER)).status_code == 200
        early = await a_title(region, playable=False)
        assert (await client.post(f"/api/v1/titles/{early}/play-link", headers=BEARER)).status_code == 409


async def test_subtitles_are_decoded_and_handed_to_the_studio(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        title_id = await a_title(region)
        address = f"/api/v1/titles/{title_id}/subtitles"
        text = "1\n00:00:01,000 --> 00:00:02,000\nGrüße\n"
        answer = await client.put(f"{address}/de?label=Deutsch", content=text.encode("cp1252"), headers=BEARER)
        assert answer.status_code == 204, answer.text
        assert region.studio.subtitles == [(title_id, "de", "Deutsch", text)]
        card = (await client.get(f"/api/v1/titles/{title_id}", headers=BEARER)).json()
        assert card["subtitles"] == [{"lang": "de", "label": "Deutsch"}]
        for lang in ("..%2f..%2fx", "e", "en%00", "EN!", "x" * 90):
            refused = await client.put(f"{address}/{lang}", content=b"x", headers=BEARER)
            assert refused.status_code in (400, 404), lang
        assert (await client.put(f"{address}/en", content=b" ", headers=BEARER)).status_code == 400
        long = await client.put(f"{address}/en", content=b"x" * ((2 << 20) + 1), headers=BEARER)
        assert long.status_code == 413


async def test_the_operator_sees_the_fleet_ends_a_node_and_reads_logs(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        picture = (await client.get("/api/v1/fleet", headers=BEARER)).json()
        assert picture["nodes"][0]["id"] == "api-a-1"
        assert (await client.post("/api/v1/fleet/nodes/api-a-1/kill", headers=BEARER)).status_code == 202
        assert region.fleet.killed == ["api-a-1"]
        assert (await client.post("/api/v1/fleet/nodes/api-z-9/kill", headers=BEARER)).status_code == 404
        logs = (await client.get("/api/v1/fleet/logs?role=api&lines=3", headers=BEARER)).json()
        assert logs == {"lines": [{"node": "api-a-1", "line": "api None 3"}]}
        assert (await client.get("/api/v1/fleet/logs?role=../../etc", headers=BEARER)).status_code == 400
        assert (await client.get("/api/v1/fleet/logs?lines=0", headers=BEARER)).status_code == 400
        assert (await client.get("/api/v1/fleet/logs?request_id=..%2f", headers=BEARER)).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "request.not_found"),
        ("GET", "/api/v1/titles/..%2f..%2fetc", 404, "request.not_found"),
        ("GET", "/api/v1/titles/%00%00%00%00%00%00%00%00%00%00%00%00", 404, "title.unknown"),
        ("GET", "/api/v1/titles/" + "x" * 5000, 404, "title.unknown"),
        ("PUT", "/api/v1/home", 405, "request.method"),
        ("GET", "/api/v1/titles?limit=many", 400, "request.invalid"),
        ("GET", "/api/v1/titles?after=%21%21", 400, "titles.after"),
        ("GET", "/media/x/master.m3u8", 404, "request.not_found"),
        ("GET", "/v/x/y", 404, "request.not_found"),
        ("GET", "/..%2f..%2fetc%2fpasswd.txt", 404, "request.not_found"),
        ("GET", "/missing.js", 404, "request.not_found"),
    ],
)
async def test_every_failure_has_one_form(tmp_path: Path, method: str, path: str, status: int, code: str) -> None:
    async with serving(tmp_path) as (client, _, _):
        answer = await client.request(method, path, headers=BEARER)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.json()) == {"code", "what", "why", "hint"}
        assert answer.json()["code"] == code


async def test_broken_json_is_refused_and_what_is_ours_does_not_leak(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        bad = await client.post("/api/v1/session", content=b"{", headers=BEARER)
        assert (bad.status_code, bad.json()["code"]) == (400, "request.invalid")
        both = await client.post("/api/v1/session", json={"link_token": "a", "name": "b"})
        assert (both.status_code, both.json()["code"]) == (400, "session.how")

        async def broken() -> None:
            raise RuntimeError("password=hunter2 in /secret/path")

        region.fleet.view = broken  # type: ignore[assignment,method-assign]
        answer = await client.get("/api/v1/fleet", headers=BEARER)
        assert answer.status_code == 500
        assert "hunter2" not in answer.text
        event = str(region.events[-1])
        assert "RuntimeError" in event
        assert "hunter2" not in event


async def test_the_app_is_served_with_its_policy_and_only_its_own_files(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, _, _):
        page = await client.get("/watch/abc")
        assert page.text.startswith("<!doctype html>")
        assert page.headers["content-encoding"] == "gzip"
        assert page.headers["cache-control"] == "no-cache"
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "no-referrer"
        same = await client.get("/", headers={"If-None-Match": page.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        asset = await client.get("/assets/index-Ab3dEf9h.js")
        assert "immutable" in asset.headers["cache-control"]
        assert asset.headers["content-type"].startswith("text/javascript")
        head = await client.head("/")
        assert (head.status_code, head.content) == (200, b"")
        assert (await client.get("/api/v1/health")).json() == {"status": "ok"}


async def test_a_failed_title_says_why_and_is_not_on_the_home_page(tmp_path: Path) -> None:
    async with serving(tmp_path) as (client, region, _):
        title_id = await a_title(region, playable=False)
        await region.services.catalogue.received(title_id)
        await region.services.catalogue.failed(
            title_id, Failure("film.not_a_film", "This is no film", "text", "Send one")
        )
        card = (await client.get(f"/api/v1/titles/{title_id}", headers=BEARER)).json()
        assert (card["state"], card["failure"]["code"]) == ("failed", "film.not_a_film")
        assert (await client.get("/api/v1/home", headers=BEARER)).json() == {"rows": []}
