"""Whole lives of a queue on the virtual clock: workers crash at any await, stall, fail and come back."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

import anyio
import anyio.lowlevel
import pytest

from redqueen.errors import Conflict
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.jobs import Jobs
from redqueen.store.model import Job, JobLease
from redqueen.store.ports import Delete, Put, Record
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio
LEASE_S = 3.0


class Uneven(MemoryRecords):
    """Records that answer after a random number of turns, so that every interleaving comes up some time.

    A caller cancelled in the turns after a write has made it without learning so, as when a process is killed.
    """

    def __init__(self, clock: VirtualClock, chance: random.Random) -> None:
        super().__init__(clock)
        self._chance = chance

    async def get(self, partition: str, clustering: str) -> Record | None:
        found = await super().get(partition, clustering)
        await self._wait()
        return found

    async def batch(self, partition: str, changes: Sequence[Put | Delete]) -> bool:
        await self._wait()
        done = await super().batch(partition, changes)
        await self._wait()
        return done

    async def _wait(self) -> None:
        for _ in range(self._chance.randrange(4)):
            await anyio.lowlevel.checkpoint()


class Region:
    """Some workers on one queue, and what an onlooker learns of their leases."""

    def __init__(self, seed: int, workers: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - a test's dice, to be thrown again
        self.clock = VirtualClock()
        self.jobs = Jobs(Uneven(self.clock, self.chance), self.clock)
        self.owners = [f"worker-{number}" for number in range(workers)]
        self.lives: dict[str, anyio.CancelScope] = {}
        self.fences: dict[str, list[int]] = defaultdict(list)
        self.accepted: dict[str, list[bytes]] = defaultdict(list)
        self.lost = self.crashes = 0

    async def run(self, duration_s: float) -> None:
        async with anyio.create_task_group() as group:
            for owner in self.owners:
                group.start_soon(self.live_on, owner)
            group.start_soon(self.crash_somebody)
            await self.clock.run_for(duration_s, turns=100)
            group.cancel_scope.cancel()

    async def live_on(self, owner: str) -> None:
        while True:
            with anyio.CancelScope() as scope:
                self.lives[owner] = scope
                await self.work(owner)
            await self.clock.sleep(self.chance.choice([0.0, 0.5, 2 * LEASE_S]))

    async def crash_somebody(self) -> None:
        while True:
            await self.clock.sleep(self.chance.uniform(0.2, 4))
            for _ in range(self.chance.randrange(12)):
                await anyio.lowlevel.checkpoint()
            self.lives[self.chance.choice(self.owners)].cancel()
            self.crashes += 1

    async def work(self, owner: str) -> None:
        while True:
            lease = await self.jobs.claim("q", owner, LEASE_S)
            if lease is None:
                await self.clock.sleep(1.0)
                continue
            self.fences[lease.job.job_id].append(lease.fence)
            try:
                await self.work_on(lease)
            except Conflict as error:
                assert error.code == "job.lease_lost"
                self.lost += 1

    async def work_on(self, lease: JobLease) -> None:
        for _ in range(self.chance.randrange(4)):
            stalls = self.chance.random() < 0.1
            await self.clock.sleep(LEASE_S * (2.5 if stalls else 0.4))
            lease = await self.jobs.heartbeat(lease, LEASE_S)
        if self.chance.random() < 0.2:
            await self.jobs.fail(lease, "by chance", retry=True)
            return
        result = f"{lease.owner} under {lease.fence}".encode()
        await self.jobs.complete(lease, result)
        self.accepted[lease.job.job_id].append(result)


@pytest.mark.parametrize("seed", range(3))
async def test_every_job_is_done_once_whoever_dies(seed: int) -> None:
    region = Region(seed, workers=4)
    names = [f"job-{number:02d}" for number in range(15)]
    for name in names:
        await region.jobs.enqueue(Job("q", name, b"", priority=region.chance.randrange(3), max_attempts=1000))
    await region.run(120)
    assert region.crashes > 20
    for name in names:
        outcome = await region.jobs.outcome("q", name)
        assert outcome is not None, f"{name} was lost"
        assert outcome.ok
        # At most one completion was confirmed (its worker may have died before it heard), and it is the outcome.
        assert region.accepted[name] in ([], [outcome.result])
        assert region.fences[name] == sorted(set(region.fences[name]))
    assert await region.jobs.waiting("q", 100) == []
    assert await region.jobs.claim("q", "late", LEASE_S) is None


async def test_the_schedules_do_lose_leases() -> None:
    lost = 0
    for seed in range(2):
        region = Region(100 + seed, workers=3)
        for number in range(20):
            await region.jobs.enqueue(Job("q", f"{number}", b"", max_attempts=1000))
        await region.run(60)
        lost += region.lost
    assert lost > 0


@pytest.mark.parametrize("seed", range(2))
async def test_with_few_attempts_every_job_still_ends_with_a_reason(seed: int) -> None:
    region = Region(seed, workers=3)
    for number in range(12):
        await region.jobs.enqueue(Job("q", f"{number}", b"", max_attempts=2))
    await region.run(120)
    for number in range(12):
        outcome = await region.jobs.outcome("q", f"{number}")
        assert outcome is not None
        assert outcome.ok or outcome.because.startswith("given up after 2 of 2 attempts")
