"""Nodes follow the armed trials and keep the last ones when the store does not answer."""

from __future__ import annotations

import anyio
import msgspec
import pytest

from redqueen.errors import Unavailable
from redqueen.events import Event, LoopFailed
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.ports import Delete, Put, Record
from redqueen.telemetry.ports import AssignedViewer
from redqueen.testing.clock import VirtualClock
from redqueen.trials.following import ARMED, ArmedTrials, NodeAssignment
from redqueen.trials.model import Armed, ArmedArm, Subject

pytestmark = pytest.mark.anyio


class Failing(MemoryRecords):
    """Records that can be told to refuse reading."""

    refusing = False

    async def scan(
        self, partition: str, *, start: str = "", end: str | None = None, limit: int = 1000, reverse: bool = False
    ) -> list[Record]:
        if self.refusing:
            raise Unavailable("store.busy", "The store does not answer")
        return await super().scan(partition, start=start, end=end, limit=limit, reverse=reverse)


def armed(trial: str, last: int = 1000) -> Armed:
    return Armed(trial, Subject.NOTHING, "", 1, "layer", 2, (ArmedArm("treatment", 0, last, treatment=True),))


async def put(records: MemoryRecords, one: Armed) -> None:
    await records.put(ARMED, Put(one.trial, msgspec.json.encode(one)))


async def test_what_is_armed_is_seen_within_a_second_and_told_once() -> None:
    clock = VirtualClock()
    records = Failing(clock)
    told: list[int] = []
    trials = ArmedTrials(records, clock, changed=lambda: told.append(len(trials.armed)))
    async with anyio.create_task_group() as group:
        group.start_soon(trials.follow)
        await clock.run_for(5)
        await put(records, armed("a"))
        await clock.run_for(5)
        assert trials.armed == (armed("a"),)
        kept = trials.armed
        await clock.run_for(5)
        assert trials.armed is kept
        await put(records, armed("a", 2000))
        await clock.run_for(1)
        assert trials.armed == (armed("a", 2000),)
        await records.delete(ARMED, Delete("a"))
        await clock.run_for(1)
        assert trials.armed == ()
        group.cancel_scope.cancel()
    assert told == [0, 1, 1, 0]


async def test_while_the_store_does_not_answer_the_last_ones_stand_and_it_is_logged_once() -> None:
    clock = VirtualClock()
    records = Failing(clock)
    events: list[Event] = []
    trials = ArmedTrials(records, clock, events.append)
    await put(records, armed("a"))
    async with anyio.create_task_group() as group:
        group.start_soon(trials.follow)
        await clock.run_for(2)
        records.refusing = True
        await clock.run_for(10)
        assert trials.armed == (armed("a"),)
        records.refusing = False
        await put(records, armed("b"))
        await clock.run_for(2)
        assert len(trials.armed) == 2
        group.cancel_scope.cancel()
    assert [type(event) for event in events] == [LoopFailed]


async def test_an_api_node_assigns_releases_and_a_a_trials_as_last_read_and_leaves_flags_to_who_reads_them() -> None:
    clock = VirtualClock()
    records = Failing(clock)
    trials = ArmedTrials(records, clock)
    assignment = NodeAssignment(trials)
    viewer = AssignedViewer(7, "tv", "a")
    assert assignment.arms(viewer) == {}
    everybody = armed("aa", 1 << 20)
    await put(records, everybody)
    await put(records, msgspec.structs.replace(everybody, trial="flag", subject=Subject.FLAG))
    await put(records, msgspec.structs.replace(everybody, trial="shop-r1", subject=Subject.RELEASE))
    assert await trials.read() and not await trials.read()
    assert assignment.arms(viewer) == {"aa": "treatment", "shop-r1": "treatment"}
    await records.delete(ARMED, Delete("shop-r1"))
    await trials.read()
    assert assignment.arms(viewer) == {"aa": "treatment"}
