"""Trials kept in every driver of records: a number is taken once, what was written is read, the log has no gap."""

from __future__ import annotations

import anyio
import msgspec
import pytest

from redqueen.errors import Broken
from redqueen.store.ports import Delete, Records
from redqueen.testing.clock import VirtualClock
from redqueen.testing.trials import Rig, release
from redqueen.trials import ledger
from redqueen.trials.ledger import Begun, Head, Ledger, Passed
from redqueen.trials.life import Life
from redqueen.trials.model import Status
from redqueen.trials.records import Trace

pytestmark = pytest.mark.anyio


async def opened(records: Records) -> tuple[Ledger, Head]:
    kept, head = Ledger(records), Head(release(created_s=5.0))
    assert await kept.open(head)
    return kept, head


async def test_a_trial_is_opened_once_and_found_again(records: Records) -> None:
    kept, head = await opened(records)
    assert not await kept.open(head)
    await kept.open(Head(release("shop-r2", created_s=7.0)))
    assert await kept.head("shop-r1") == head
    assert await kept.head("none") is None
    assert await kept.running() == ["shop-r1", "shop-r2"]
    assert [one.trial.id for one in await kept.newest(10)] == ["shop-r2", "shop-r1"]
    assert [one.trial.id for one in await kept.newest(1)] == ["shop-r2"]


async def test_of_many_who_write_the_same_number_at_once_one_succeeds_and_all_it_wrote_stands(records: Records) -> None:
    kept, head = await opened(records)
    done: list[int] = []

    async def write(who: int) -> None:
        mine = msgspec.structs.replace(head, number=1, life=Life(because=f"writer {who}"))
        if await kept.write(mine, Begun(float(who)), f"evidence {who}".encode(), Trace(every_s=float(who))):
            done.append(who)

    async with anyio.create_task_group() as group:
        for who in range(8):
            group.start_soon(write, who)
    (who,) = done
    found = await kept.load("shop-r1")
    assert found is not None
    assert (found.head.life.because, found.evidence) == (f"writer {who}", f"evidence {who}".encode())
    assert found.trace.every_s == who
    assert [entry async for entry in kept.log("shop-r1", 1, 1)] == [Begun(float(who))]


async def test_a_log_is_read_in_order_over_pages_and_a_missing_entry_is_told(records: Records) -> None:
    kept, head = await opened(records)
    for number in range(1, 412):
        assert await kept.write(msgspec.structs.replace(head, number=number), Passed(float(number)))
    found = [entry.at_s async for entry in kept.log("shop-r1", 3, 411)]
    assert found == [float(number) for number in range(3, 412)]
    await records.delete("trial/shop-r1", Delete("log/0000000300"))
    with pytest.raises(Broken, match="gaps"):
        [entry async for entry in kept.log("shop-r1", 1, 411)]


async def test_an_ended_trial_that_is_retired_runs_no_more_and_stays_to_be_read(records: Records) -> None:
    kept, head = await opened(records)
    over = msgspec.structs.replace(head, number=1, life=Life(status=Status.STOPPED))
    assert await kept.write(over, Passed(1.0))
    # The leader retires it when nodes know of its end.
    assert await kept.running() == ["shop-r1"]
    for _ in range(2):
        await kept.retire("shop-r1")
        assert await kept.running() == []
    assert await kept.head("shop-r1") == over


async def test_earlier_turns_go_page_by_page_and_no_number_that_a_late_leader_may_hold_is_free_again(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LEFT_BEHIND", 10)
    kept, head = await opened(records)
    for number in range(1, 61):
        await kept.write(msgspec.structs.replace(head, number=number), Passed(float(number)))
    later = msgspec.structs.replace(head, number=60, first=56)
    assert await kept.prune(later) == 49
    assert await kept.prune(later) == 0
    assert len([entry async for entry in kept.log("shop-r1", 50, 60)]) == 11
    assert not await kept.write(msgspec.structs.replace(head, number=51), Passed(0.0))


async def test_a_trial_runs_and_is_proven_over_this_driver(records: Records, clock: VirtualClock) -> None:
    rig = Rig(records, clock)
    await rig.trials.start(release())
    await rig.run(33)
    rig.trials = rig.leader()
    await rig.run(7)
    head = await rig.trials.get("shop-r1")
    assert head.looks >= 8
    found = await rig.trials.replay("shop-r1")
    assert found.same_life and found.same_evidence
