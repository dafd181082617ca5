"""Which artifacts stay: rules, and schedules of makers and leaders in which nothing that is needed may go."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from obstore.store import MemoryStore

from redqueen.delivery import keeping
from redqueen.delivery.archive import Archive
from redqueen.delivery.artifacts import ASKED, ASKED_S, Artifacts, key
from redqueen.delivery.groups import build_of
from redqueen.delivery.keeping import Keeping, remembered, running
from redqueen.delivery.manifest import Manifest
from redqueen.delivery.model import Artifact, Build, Phase, Release, ReleaseRecord, State
from redqueen.errors import NotFound, Unavailable
from redqueen.fleet.declared import Wish, Wishes
from redqueen.fleet.model import Edition
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.store.ports import Put
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio
SHOP = Manifest("shop", "me", ("x",))


def digest(number: int) -> str:
    return f"{number:064x}"


def build(number: int) -> Build:
    return build_of(SHOP, f"r{number}", f"/data/releases/{digest(number)}")


def release(number: int, phase: Phase = Phase.ROLLED_BACK, *, settled: bool = True, over: int = 0) -> ReleaseRecord:
    """Give release `number`, shipped over the version `over`."""
    artifact = Artifact(digest(number), 1, 1, 1)
    shipped = Release("shop", number, artifact, SHOP, build(number), "me", 1.0)
    return ReleaseRecord(shipped, State(phase=phase, previous=build(over) if over else None, settled=settled))


def numbers(digests: set[str]) -> list[int]:
    return sorted(int(one, 16) for one in digests)


def test_the_newest_releases_stay_with_the_versions_that_they_replaced() -> None:
    assert numbers(remembered([release(9, over=2), release(8, over=2), release(7, over=1)], 2)) == [2, 8, 9]


def test_what_serves_and_what_a_rollback_goes_to_stay_however_many_bad_versions_came_since() -> None:
    promoted = [release(3, Phase.PROMOTED, over=2), release(2, Phase.PROMOTED, over=1)]
    assert numbers(remembered([release(9), release(8), *promoted], 1)) == [2, 3, 9]


@pytest.mark.parametrize(
    ("phase", "settled"), [(Phase.TRYING, False), (Phase.QUEUED, False), (Phase.ROLLED_BACK, False)]
)
def test_what_is_not_over_stays_however_old(phase: Phase, settled: bool) -> None:
    assert numbers(remembered([release(9), release(4, phase, settled=settled, over=3)], 1)) == [3, 4, 9]


def test_what_the_fleet_is_asked_to_run_stays_whoever_asked() -> None:
    file = build(5).file
    assert file is not None
    wishes = Wishes((Wish(file),), (), (("api", Edition("r1", web=f"/d/releases/{digest(6)}/dist")),))
    assert numbers(running([], wishes)) == [5, 6]


class Region:
    """Artifacts, releases and wishes over doubles of the stores; makers and leaders act on it in any order."""

    def __init__(self, newest: int = 3, scratch: Path = Path("/nowhere")) -> None:
        self.clock = VirtualClock()
        self.records = MemoryRecords(self.clock)
        self.objects = ObstoreObjects(MemoryStore(), scratch=scratch)
        self.artifacts = Artifacts(self.objects, self.records)
        self.archive = Archive(self.records)
        self.newest = newest
        self.serving: list[int] = []
        self.refused: set[int] = set()
        """What a rollback would go to that was not kept: it is refused by name, see the service's tests."""

    def leader(self) -> Keeping:
        return Keeping(self.records, self.artifacts, self.wishes, self.newest)

    async def wishes(self) -> Wishes:
        file = build(self.serving[-1]).file if self.serving else None
        return Wishes((Wish(file),) if file else ())

    async def send(self, number: int) -> None:
        """Do what `Artifacts.keep` does, without a packed file."""
        await self.artifacts._ask(digest(number))
        await self.objects.put(key(digest(number)), b"x")

    async def ship(self, number: int, phase: Phase = Phase.ROLLED_BACK, *, settled: bool = True) -> None:
        over = self.serving[-1] if self.serving else 0
        state = release(number, phase, settled=settled, over=over).state

        def made(at: int) -> Release:
            return msgspec.structs.replace(release(number).release, number=at)

        kept = await self.archive.add("shop", made, State())
        await self.archive.move(kept, state)  # which takes the mark of what is settled
        if phase is Phase.PROMOTED:
            self.serving.append(number)

    async def there(self) -> list[int]:
        return numbers(set(await self.artifacts.all()))


