"""Logs of trials that ended long ago go, page by page; what came of the trials stays to be read."""

from __future__ import annotations

import pytest

from redqueen.errors import NotFound
from redqueen.store.ports import Delete
from redqueen.testing.trials import Rig, release
from redqueen.trials import forgetting
from redqueen.trials.forgetting import Forgetting, forgettable
from redqueen.trials.ledger import Head
from redqueen.trials.life import Life
from redqueen.trials.model import Status
from redqueen.trials.permanent import permanent

pytestmark = pytest.mark.anyio
ENDED = Head(release(), Life(status=Status.PROMOTED, ended_s=1000.0))


def test_only_a_trial_that_ended_long_ago_and_is_in_nobodys_use_is_forgotten() -> None:
    assert forgettable(ENDED, 1001.0, ())
    assert not forgettable(ENDED, 1000.0, ())
    assert not forgettable(ENDED, 1001.0, {"shop-r1"})
    for status in (Status.PLANNED, Status.RUNNING, Status.HELD):
        assert not forgettable(Head(release(), Life(status=status, ended_s=1.0)), 1e12, ())
    for trial in permanent():
        assert not forgettable(Head(trial, ENDED.life), 1e12, ())


async def ended(rig: Rig, name: str) -> None:
    await rig.trials.start(release(name, target=name))
    await rig.run(45)
    await rig.trials.stop(name, "enough", "me")


async def log_of(rig: Rig, name: str) -> int:
    return len(await rig.records.scan(f"trial/{name}", start="log/", end="log0"))


async def test_a_turn_is_bounded_and_another_leader_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "AT_ONCE", 3)
    monkeypatch.setattr("redqueen.trials.ledger._PAGE", 2)
    rig = Rig()
    await ended(rig, "shop-r1")
    before = await rig.trials.course("shop-r1")
    there = await log_of(rig, "shop-r1")
    assert there > 8
    await rig.trials.start(release("shop-r2", target="other", layer="other"))
    await rig.run(45)
    now = rig.clock.now() + 1
    assert await Forgetting(rig.records).turn(now, {"shop-r1"}) == 0
    assert await Forgetting(rig.records).turn(now) == 4, "two pages of two: it stops after the page that reached three"
    with pytest.raises(NotFound, match="are not kept any more"):
        await rig.trials.replay("shop-r1")
    for _ in range(there):
        await Forgetting(rig.records).turn(now)
    assert await log_of(rig, "shop-r1") == 0
    assert await log_of(rig, "shop-r2") > 8
    assert await rig.trials.course("shop-r1") == before
    assert (await rig.trials.replay("shop-r2")).same_evidence


async def test_every_trial_has_its_turn_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "_TRIALS", 2)
    rig = Rig()
    for number in range(1, 6):
        trial = release(f"shop-r{number}", target=f"s{number}", layer=f"l{number}")
        await rig.trials.start(trial)
        await rig.trials.stop(trial.id, "enough", "me")
        rig.clock.advance(10)
    walker, now = Forgetting(rig.records), rig.clock.now() + 1
    removed = [await walker.turn(now) for _ in range(3)]
    assert sum(removed) == 5 and removed[0] == 2
    assert await walker.turn(now) == 0


async def test_what_lost_its_head_is_passed_over() -> None:
    rig = Rig()
    await rig.trials.start(release())
    head = await rig.trials.get("shop-r1")
    await rig.records.delete("trial/shop-r1", Delete("head"))
    assert await Forgetting(rig.records).turn(head.trial.created_s + 10) == 0
