"""What a leader lease promises over every records driver."""

from __future__ import annotations

import anyio
import pytest

from redqueen.errors import Broken, Conflict, InvalidInput
from redqueen.store.leases import Leases
from redqueen.store.model import Lease
from redqueen.store.ports import Put, Records
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def leases(records: Records, clock: VirtualClock) -> Leases:
    return Leases(records, clock)


async def _acquired(leases: Leases, holder: str, ttl_s: float = 5) -> Lease:
    lease = await leases.acquire("leader", holder, ttl_s)
    assert lease is not None
    return lease


async def test_only_one_holds_a_name(leases: Leases, clock: VirtualClock) -> None:
    lease = await _acquired(leases, "a")
    assert (lease.holder, lease.fence, lease.until) == ("a", 1, clock.now() + 5)
    assert await leases.acquire("leader", "b", 5) is None
    assert await leases.acquire("another", "b", 5) is not None


async def test_a_lease_that_ran_out_is_taken_with_a_greater_fence(leases: Leases, clock: VirtualClock) -> None:
    first = await _acquired(leases, "a")
    clock.advance(4.9)
    assert await leases.acquire("leader", "b", 5) is None
    clock.advance(0.1)
    second = await _acquired(leases, "b")
    assert second.fence > first.fence
    with pytest.raises(Conflict) as lost:
        await leases.renew(first, 5)
    assert lost.value.code == "lease.lost"


async def test_renewing_keeps_the_fence_and_moves_the_end(leases: Leases, clock: VirtualClock) -> None:
    lease = await _acquired(leases, "a")
    clock.advance(4)
    renewed = await leases.renew(lease, 5)
    assert (renewed.fence, renewed.until) == (lease.fence, clock.now() + 5)
    clock.advance(4)
    assert await leases.acquire("leader", "b", 5) is None
    await leases.renew(lease, 5)  # an older copy of the same lease is still the same lease


async def test_a_lease_that_ran_out_but_was_not_taken_can_be_renewed(leases: Leases, clock: VirtualClock) -> None:
    lease = await _acquired(leases, "a")
    clock.advance(60)
    assert (await leases.renew(lease, 5)).until == clock.now() + 5


async def test_a_released_lease_is_free_at_once_and_its_fence_still_grows(leases: Leases) -> None:
    first = await _acquired(leases, "a")
    await leases.release(first)
    second = await _acquired(leases, "b")
    assert second.fence > first.fence
    await leases.release(first)  # too late, and no error: it is b's now
    assert await leases.acquire("leader", "c", 5) is None


async def test_a_restarted_holder_takes_its_lease_back_and_its_former_life_loses_it(leases: Leases) -> None:
    first = await _acquired(leases, "a")
    second = await _acquired(leases, "a")
    assert second.fence > first.fence
    with pytest.raises(Conflict):
        await leases.renew(first, 5)
    await leases.renew(second, 5)


async def test_of_many_that_ask_at_once_one_gets_it(leases: Leases) -> None:
    got: list[Lease | None] = []

    async def ask(holder: str) -> None:
        got.append(await leases.acquire("leader", holder, 5))

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(ask, f"node-{number}")
    assert len([lease for lease in got if lease]) == 1


async def test_a_lease_without_a_holder_or_time_is_refused(leases: Leases) -> None:
    for holder, ttl_s in (("", 5.0), ("a", 0.0), ("a", -1.0), ("a", float("nan"))):
        with pytest.raises(InvalidInput):
            await leases.acquire("leader", holder, ttl_s)


async def test_a_row_that_is_no_lease_is_reported(leases: Leases, records: Records) -> None:
    await records.put("leases", Put("leader", b"garbage"))
    with pytest.raises(Broken):
        await leases.acquire("leader", "a", 5)


async def test_who_holds_a_name_can_be_asked(leases: Leases, clock: VirtualClock) -> None:
    assert await leases.holder("leader") is None
    lease = await _acquired(leases, "a")
    assert await leases.holder("leader") == "a"
    clock.advance(5)
    assert await leases.holder("leader") is None
    lease = await leases.renew(lease, 5)
    await leases.release(lease)
    assert await leases.holder("leader") is None
