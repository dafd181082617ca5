"""What was changed through the API stands in the audit log, with who asked: every route that can change something."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_region import BEARER, OPERATOR, TUS, Region, build
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from redqueen.api.app import create_app
from redqueen.api.audit import READING
from redqueen.catalogue.model import Facts, Rung
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.testing.clock import VirtualClock
from redqueen.testing.trials import release

pytestmark = pytest.mark.anyio
SHOP = {"name": "shop", "owner": "me", "command": ["x"], "routes": [{"path": "/shop"}]}
FLAG = {"kind": "boolean", "variants": {"on": True, "off": False}, "default": "off"}
PASSWORD = "correct horse battery"
PARAMETER = re.compile(r"\{\w+=([^}]+)\}")
OUTSIDE = ("/ofrep/v1/evaluate/", "/telemetry/v1/")
"""Where players tell and flags are read: nobody signed in changes anything there."""


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Region]]:
    clock = VirtualClock()
    region = build(folder, MemoryRecords(clock), clock)
    await region.services.accounts.ensure_owner()
    await region.services.accounts.ensure_operator_token(OPERATOR)
    transport = httpx.ASGITransport(create_app(region.services), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://tv/api/v1", headers=BEARER) as client:
        yield client, region


async def test_changes_are_noted_with_who_made_them_and_reading_or_failing_is_not(tmp_path: Path) -> None:
    async with served(tmp_path) as (client, _):
        await client.put("/services/shop", json=SHOP)
        await client.get("/services")
        await client.put("/services/other", json=SHOP)
        await client.post("/services/shop/restart")
        await client.delete("/services/shop")
        first = (await client.get("/audit", params={"limit": 2})).json()
        assert [line["what"] for line in first["lines"]] == ["remove", "restart"]
        rest = (await client.get("/audit", params={"before": first["next"]})).json()
        assert [(line["what"], line["subject"], line["because"]) for line in rest["lines"]] == [
            ("declare", "service shop", "revision 1")
        ]
        assert rest["next"] is None
        assert {line["who"] for line in first["lines"]} == {"owner"}
        assert first["lines"][0]["at"].startswith("2027-01-15T")


async def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    async with served(tmp_path) as (client, _):
        assert (await client.get("/audit", headers={"Authorization": "Bearer nobody"})).status_code == 401
        assert (await client.get("/audit", params={"limit": 0})).status_code == 400


async def test_a_change_that_cannot_be_written_down_is_answered_as_failed(tmp_path: Path) -> None:
    async with served(tmp_path) as (client, region):

        async def full(*told: str) -> None:
            raise OSError("no space left")

        object.__setattr__(region.services, "audit", type("Full", (), {"note": staticmethod(full)})())
        assert (await client.post("/sign-in-links")).status_code == 500


class Changer:
    """Makes changes one after the other, and looks after each for the line that it left."""

    def __init__(self, client: httpx.AsyncClient, region: Region) -> None:
        self.client, self.region = client, region
        self.done: dict[tuple[str, str], str] = {}
        """Of each route, what its line says."""
        self.secrets = [PASSWORD, OPERATOR]

    async def change(self, method: str, route: str, **more: Any) -> httpx.Response:
        """Ask for `route`, its parameters written as {name=value}; a line must come of it."""
        path = PARAMETER.sub(r"\1", route)
        before = await self.region.services.audit.newest(1)
        answer = await self.client.request(method, path, **more)
        assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text}"
        after = await self.region.services.audit.newest(1)
        assert after != before, f"{method} {path} left no line"
        assert after[0].who == "owner"
        self.done[method, "/api/v1" + PARAMETER.sub("{}", route)] = f"{after[0].what}: {after[0].subject}"
        return answer


def changing(app: Litestar) -> dict[tuple[str, str], HTTPRouteHandler]:
    """Return every route that can change something, by method and path."""
    return {
        (method, "".join("/" + (part if isinstance(part, str) else "{}") for part in route.path_components)): handler
        for route in app.routes
        if isinstance(route, HTTPRoute) and not route.path.startswith(OUTSIDE)
        for handler in route.route_handlers
        for method in handler.http_methods
        if method not in READING
    }


def artifact() -> tuple[str, bytes]:
    out, text = io.BytesIO(), b'service = "shop"\nowner = "me"\ncommand = ["run"]\n'
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as packed:
        info = tarfile.TarInfo("redqueen.toml")
        info.size = len(text)
        packed.addfile(info, io.BytesIO(text))
    return hashlib.sha256(out.getvalue()).hexdigest(), out.getvalue()


async def test_every_route_that_changes_something_leaves_a_line_or_says_why_not(tmp_path: Path) -> None:
    async with served(tmp_path) as (client, region):
        maker = Changer(client, region)
        await change_titles(maker)
        await change_services(maker)
        await change_releases(maker)
        await change_flags(maker)
        await change_account(maker)
        routes = changing(create_app(region.services))
        unaudited = {route for route, handler in routes.items() if handler.opt.get("unaudited")}
        assert set(maker.done) == set(routes) - unaudited, "a route is new: change something by it here"
        assert {handler.operation_id for handler in (routes[route] for route in unaudited)} == {
            "appendToUpload", "createSession", "sendArtifact", "setProgress", "tellPower", None
        }  # fmt: skip
        assert all(isinstance(routes[route].opt["unaudited"], str) for route in unaudited)
        log = repr(await region.services.audit.newest(1000))
        assert not [secret for secret in maker.secrets if secret in log]
        assert {"set password: account owner", "create sign in link: account owner", "sign in: account owner"} <= set(
            maker.done.values()
        )
        assert maker.done["PUT", "/api/v1/titles/{}/subtitles/{}"].endswith(", lang en")


async def playable(region: Region) -> str:
    catalogue = region.services.catalogue
    title = await catalogue.create("Film", size_bytes=10)
    await catalogue.received(title.id)
    await catalogue.probed(title.id, Facts(100.0, 640, 360, 25.0))
    await catalogue.progress(title.id, 0.25, [Rung("360p", 360, 400_000, 0.5)])
    await catalogue.playable(title.id, "master.m3u8")
    return title.id


async def change_titles(maker: Changer) -> None:
    tus = {**TUS, "Upload-Length": "9", "Upload-Metadata": "filename Zi5tcDQ="}
    title = (await maker.change("POST", "/uploads", headers=tus)).headers["redqueen-title"]
    await maker.change("PATCH", f"/titles/{{id={title}}}", json={"title": "New"})
    await maker.change(
        "PUT", f"/titles/{{id={title}}}/subtitles/{{lang=en}}", content=b"WEBVTT\n\n00:01.000 --> 00:02.000\nHi\n"
    )
    link = await maker.change("POST", f"/titles/{{id={await playable(maker.region)}}}/play-link")
    maker.secrets.append(link.json()["url"])
    await maker.change("DELETE", f"/titles/{{id={title}}}")
    upload = (await maker.change("POST", "/uploads", headers=tus)).headers["location"].rpartition("/")[2]
    await maker.change("DELETE", f"/uploads/{{id={upload}}}", headers=TUS)


async def change_services(maker: Changer) -> None:
    await maker.change("PUT", "/services/{name=shop}", json=SHOP)
    await maker.change("POST", "/services/{name=shop}/restart")
    await maker.change("DELETE", "/services/{name=shop}")
    await maker.change("POST", "/fleet/nodes/{id=api-a-1}/kill")


async def change_releases(maker: Changer) -> None:
    digest, body = artifact()
    assert (await maker.client.put(f"/artifacts/{digest}", content=body)).status_code == 200
    await maker.change("POST", "/releases", json={"artifact": digest})
    await maker.change("POST", "/releases/{service=shop}/{release=r1}/stop", json={})
    await maker.change("POST", "/releases/{service=shop}/rollback", json={})
    await maker.region.services.trials.start(release())
    await maker.change("POST", "/trials/{id=shop-r1}/stop", json={})


async def change_flags(maker: Changer) -> None:
    await maker.change("PUT", "/flags/{key=shiny}", json=FLAG)
    tried = (await maker.change("POST", "/flags/{key=shiny}/try", json={"value": True})).json()["name"]
    await maker.change("POST", f"/experiments/{{name={tried}}}/stop", json={})
    await maker.change("POST", "/experiments", json={"name": "again", "flag": "shiny", "variants": ["on"]})
    await maker.client.post("/experiments/again/stop", json={})
    await maker.change("DELETE", "/flags/{key=shiny}")
    token = await maker.change("POST", "/flag-tokens", json={"name": "checkout"})
    maker.secrets.append(token.json()["token"])
    await maker.change("DELETE", "/flag-tokens/{name=checkout}")


async def change_account(maker: Changer) -> None:
    link = (await maker.change("POST", "/sign-in-links")).json()["url"].partition("token=")[2]
    maker.secrets.append(link)
    await maker.change("PUT", "/account/password", json={"password": PASSWORD})
    await maker.change("POST", "/session", json={"link_token": link})
    maker.secrets.append(maker.client.cookies["rq_session"])
    del maker.client.headers["Authorization"]
    await maker.change("DELETE", "/session", headers={"X-Redqueen": "1"})
