"""What nodes assign by: written over what was read before, so that a late leader arms nothing."""

from __future__ import annotations

import msgspec
import pytest

from redqueen.store.drivers.memory import MemoryRecords
from redqueen.testing.clock import VirtualClock
from redqueen.trials.armed_rows import ArmedRows, disarm
from redqueen.trials.model import Armed, ArmedArm, Subject

pytestmark = pytest.mark.anyio


def armed(trial: str, last: int = 100) -> Armed:
    return Armed(trial, Subject.NOTHING, "", 1, "layer", 2, (ArmedArm("same", 0, last, treatment=True),))


async def test_rows_become_what_is_wanted_and_what_is_so_already_is_not_written() -> None:
    records = MemoryRecords(VirtualClock())
    rows = ArmedRows(records)
    assert await rows.read() == ()
    assert await rows.make({"a": armed("a"), "b": armed("b")})
    before = {row.clustering: row.version for row in await records.scan("trials/armed")}
    assert await rows.read() == (armed("a"), armed("b"))
    assert await rows.make({"a": armed("a", 200), "b": armed("b")})
    after = {row.clustering: row.version for row in await records.scan("trials/armed")}
    assert after["b"] == before["b"] and after["a"] != before["a"]
    await rows.read()
    assert await rows.make({"b": armed("b")})
    assert await rows.read() == (armed("b"),)


@pytest.mark.parametrize("late_wants", [{"a": armed("a", 100)}, {}], ids=["narrower", "gone"])
async def test_a_leader_that_read_before_its_successor_wrote_changes_nothing(late_wants: dict[str, Armed]) -> None:
    records = MemoryRecords(VirtualClock())
    late, successor = ArmedRows(records), ArmedRows(records)
    await late.read()
    await late.make({"a": armed("a", 50)})
    await late.read()
    await successor.read()
    assert await successor.make({"a": armed("a", 300)})
    assert not await late.make(late_wants)
    assert await successor.read() == (armed("a", 300),)


async def test_a_leader_that_is_late_does_not_arm_again_what_was_disarmed() -> None:
    records = MemoryRecords(VirtualClock())
    late = ArmedRows(records)
    await late.make({"a": armed("a")})
    await late.read()
    await disarm(records, "a")
    assert not await late.make({"a": msgspec.structs.replace(armed("a"), layer="other")})
    assert await late.read() == ()
