"""Leaders killed between any two writes, two at once, one that wakes up late: nothing lost, nothing doubled."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import msgspec
import pytest

from redqueen.errors import RedQueenError, Unavailable
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.ports import Delete, Put, Record
from redqueen.testing.clock import VirtualClock
from redqueen.testing.trials import Rig, harmed, release
from redqueen.trials import stretches
from redqueen.trials.following import ARMED
from redqueen.trials.ledger import Head, Judged, Ledger
from redqueen.trials.model import Armed, Status
from redqueen.trials.records import unpacked_look
from redqueen.trials.service import Trials

pytestmark = pytest.mark.anyio


class Killed(BaseException):
    """The process is gone; no handler of the product's may see it as a failure."""


class Deadly(MemoryRecords):
    """Records in which the writer dies before, or just after, its n-th write."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.left: int | None = None
        self.after = False

    async def batch(self, partition: str, changes: Sequence[Put | Delete]) -> bool:
        if self.left is None:
            return await super().batch(partition, changes)
        self.left -= 1
        if self.left < 0 and not self.after:
            raise Killed
        done = await super().batch(partition, changes)
        if self.left < 0:
            raise Killed
        return done


class DeadlyVerdict(MemoryRecords):
    """Records in which the leader dies once, between its verdict and the row by which viewers stay."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.died = False

    async def put(self, partition: str, change: Put) -> Record | None:
        if partition == ARMED and not self.died and msgspec.json.decode(change.value, type=Armed).stays_until_s:
            self.died = True
            raise Killed
        return await super().put(partition, change)


async def assert_each_session_counted_once(rig: Rig, head: Head) -> None:
    """Compare what the judged looks hold with what viewers really did in the seconds that they are of."""
    counted = {"canary": 0.0, "control": 0.0}
    async for entry in Ledger(rig.records).log(head.trial.id, head.first, head.number):
        if isinstance(entry, Judged):
            look = unpacked_look(entry.looks["canary"])
            units = look.bins["start_failures"][..., 1].sum(axis=-1)
            counted["canary"] += float(units[0])
            counted["control"] += float(units[1])
    seconds: set[int] = set()
    for at, stretch in enumerate(head.life.stretches):
        later = head.life.stretches[at + 1 :]
        end = min(int(later[0].from_s) if later else head.sessions_until, head.sessions_until)
        seconds |= set(range(stretches.settled(stretch), end))
    played = {"canary": 0, "control": 0}
    for second in seconds:
        for _, row in rig.nodes.rows.get(second, ()):
            if (arm := row.arms.get(head.trial.id)) is not None:
                played[arm] += 1
    assert counted == played
    assert min(played.values()) > 50
    found = await rig.trials.replay(head.trial.id)
    assert found.same_life and found.same_evidence


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("offset", [0, 1])
async def test_a_leader_killed_at_any_of_its_writes_loses_nothing_and_counts_nothing_twice(
    after: bool, offset: int
) -> None:
    clock = VirtualClock()
    records = Deadly(clock)
    records.after = after
    rig = Rig(records, clock)
    await rig.trials.start(release(steps=(0.3, 0.4, 0.5), step_s=12.0))
    kills = 0
    for turn in range(90):
        # Each turn makes one to a few writes; dying at the n-th, n going round, meets every gap between two.
        records.left = turn // 2 % 3 if (turn + offset) % 2 else None
        try:
            await rig.second()
        except* Killed:
            kills += 1
            rig.trials = rig.leader()
        finally:
            records.left = None
    assert kills > 8
    head = await rig.trials.get("shop-r1")
    assert len(head.life.stretches) == 3
    await assert_each_session_counted_once(rig, head)
    assert head.sessions_until > clock.now() - 40
    await rig.second()
    await rig.armed.read()
    (armed,) = (one for one in rig.armed.armed if one.trial == "shop-r1")
    assert sum(arm.last - arm.first for arm in armed.arms if arm.treatment) == (1 << 20) // 2