async def test_what_nobody_needs_goes_after_a_day_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "AT_ONCE", 2)
    region = Region(newest=2)
    for number in range(1, 8):
        await region.send(number)
        await region.ship(number, Phase.PROMOTED if number == 2 else Phase.ROLLED_BACK)
    await region.send(20)
    for other in ("artifacts/readme.txt", "artifacts/" + digest(1)[:-1] + "G.tar", "media/" + digest(1) + ".tar"):
        await region.objects.put(other, b"x")
    assert await region.leader().turn() == [], "what was sent within a day stays"
    region.clock.advance(ASKED_S + 1)
    assert await region.leader().turn() == [digest(1), digest(3)]
    await region.leader().turn()
    await region.leader().turn()
    assert await region.there() == [2, 6, 7]
    assert len([one async for one in region.objects.list("")]) == 6, "other objects are none of its business"


async def test_what_runs_stays_though_no_release_of_it_is_known() -> None:
    region = Region()
    await region.send(5)
    region.serving.append(5)
    region.clock.advance(ASKED_S + 1)
    assert await region.leader().turn() == []
    region.serving.clear()
    assert await region.leader().turn() == [digest(5)]


async def test_whoever_asks_for_an_artifact_keeps_it_for_a_day(tmp_path: Path) -> None:
    region = Region(scratch=tmp_path)
    await region.send(1)
    region.clock.advance(ASKED_S + 1)
    with pytest.raises(Exception, match="artifact"):
        await region.artifacts.find(digest(1))  # it is no real one, but it was asked for
    assert await region.leader().turn() == []
    region.clock.advance(ASKED_S + 1)
    assert await region.leader().turn() == [digest(1)]


async def test_while_one_is_removed_nobody_is_given_it_and_a_removal_that_died_is_passed_over() -> None:
    region = Region()
    await region.records.put(ASKED, Put(digest(1), b"going", ttl_s=60))
    with pytest.raises(Unavailable, match="being removed"):
        await region.artifacts.find(digest(1))
    region.clock.advance(61)
    with pytest.raises(NotFound):
        await region.artifacts.find(digest(1))
    with pytest.raises(NotFound):
        await region.artifacts.find("../../etc/passwd")


class Killed(Exception):
    """The leader died here."""


@pytest.mark.parametrize("seed", range(12))
async def test_in_no_schedule_does_anything_go_that_is_needed(seed: int) -> None:
    luck, region, sent = random.Random(seed), Region(newest=2), dict[int, float]()  # noqa: S311 - a test's dice
    held: int | None = None
    for number in range(1, 60):
        act = luck.choice(["send", "ship", "promote", "wait", "turn", "killed turn", "hold", "roll back"])
        if act == "send":
            await region.send(number)
            sent[number] = region.clock.now()
        elif act in ("ship", "promote") and sent:
            again = luck.choice(list(sent))
            if again not in await region.there():
                await region.send(again)
            sent[again] = region.clock.now()
            await region.artifacts._ask(digest(again))
            await region.ship(again, Phase.PROMOTED if act == "promote" else Phase.FAILED)
        elif act == "hold" and held is None and sent:
            held = luck.choice([one for one in sent if one in await region.there()] or [0]) or None
            if held is not None:
                await region.artifacts._ask(digest(held))
                sent[held] = region.clock.now()
                await region.ship(held, Phase.TRYING, settled=False)
        elif act == "roll back" and len(region.serving) > 1:
            newest = (await region.archive.newest("shop"))[0]
            if newest.record.state.phase is Phase.PROMOTED:
                undone = msgspec.structs.replace(newest.record.state, phase=Phase.ROLLED_BACK, settled=True)
                await region.archive.move(newest, undone)
                region.serving.pop()
                region.refused |= await needed(region) - set(await region.there())
        elif act == "wait":
            region.clock.advance(luck.choice([60.0, 3600.0, 50_000.0, 200_000.0]))
        elif act == "killed turn":
            await killed_turn(region, luck)
        else:
            await region.leader().turn()
        await check(region, sent)


async def killed_turn(region: Region, luck: random.Random) -> None:
    """Let a leader die just before or just after it removes an object."""
    real, late = region.objects.delete, luck.random() < 0.5

    async def dying(one: str) -> None:
        if late:
            await real(one)
        raise Killed

    region.objects.delete = dying  # type: ignore[method-assign]
    try:
        await region.leader().turn()
    except Killed:
        region.clock.advance(61.0)  # the claim stands in the way for a minute, and no longer
    finally:
        region.objects.delete = real  # type: ignore[method-assign]


async def needed(region: Region) -> set[int]:
    records = [kept.record for kept in await region.archive.newest("shop")]
    return set(numbers(remembered(records, region.newest))) | set(region.serving[-1:])


async def check(region: Region, sent: dict[int, float]) -> None:
    there = set(await region.there())
    young = {number for number, at in sent.items() if region.clock.now() < at + ASKED_S}
    assert (await needed(region) - region.refused) | young <= there
