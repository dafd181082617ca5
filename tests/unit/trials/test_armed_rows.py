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
    assert await rows.make({"a": armed("a"), "b": armed("b")}, 0.0)
    before = {row.clustering: row.version for row in await records.scan("trials/armed")}
    assert await rows.read() == (armed("a"), armed("b"))
    assert await rows.make({"a": armed("a", 200), "b": armed("b")}, 0.0)
    after = {row.clustering: row.version for row in await records.scan("trials/armed")}
    assert after["b"] == before["b"] and after["a"] != before["a"]
    await rows.read()
    assert await rows.make({"b": armed("b")}, 0.0)
    assert await rows.read() == (armed("b"),)


@pytest.mark.parametrize("late_wants", [{"a": armed("a", 100)}, {}], ids=["narrower", "gone"])
async def test_a_leader_that_read_before_its_successor_wrote_changes_nothing(late_wants: dict[str, Armed]) -> None:
    records = MemoryRecords(VirtualClock())
    late, successor = ArmedRows(records), ArmedRows(records)
    await late.read()
    await late.make({"a": armed("a", 50)}, 0.0)
    await late.read()
    await successor.read()
    assert await successor.make({"a": armed("a", 300)}, 0.0)
    assert not await late.make(late_wants, 0.0)
    assert await successor.read() == (armed("a", 300),)


async def test_a_leader_that_is_late_does_not_arm_again_what_was_disarmed() -> None:
    records = MemoryRecords(VirtualClock())
    late = ArmedRows(records)
    await late.make({"a": armed("a")}, 0.0)
    await late.read()
    await disarm(records, "a")
    assert not await late.make({"a": msgspec.structs.replace(armed("a"), layer="other")}, 0.0)
    assert await late.read() == ()


async def test_what_was_promoted_stays_until_it_is_disarmed_or_its_time_is_over() -> None:
    records = MemoryRecords(VirtualClock())
    rows = ArmedRows(records)
    staying = {name: msgspec.structs.replace(armed(name), stays_until_s=100.0) for name in ("a", "b")}
    assert await rows.make(staying, 10.0)
    await rows.read()
    assert await rows.make({}, 99.0)
    assert await rows.read() == tuple(staying.values())
    await disarm(records, "a")
    assert await rows.read() == (staying["b"],)
    assert await rows.make({}, 100.0)
    assert await rows.read() == ()