async def test_a_leader_who_dies_between_its_verdict_and_the_row_sends_no_viewer_back() -> None:
    clock = VirtualClock()
    records = DeadlyVerdict(clock)
    rig = Rig(records, clock)
    rig.per_second, began = 50, clock.now()
    await rig.trials.start(release(step_s=20.0))
    while not records.died:
        assert clock.now() < 1300 + began
        try:
            await rig.second()
        except* Killed:
            rig.trials = rig.leader()
    assert (await rig.trials.get("shop-r1")).life.status is Status.PROMOTED
    await rig.armed.read()
    before = {one.trial: one.arms for one in rig.armed.armed}
    for _ in range(5):
        await rig.second()
        await rig.armed.read()
        assert {one.trial: one.arms for one in rig.armed.armed} == before
    assert "shop-r1" not in await Ledger(records).running()


async def test_two_leaders_who_both_believe_to_lead_count_nothing_twice() -> None:
    rig = Rig()
    other = rig.leader()
    await rig.trials.start(release(steps=(0.3, 0.5), step_s=15.0))

    async def quiet(trials: Trials) -> None:
        try:
            await trials.turn()
        except RedQueenError:
            return  # a loop's turn that fails is tried again

    for _ in range(80):
        await rig.armed.read()
        rig.play()
        rig.clock.advance(1.0)
        async with anyio.create_task_group() as group:
            group.start_soon(quiet, rig.trials)
            group.start_soon(quiet, other)
    await assert_each_session_counted_once(rig, await rig.trials.get("shop-r1"))


class Slow(MemoryRecords):
    """Records in which one batch can be made to wait: a leader that hangs in the middle of a turn."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.gate: anyio.Event | None = None
        self.waiting = anyio.Event()

    async def batch(self, partition: str, changes: Sequence[Put | Delete]) -> bool:
        if self.gate is not None and partition.startswith(("trial/shop", "trials/armed")):
            gate, self.gate = self.gate, None
            self.waiting.set()
            await gate.wait()
        return await super().batch(partition, changes)


@pytest.mark.parametrize("hangs_at", range(4))
async def test_a_leader_that_wakes_up_after_its_successor_ended_the_trial_changes_nothing(hangs_at: int) -> None:
    clock = VirtualClock()
    records = Slow(clock)
    rig = Rig(records, clock)
    await rig.trials.start(release())
    await rig.run(32 + hangs_at)
    late, rig.trials = rig.trials, rig.leader()
    rig.fails = harmed("canary", 0.5)
    async with anyio.create_task_group() as group:
        gate = records.gate = anyio.Event()
        rig.play()
        clock.advance(1.0)
        group.start_soon(late.turn)
        await records.waiting.wait()
        while not (await rig.trials.get("shop-r1")).life.status.ended:
            await rig.second()
        before = await records.scan("trial/shop-r1")
        gate.set()
    assert await records.scan("trial/shop-r1") == before
    assert await records.get("trials/armed", "shop-r1") is None
    await assert_same(rig)


async def assert_same(rig: Rig) -> None:
    """Hold that the trial can be proven."""
    found = await rig.trials.replay("shop-r1")
    assert found.same_life and found.same_evidence


class Refusing(MemoryRecords):
    """Records that do not answer for a while."""

    refusing = False

    async def get(self, partition: str, clustering: str) -> Record | None:
        if self.refusing:
            raise Unavailable("store.busy", "The store does not answer")
        return await super().get(partition, clustering)


async def test_a_store_that_does_not_answer_costs_time_and_nothing_else() -> None:
    clock = VirtualClock()
    records = Refusing(clock)
    rig = Rig(records, clock)
    await rig.trials.start(release())
    await rig.run(40)
    for _ in range(15):
        records.refusing = True
        rig.play()
        clock.advance(1.0)
        with pytest.raises(Unavailable):
            await rig.trials.turn()
    records.refusing = False
    await rig.run(30)
    await rig.armed.read()
    assert "shop-r1" in {one.trial for one in rig.armed.armed}
    await assert_each_session_counted_once(rig, await rig.trials.get("shop-r1"))
