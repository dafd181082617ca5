"""What was changed through the API stands in the audit log, with who asked."""

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


async def test_changes_are_noted_with_who_made_them_and_reading_or_failing_is_not(tmp_path: Path) -> None:
    async with await client_of(tmp_path) as client:
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
    async with await client_of(tmp_path) as client:
        assert (await client.get("/audit", headers={"Authorization": "Bearer nobody"})).status_code == 401
        assert (await client.get("/audit", params={"limit": 0})).status_code == 400
