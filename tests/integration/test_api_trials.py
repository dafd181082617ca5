"""Trials over HTTP: the list, one with its course, stopping, the proof, power; and the same by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio.from_thread
import anyio.to_thread
import httpx
import pytest
from api_region import BEARER, OPERATOR, build

from redqueen.api.app import create_app
from redqueen.cli import main
from redqueen.cli.client import ApiClient
from redqueen.testing.trials import Rig, release

pytestmark = pytest.mark.anyio


async def region_with(folder: Path, rig: Rig) -> httpx.AsyncClient:
    """Give a client of an api node over the store in which a leader judges."""
    region = build(folder, rig.records, rig.clock)
    await region.services.accounts.ensure_owner()
    await region.services.accounts.ensure_operator_token(OPERATOR)
    transport = httpx.ASGITransport(create_app(region.services), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://tv/api/v1", headers=BEARER)


async def test_a_trial_is_listed_read_stopped_and_proven(tmp_path: Path) -> None:
    rig = Rig()
    await rig.trials.start(release())
    await rig.run(45)
    async with await region_with(tmp_path, rig) as client:
        listed = (await client.get("/trials")).json()["trials"]
        assert {one["trial"]["id"]: one["status"] for one in listed} == {
            "shop-r1": "running", "aa-even": "running", "aa-slice": "running",
        }  # fmt: skip
        page = (await client.get("/trials/shop-r1")).json()
        assert page["look"] > 5 and page["share"] == 0.5
        names = {one["name"] for one in page["metrics"]}
        assert {"start_failures", "request_errors"} <= names
        assert page["trace"]["rows"][0][0] == "canary" and len(page["trace"]["points"]) > 3
        assert page["gaps"] == [] and page["noise"] == []
        assert {one["metric"] for one in (await client.get("/trials/aa-even")).json()["noise"]} >= {"start_failures"}
        stopped = (await client.post("/trials/shop-r1/stop", json={"because": "wrong margin"})).json()
        assert (stopped["status"], stopped["because"]) == ("stopped", "stopped by owner: wrong margin")
        proof = (await client.get("/trials/shop-r1/replay")).json()
        assert proof["same_life"] and proof["same_evidence"] and proof["entries"] > 5
        lines = (await client.get("/audit")).json()["lines"]
        assert [(line["what"], line["subject"], line["because"]) for line in lines] == [
            ("stop", "trial shop-r1", "wrong margin")
        ]


async def test_what_cannot_be_done_is_refused_in_words(tmp_path: Path) -> None:
    rig = Rig()
    await rig.run(2)
    async with await region_with(tmp_path, rig) as client:
        assert (await client.get("/trials/none")).json()["code"] == "trial.unknown"
        permanent = await client.post("/trials/aa-even/stop", json={})
        assert (permanent.status_code, permanent.json()["code"]) == (400, "trial.permanent")
        assert (await client.get("/trials", headers={"Authorization": "Bearer nobody"})).status_code == 401
        unknown = await client.post("/trials/power", json={"metrics": [{"name": "luck"}], "per_minute": 30})
        assert (unknown.status_code, unknown.json()["code"]) == (400, "metric")
        told = await client.post("/trials/power", json={"target": "api", "per_minute": 30, "steps": [0.5]})
        assert told.status_code == 200
        assert told.json()["sentence"].startswith("At 30 a minute")


class Bridge(httpx.BaseTransport):
    """Lets the command line, in a thread, ask an api node of this event loop."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = anyio.from_thread.run(self._ask, request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url).replace("http://region", "http://tv")
        return await self._client.request(
            request.method, url, content=request.read(), headers={"content-type": "application/json"}
        )


async def test_the_command_line_shows_them_and_its_exit_codes_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = Rig()
    await rig.trials.start(release())
    await rig.run(45)
    async with await region_with(tmp_path, rig) as client:

        def local(data_dir: Path, **options: Any) -> ApiClient:
            return ApiClient("http://region", "t", patience_s=0.1, transport=Bridge(client))

        monkeypatch.setattr(ApiClient, "local", local)

        async def run(*args: str) -> tuple[int, str]:
            code = await anyio.to_thread.run_sync(main.run, ["trial", *args])
            return code, capsys.readouterr().out

        code, text = await run("list")
        assert code == 0
        assert "shop-r1" in text and "release shop" in text and "nothing (A/A)" in text
        code, text = await run("show", "shop-r1")
        assert code == 0
        assert "start_failures" in text and "[50%]" in text and "canary against control" in text
        code, text = await run("show", "aa-even")
        assert "False alarms: 0 in 0 full turns (at most 5% of its turns may end in one)" in text
        code, text = await run("show", "shop-r1", "--json")
        assert json.loads(text)["trial"]["id"] == "shop-r1"
        code, text = await run("replay", "shop-r1")
        assert (code, "same to the bit" in text) == (0, True)
        code, text = await run("power", "api", "--metric", "start_failures", "--per-minute", "30", "--minutes", "20")
        assert code == 0 and "At 30 a minute" in text
        code, text = await run("stop", "shop-r1", "--because", "enough")
        assert code == 0 and "stopped by owner: enough" in text
        code, text = await run("show", "shop-r1", "--follow")
        assert code == 12 and "stopped by owner: enough" in text
        code, _ = await run("show", "nothing")
        assert code == 4
