"""A worker's loop: claim a job, keep its lease while the engine runs, finish it, or say why not.

A worker that loses its lease kills its engine, since another has the job now. A full disk costs no title:
no job is begun without room, and one that runs out is put back. Only what the film itself causes ends a
title at once; other failures end it when they repeat. Enter at `work`; `Studio` is in `production.py`.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

import anyio
import msgspec

from redqueen.errors import Broken, Conflict, Exhausted, InvalidInput, NotFound, RedQueenError, Unavailable
from redqueen.events import Event, LoopFailed
from redqueen.store.model import JobLease
from redqueen.studio.plan import Kind, Task
from redqueen.studio.production import QUEUE, Studio
from redqueen.studio.workbench import Workbench, innermost

__all__ = ["QUEUE", "DiskLow", "JobFailed", "Studio", "work"]

POLL_S = 0.2
LEASE_S = 6.0
_NO_ROOM_S = 1.0
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REPEATS, _REPEATS_OF_OURS = 8, 3


@dataclass(frozen=True, slots=True)
class JobFailed(Event):
    """A job's attempt failed; `again` tells whether it will be tried again."""

    job_id: str
    because: str
    again: bool


@dataclass(frozen=True, slots=True)
class DiskLow(Event):
    """No job is begun because there is too little room on the disk."""

    free_on: str


async def work(studio: Studio, owner: str, stop: anyio.Event, *, lease_s: float = LEASE_S) -> None:
    """Do jobs one at a time until `stop` is set; the job at hand is then put back for another worker."""
    bench = studio.bench(owner)
    bench.clear()
    low = False
    while not stop.is_set():
        if not studio.room():
            if not low:
                studio.emit(DiskLow(str(studio.scratch)))
            low = True
            await _pause(studio, stop, _NO_ROOM_S)
            continue
        low = False
        try:
            lease = await studio.jobs.claim(QUEUE, owner, lease_s)
            if lease is None:
                await _pause(studio, stop, POLL_S)
            else:
                await _do(studio, bench, lease, stop, lease_s)
        except RedQueenError as error:
            studio.emit(LoopFailed("studio", str(error), _NO_ROOM_S))
            await _pause(studio, stop, _NO_ROOM_S)


async def _pause(studio: Studio, stop: anyio.Event, delay_s: float) -> None:
    with anyio.move_on_after(delay_s):
        await stop.wait()


async def _do(studio: Studio, bench: Workbench, lease: JobLease, stop: anyio.Event, lease_s: float) -> None:
    task = msgspec.json.decode(lease.job.payload, type=Task)
    failure: Exception | None = None
    ended = False
    async with anyio.create_task_group() as group:
        group.start_soon(_keep, studio, lease, lease_s, group.cancel_scope)
        group.start_soon(_interrupt, stop, group.cancel_scope)
        try:
            await studio.perform(task, bench)
        except Exception as error:  # noqa: BLE001 - a worker outlives a job that goes wrong in any way
            failure = innermost(error)
        ended = True
        group.cancel_scope.cancel()
    if not ended:
        if stop.is_set():
            await _put_back(studio, lease, "its worker was stopped")
    elif failure is None:
        await _finish(studio, lease)
    else:
        await _failed(studio, lease, task, failure)


async def _keep(studio: Studio, lease: JobLease, lease_s: float, scope: anyio.CancelScope) -> None:
    until = studio.clock.now() + lease_s
    while True:
        await anyio.sleep(lease_s / 3)
        try:
            lease = await studio.jobs.heartbeat(lease, lease_s)
            until = studio.clock.now() + lease_s
        except Conflict:
            return scope.cancel()
        except RedQueenError:
            if studio.clock.now() > until:  # the store is away for so long that another may have the job
                return scope.cancel()


async def _interrupt(stop: anyio.Event, scope: anyio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()


async def _finish(studio: Studio, lease: JobLease) -> None:
    try:
        await studio.jobs.complete(lease, b"")
    except Conflict:
        return  # a job of a title that is over has been removed, or another did the same work


async def _put_back(studio: Studio, lease: JobLease, because: str) -> None:
    try:
        await studio.jobs.fail(lease, because, retry=True)
    except Conflict:
        return


async def _failed(studio: Studio, lease: JobLease, task: Task, error: Exception) -> None:
    again = may_repeat(error, lease.attempt)
    studio.emit(JobFailed(lease.job.job_id, str(error) or type(error).__name__, again))
    if again:
        return await _put_back(studio, lease, str(error))
    if task.kind in (Kind.POSTER, Kind.TEXT):
        return await _finish(studio, lease)  # a title can do without
    await studio.give_up(task.title_id, as_ours(error))
    await _finish(studio, lease)


def may_repeat(error: Exception, attempt: int) -> bool:
    """Decide whether the same job may succeed later; a full disk and a lost lease never count against it."""
    if isinstance(error, (Exhausted, Conflict)) or (isinstance(error, OSError) and error.errno in _FULL):
        return True
    if isinstance(error, (InvalidInput, NotFound)):
        return False
    if isinstance(error, Unavailable):
        return attempt < _REPEATS
    return attempt < _REPEATS_OF_OURS


def as_ours(error: Exception) -> RedQueenError:
    """Give any error the four parts that people are shown."""
    if isinstance(error, RedQueenError):
        return error
    return Broken(
        "studio.broken",
        "The film could not be made into a title",
        why=f"{type(error).__name__}: {error}"[:300],
        hint="Report it; submitting the film again may help",
    )
