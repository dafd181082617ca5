"""An audience by country through a whole api node: by an edge's header and by address, never by what a player says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
import msgspec
import pytest
from api_region import OPERATOR, REGION_SECRET, build
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from redqueen import viewers
from redqueen.api.app import create_app
from redqueen.api.countries import Countries, Database
from redqueen.events import discard
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.ports import Put
from redqueen.telemetry.grants import opened, secret_of
from redqueen.testing.clock import VirtualClock
from redqueen.trials.arming import armed
from redqueen.trials.following import ARMED
from redqueen.trials.model import Audience, MetricPlan, Subject, Trial, TrialArm

pytestmark = pytest.mark.anyio
RUNG = "player.start_rung"


async def test_only_viewers_of_the_country_are_in_its_trial(tmp_path: Path) -> None:
    clock = VirtualClock()
    writer = MMDBWriter()
    writer.insert_network(IPSet(["198.51.100.0/24"]), {"country": {"iso_code": "DE"}})
    writer.to_db_file(str(tmp_path / "c.mmdb"))
    region = build(tmp_path, MemoryRecords(clock), clock)
    countries = Countries("CF-IPCountry", Database(tmp_path / "c.mmdb", clock, discard))
    services = replace(region.services, countries=countries)
    await services.accounts.ensure_owner()
    await services.accounts.ensure_operator_token(OPERATOR)
    await services.flags.flags.ensure_own()
    arms = (TrialArm("low", variant="low"),)
    trial = Trial("t-low", Subject.FLAG, RUNG, "me", "", "s", "l", arms, (MetricPlan("starts"),))
    row = armed(replace_audience(trial, Audience(countries=("DE",))), 0.5)
    await region.records.put(ARMED, Put(row.trial, msgspec.json.encode(row)))
    await services.armed.read()
    clock.advance(1)
    title = await services.catalogue.create("A film", size_bytes=1)
    secret = await services.accounts.viewers.secret()
    transport = httpx.ASGITransport(create_app(services))
    async with services.telemetry.opened(), httpx.AsyncClient(transport=transport, base_url="http://tv") as client:
        for told, address, country in (
            ("DE", "203.0.113.1", "DE"),
            ("FR", "198.51.100.7", "FR"),
            ("", "198.51.100.7", "DE"),
            ("", "203.0.113.1", ""),
            ("", "198.51.100.7, 203.0.113.1", ""),  # what a client writes before the gateway's own word
        ):
            cookie = f"{viewers.COOKIE}={viewers.mint(secret, 7)}"
            headers = {"cookie": cookie, "cf-ipcountry": told, "x-forwarded-for": address}
            forged = {"context": {"country": "DE"}}
            flag = (await client.post(f"/ofrep/v1/evaluate/flags/{RUNG}", json=forged, headers=headers)).json()
            assert (flag["reason"] == "SPLIT") == (country == "DE"), (told, address, flag)
            headers["authorization"] = f"Bearer {OPERATOR}"
            answer = await client.post(f"/api/v1/titles/{title.id}/sessions", json={}, headers=headers)
            grant = opened(secret_of(REGION_SECRET), answer.json()["token"])
            assert grant is not None and grant.country == country
            assert ("t-low" in grant.arms) == (country == "DE")


def replace_audience(trial: Trial, audience: Audience) -> Trial:
    """Return the trial for an audience."""
    return msgspec.structs.replace(trial, audience=audience)
