"""The API's routes for declared services: shapes, refusals, who may."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from api_region import BEARER, OPERATOR, build

from redqueen.api.app import create_app
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio
SHOP = {"name": "shop", "owner": "me", "command": ["x"], "routes": [{"path": "/shop"}]}


async def client_of(folder: Path) -> httpx.AsyncClient:
    clock = VirtualClock()
    region = build(folder, MemoryRecords(clock), clock)
    await region.services.accounts.ensure_owner()
    await region.services.accounts.ensure_operator_token(OPERATOR)
    transport = httpx.ASGITransport(create_app(region.services), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://tv/api/v1", headers=BEARER)


async def test_a_service_is_declared_seen_restarted_and_removed(tmp_path: Path) -> None:
    async with await client_of(tmp_path) as client:
        made = await client.put("/services/shop", json=SHOP)
        assert (made.status_code, made.json()["state"], made.json()["revision"]) == (200, "up", 1)
        assert made.json()["file"] == SHOP
        listed = (await client.get("/services")).json()["services"]
        assert [card["name"] for card in listed] == ["shop"]
        again = await client.post("/services/shop/restart")
        assert (again.status_code, again.json()["revision"]) == (202, 2)
        assert (await client.delete("/services/shop", params={"revision": 2})).status_code == 204
        gone = await client.get("/services/shop")
        assert (gone.status_code, gone.json()["code"]) == (404, "service.unknown")


async def test_a_body_of_another_name_or_with_unknown_fields_is_refused(tmp_path: Path) -> None:
    async with await client_of(tmp_path) as client:
        other = await client.put("/services/other", json=SHOP)
        assert (other.status_code, other.json()["code"]) == (400, "service.file")
        unknown = await client.put("/services/shop", json={**SHOP, "shell": True})
        assert unknown.status_code == 400
        assert "shell" in unknown.json()["why"]
        assert (await client.get("/services")).json() == {"services": []}


async def test_only_the_owner_may(tmp_path: Path) -> None:
    async with await client_of(tmp_path) as client:
        nobody = {"Authorization": "Bearer nobody"}
        for method, path in (
            ("GET", "/services"),
            ("GET", "/services/shop"),
            ("PUT", "/services/shop"),
            ("DELETE", "/services/shop"),
            ("POST", "/services/shop/restart"),
        ):
            answer = await client.request(method, path, json=SHOP, headers=nobody)
            assert answer.status_code == 401, (method, path)
