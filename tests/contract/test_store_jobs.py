"""What a queue of leased jobs promises over every records driver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio
import pytest

from redqueen.errors import Broken, Conflict, InvalidInput
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.jobs import Jobs
from redqueen.store.model import Job, JobLease
from redqueen.store.ports import Delete, Put, Records
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def jobs(records: Records, clock: VirtualClock) -> Jobs:
    return Jobs(records, clock)


async def _claimed(jobs: Jobs, owner: str = "w1", lease_s: float = 5) -> JobLease:
    lease = await jobs.claim("encode", owner, lease_s)
    assert lease is not None
    return lease


async def _lost(jobs: Jobs, lease: JobLease) -> None:
    for attempt in (
        lambda: jobs.heartbeat(lease, 5),
        lambda: jobs.complete(lease, b"late"),
        lambda: jobs.fail(lease, "late", True),
        lambda: jobs.fail(lease, "late", False),
    ):
        with pytest.raises(Conflict) as refused:
            await attempt()
        assert refused.value.code == "job.lease_lost"


async def test_a_job_is_claimed_and_its_result_kept(jobs: Jobs, clock: VirtualClock) -> None:
    job = Job("encode", "t1/chunk-1", b"payload", priority=7)
    assert await jobs.enqueue(job)
    lease = await _claimed(jobs)
    assert (lease.job, lease.owner, lease.attempt, lease.until) == (job, "w1", 1, clock.now() + 5)
    assert await jobs.outcome("encode", "t1/chunk-1") is None
    await jobs.complete(lease, b"result")
    outcome = await jobs.outcome("encode", "t1/chunk-1")
    assert outcome
    assert (outcome.ok, outcome.result, outcome.because) == (True, b"result", "")
    assert await jobs.claim("encode", "w1", 5) is None


async def test_a_known_job_is_not_queued_again(jobs: Jobs) -> None:
    job = Job("encode", "j", b"1")
    assert await jobs.enqueue(job)
    assert not await jobs.enqueue(job)
    assert not await jobs.enqueue(Job("encode", "j", b"2", priority=1))
    lease = await _claimed(jobs)
    assert not await jobs.enqueue(job)
    await jobs.complete(lease, b"")
    assert not await jobs.enqueue(job)
    assert await jobs.enqueue(Job("package", "j", b"1"))


async def test_smaller_priorities_go_first_and_equal_ones_by_id(jobs: Jobs) -> None:
    for priority, job_id in ((100, "b"), (9, "z"), (100, "a"), (20, "y"), (0, "x")):
        await jobs.enqueue(Job("encode", job_id, b"", priority=priority))
    assert [job.job_id for job in await jobs.waiting("encode", 10)] == ["x", "z", "y", "a", "b"]
    assert [job.job_id for job in await jobs.waiting("encode", 2)] == ["x", "z"]
    assert [(await _claimed(jobs, f"w{n}")).job.job_id for n in range(5)] == ["x", "z", "y", "a", "b"]
    assert await jobs.waiting("encode", 10) == []


async def test_a_leased_job_is_nobody_elses_until_the_lease_runs_out(jobs: Jobs, clock: VirtualClock) -> None:
    await jobs.enqueue(Job("encode", "j", b""))
    first = await _claimed(jobs, "w1")
    clock.advance(4.9)
    assert await jobs.claim("encode", "w2", 5) is None
    clock.advance(0.1)
    assert [job.job_id for job in await jobs.waiting("encode", 10)] == ["j"]
    second = await _claimed(jobs, "w2")
    assert second.fence > first.fence
    assert second.attempt == 2
    await _lost(jobs, first)
    await jobs.complete(second, b"second")
    await _lost(jobs, first)
    outcome = await jobs.outcome("encode", "j")
    assert outcome
    assert outcome.result == b"second"


async def test_a_heartbeat_keeps_the_lease(jobs: Jobs, clock: VirtualClock) -> None:
    await jobs.enqueue(Job("encode", "j", b""))
    lease = await _claimed(jobs)
    clock.advance(4)
    kept = await jobs.heartbeat(lease, 5)
    assert (kept.until, kept.fence, kept.attempt) == (clock.now() + 5, lease.fence, 1)
    clock.advance(4)
    assert await jobs.claim("encode", "w2", 5) is None


async def test_a_lease_taken_before_a_heartbeat_still_completes(jobs: Jobs) -> None:
    await jobs.enqueue(Job("encode", "j", b""))
    lease = await _claimed(jobs)
    await jobs.heartbeat(lease, 5)
    await jobs.complete(lease, b"done")
    assert await jobs.outcome("encode", "j")


async def test_a_late_worker_whose_job_nobody_took_may_still_finish(jobs: Jobs, clock: VirtualClock) -> None:
    await jobs.enqueue(Job("encode", "j", b""))
    lease = await _claimed(jobs)
    clock.advance(60)
    await jobs.complete(lease, b"late but first")
    assert await jobs.outcome("encode", "j")


async def test_a_restarted_worker_gets_its_job_back_at_once_and_its_former_life_loses_it(jobs: Jobs) -> None:
    await jobs.enqueue(Job("encode", "j", b""))
    first = await _claimed(jobs, "w1")
    second = await _claimed(jobs, "w1")
    assert (second.job.job_id, second.attempt) == ("j", 2)
    assert second.fence > first.fence
    await _lost(jobs, first)


async def test_completing_twice_is_no_error_and_keeps_the_first_result(jobs: Jobs) -> None:
    await jobs.enqueue(Job("encode", "j", b""))
    lease = await _claimed(jobs)
    await jobs.complete(lease, b"first")
    await jobs.complete(lease, b"second")
    outcome = await jobs.outcome("encode", "j")
    assert outcome
    assert outcome.result == b"first"
    with pytest.raises(Conflict):
        await jobs.fail(lease, "changed my mind", False)


async def test_a_failed_job_rests_and_is_tried_again(jobs: Jobs, clock: VirtualClock) -> None:
    await jobs.enqueue(Job("encode", "j", b""))
    lease = await _claimed(jobs)
    await jobs.fail(lease, "the disk was busy", retry=True)
    await jobs.fail(lease, "the disk was busy", retry=True)  # said again by a caller that was not sure
    assert await jobs.outcome("encode", "j") is None
    assert await jobs.claim("encode", "w2", 5) is None
    assert [job.job_id for job in await jobs.waiting("encode", 5)] == ["j"]
    clock.advance(0.5)
    assert (await _claimed(jobs, "w2")).attempt == 2


async def test_a_job_that_failed_cannot_be_completed_by_the_same_lease(jobs: Jobs) -> None:
    await jobs.enqueue(Job("encode", "j", b""))
    lease = await _claimed(jobs)
    await jobs.fail(lease, "no", retry=True)
    with pytest.raises(Conflict):
        await jobs.complete(lease, b"yes after all")
    with pytest.raises(Conflict):
        await jobs.heartbeat(lease, 5)


async def test_a_job_without_retry_is_over_with_the_reason(jobs: Jobs) -> None:
    await jobs.enqueue(Job("encode", "j", b""))
    lease = await _claimed(jobs)
    await jobs.fail(lease, "this is not a film", retry=False)
    outcome = await jobs.outcome("encode", "j")
    assert outcome
    assert (outcome.ok, outcome.because) == (False, "this is not a film")
    assert await jobs.claim("encode", "w2", 5) is None


async def test_a_job_that_fails_too_often_is_given_up_with_the_last_reason(jobs: Jobs, clock: VirtualClock) -> None:
    await jobs.enqueue(Job("encode", "j", b"", max_attempts=2))
    for reason in ("first", "second"):
        await jobs.fail(await _claimed(jobs), reason, retry=True)
        clock.advance(60)
    outcome = await jobs.outcome("encode", "j")
    assert outcome
    assert (outcome.ok, outcome.because) == (False, "given up after 2 of 2 attempts; the last one: second")


async def test_a_job_that_kills_its_workers_is_given_up(jobs: Jobs, clock: VirtualClock) -> None:
    await jobs.enqueue(Job("encode", "bad", b"", priority=1, max_attempts=2))
    await jobs.enqueue(Job("encode", "good", b"", priority=2))
    for _ in range(2):
        assert (await _claimed(jobs, "w1")).job.job_id == "bad"
        clock.advance(6)
    assert (await _claimed(jobs, "w2")).job.job_id == "good"
    outcome = await jobs.outcome("encode", "bad")
    assert outcome
    assert not outcome.ok
    assert "w1 died or stopped answering" in outcome.because


async def test_forgetting_a_title_removes_its_jobs_and_outcomes_only(jobs: Jobs) -> None:
    for number in range(40):
        await jobs.enqueue(Job("encode", f"t1/{number:02d}", b""))
    await jobs.complete(await _claimed(jobs), b"")
    held = await _claimed(jobs)
    await jobs.enqueue(Job("encode", "t10/0", b""))
    assert await jobs.forget("encode", "t1/") == 40
    assert [job.job_id for job in await jobs.waiting("encode", 100)] == ["t10/0"]
    assert await jobs.outcome("encode", "t1/00") is None
    await _lost(jobs, held)
    assert await jobs.forget("encode", "t1/") == 0
    assert await jobs.enqueue(Job("encode", "t1/00", b""))


async def test_a_lease_on_a_forgotten_job_is_not_one_on_its_successor(jobs: Jobs) -> None:
    await jobs.enqueue(Job("encode", "j", b""))
    old = await _claimed(jobs, "w1")
    await jobs.forget("encode", "j")
    await jobs.enqueue(Job("encode", "j", b""))
    new = await _claimed(jobs, "w1")
    assert new.fence > old.fence
    await _lost(jobs, old)


async def test_workers_that_ask_at_once_get_different_jobs(jobs: Jobs) -> None:
    for number in range(6):
        await jobs.enqueue(Job("encode", f"{number}", b""))
    got: list[str] = []

    async def ask(owner: str) -> None:
        got.append((await _claimed(jobs, owner)).job.job_id)

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(ask, f"w{number}")
    assert sorted(got) == ["0", "1", "2", "3", "4", "5"]


async def test_a_claim_looks_past_more_held_jobs_than_fit_on_a_page(jobs: Jobs) -> None:
    for number in range(70):
        await jobs.enqueue(Job("encode", f"{number:03d}", b""))
    got = [(await _claimed(jobs, f"w{number}")).job.job_id for number in range(70)]
    assert got == [f"{number:03d}" for number in range(70)]
    assert await jobs.claim("encode", "one more", 5) is None


@pytest.mark.parametrize(
    "job",
    [
        Job("encode", "", b""),
        Job("encode", "a\nb", b""),
        Job("encode", "x" * 513, b""),
        Job("encode", "\ud800", b""),
        Job("encode", "j", b"", priority=-1),
        Job("encode", "j", b"", priority=100_000_000),
        Job("encode", "j", b"", max_attempts=0),
        Job("encode", "j", b"x" * 65_537),
    ],
)
async def test_a_job_that_cannot_be_kept_is_refused(jobs: Jobs, job: Job) -> None:
    with pytest.raises(InvalidInput):
        await jobs.enqueue(job)


async def test_a_claim_without_an_owner_or_time_is_refused(jobs: Jobs) -> None:
    for owner, lease_s in (("", 5.0), ("w", 0.0), ("w", float("nan"))):
        with pytest.raises(InvalidInput):
            await jobs.claim("encode", owner, lease_s)


async def test_a_row_that_is_no_job_is_reported(jobs: Jobs, records: Records) -> None:
    await records.put("jobs/encode", Put("ready/00000001/j", b"garbage"))
    with pytest.raises(Broken):
        await jobs.claim("encode", "w", 5)


@pytest.mark.parametrize("ending", ["complete", "fail", "retry", "heartbeat"])
async def test_a_takeover_between_the_last_look_and_the_write_wins(clock: VirtualClock, ending: str) -> None:
    class Interrupted(MemoryRecords):
        interrupt: Callable[[], Awaitable[object]] | None = None

        async def batch(self, partition: str, changes: Sequence[Put | Delete]) -> bool:
            interrupt, self.interrupt = self.interrupt, None
            if interrupt:
                await interrupt()
            return await super().batch(partition, changes)

    records = Interrupted(clock)
    jobs = Jobs(records, clock)
    await jobs.enqueue(Job("encode", "j", b""))
    late = await _claimed(jobs, "w1")
    clock.advance(6)
    records.interrupt = lambda: _claimed(jobs, "w2")
    attempts: dict[str, Callable[[], Awaitable[object]]] = {
        "complete": lambda: jobs.complete(late, b"late"),
        "fail": lambda: jobs.fail(late, "late", retry=False),
        "retry": lambda: jobs.fail(late, "late", retry=True),
        "heartbeat": lambda: jobs.heartbeat(late, 5),
    }
    with pytest.raises(Conflict):
        await attempts[ending]()
    assert records.interrupt is None
    assert await jobs.outcome("encode", "j") is None
    assert await jobs.claim("encode", "w3", 5) is None


async def test_a_claim_costs_as_many_reads_as_there_are_workers_not_jobs(clock: VirtualClock) -> None:
    class Counting(MemoryRecords):
        rows = 0

        async def scan(self, *args: object, **options: object) -> list[object]:
            found = await super().scan(*args, **options)
            self.rows += len(found)
            return found

    records = Counting(clock)
    jobs = Jobs(records, clock)
    for number in range(500):
        await jobs.enqueue(Job("encode", f"{number:03d}", b""))
    for number in range(10):
        await _claimed(jobs, f"w{number}")
    assert records.rows <= 10 * 32
