"""Real nodes judge real plays: the leader killed and an api node killed in mid-trial, and every play counted once."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import pytest
from node_rig import Nodes, nodes, ports_of

from redqueen.catalogue.service import Catalogue
from redqueen.cli.client import read_credentials
from redqueen.clock import SystemClock
from redqueen.fleet.model import Role
from redqueen.roles.control import LEADER
from redqueen.store.drivers.sqlite import SqliteRecords
from redqueen.store.leases import Leases
from redqueen.store.ports import Records
from redqueen.testing.audience import Attendance, Audience
from redqueen.testing.viewer.fate import Habits
from redqueen.trials.following import ARMED
from redqueen.trials.ledger import Head, Judged, Ledger
from redqueen.trials.model import MetricPlan, Subject, Trial, TrialArm
from redqueen.trials.records import unpacked_look
from redqueen.trials.service import Trials

pytestmark = [pytest.mark.anyio, pytest.mark.region]
TRIAL = Trial(
    "no-change", Subject.NOTHING, "", "me", "a test", "no-change", "no-change", (TrialArm("same"),),
    (MetricPlan("start_failures"),), steps=(0.5,), horizon_s=3600.0,
)  # fmt: skip


async def until(condition: object, within_s: float = 60.0) -> None:
    """Wait until an asynchronous condition holds."""
    ends_at = time.monotonic() + within_s
    while not await condition():  # type: ignore[operator]
        assert time.monotonic() < ends_at, f"{condition} did not come true"
        await anyio.sleep(0.25)


async def counted(records: Records, head: Head) -> dict[str, float]:
    """Sum up the plays in all looks of a trial, by side."""
    sums = {"same": 0.0, "control": 0.0}
    async for entry in Ledger(records).log(head.trial.id, head.first, head.number):
        if isinstance(entry, Judged):
            units = unpacked_look(entry.looks["same"]).bins["start_failures"][..., 1].sum(axis=-1)
            sums["same"] += float(units[0])
            sums["control"] += float(units[1])
    return sums


async def started(found: Nodes) -> None:
    """Start a region of one gateway and two of what a trial depends on."""
    for zone, port in zip("ab", ports_of(found.registry_urls), strict=True):
        found.start(Role.REGISTRY, zone, port)
    for zone in "ab":
        found.start(Role.API, zone)
        found.start(Role.CONTROL, zone)
    found.start(Role.GATEWAY, "a")

    async def ready() -> bool:
        return all(found.is_ready(node) for node in found.running)

    await until(ready)


@pytest.mark.timeout(240)
async def test_every_play_is_counted_once_though_the_leader_and_an_api_node_are_killed(tmp_path: Path) -> None:
    clock = SystemClock()
    with nodes(tmp_path / "data") as found:
        await found.prepare()
        records = SqliteRecords.open(found.data_dir / "store.sqlite3", clock)
        title = (await Catalogue(records, clock).create("Film", size_bytes=1)).id
        await started(found)
        trials, leases = Trials(records, clock), Leases(records, clock)
        await trials.start(TRIAL)

        async def armed() -> bool:
            return await records.get(ARMED, TRIAL.id) is not None

        await until(armed)
        await anyio.sleep(7)
        token = read_credentials(found.data_dir).token
        audience = Audience(
            found.url,
            (title,),
            Attendance(viewers=200, starts_per_minute=360, paths=(), heartbeat_s=5.0),
            Habits(fails=0.05, watch_median_s=12.0, watch_most_s=14.0),
            headers={"Authorization": f"Bearer {token}"},
        )
        async with anyio.create_task_group() as group:
            group.start_soon(audience.run, 12.0)
            await anyio.sleep(5)
            leader = await leases.holder(LEADER)
            assert leader is not None
            found.kill(leader)
            await anyio.sleep(3)
            found.kill("api-b-1")
        ended_s = clock.now()

        async def judged() -> bool:
            return (await trials.get(TRIAL.id)).sessions_until > ended_s

        await until(judged, within_s=90)
        head = await trials.get(TRIAL.id)
        assert await leases.holder(LEADER) not in (None, leader)
        arms = [play.arms[TRIAL.id] for play in audience.tally.plays if TRIAL.id in play.arms]
        assert len(arms) > 40
        assert await counted(records, head) == {arm: float(arms.count(arm)) for arm in ("same", "control")}
        proof = await trials.replay(TRIAL.id)
        assert proof.same_life and proof.same_evidence
        assert (await trials.get("aa-even")).life.running
        await records.close()
