"""Leased jobs over any records driver: work that survives the death of whoever does it.

A queue is one partition. `ready/<priority>/<job>` is a job that waits or is worked on, in claiming order;
`job/<job>` knows every job and, once it is over, holds its outcome. Both change in one batch, so a crash cannot leave
one without the other. A lease is known by owner and fence: whoever lost it gets Conflict, whoever repeats
a completion gets the same answer. What may be claimed is decided in `job_rules.py`. Enter at `Jobs`.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from redqueen.clock import Clock
from redqueen.errors import Broken, Conflict, InvalidInput, Unavailable
from redqueen.store.job_rules import (
    Choice,
    Entry,
    Ruling,
    after_failure,
    is_held,
    job_of,
    judge,
    taken,
)
from redqueen.store.model import Job, JobLease, JobOutcome
from redqueen.store.ports import ABSENT, Delete, Put, Record, Records

MAX_PAYLOAD_BYTES: Final = 65_536
MAX_PRIORITY: Final = 99_999_999
_PAGE: Final = 32
_TRIES: Final = 8
_BECAUSE_CHARS: Final = 2000
_READY: Final = "ready/"
_LAST: Final = "\U0010ffff"


class Pending(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="pending"):
    """The job is not over; its entry is under `ready`."""

    ready: str


class Over(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="over"):
    """The job is over; `fence` is that of the lease that ended it."""

    ok: bool
    result: bytes
    because: str
    fence: int


T = TypeVar("T")
_ENTRY: Final = msgspec.msgpack.Decoder(Entry)
_KNOWN: Final[msgspec.msgpack.Decoder[Pending | Over]] = msgspec.msgpack.Decoder(Pending | Over)


class Jobs:
    """Queues of leased jobs."""

    def __init__(self, records: Records, clock: Clock) -> None:
        """Keep queues in `records`; leases run out by `clock`."""
        self._records = records
        self._clock = clock

    async def enqueue(self, job: Job) -> bool:
        """Add a job; False if its id is known to the queue: waiting, leased or over. Raises InvalidInput."""
        _check(job)
        entry = Entry(job.job_id, job.priority, job.payload, job.max_attempts)
        known = Pending(_ready_key(job.priority, job.job_id))
        changes = [
            Put(_job_key(job.job_id), _encode(known), when=ABSENT),
            Put(known.ready, _encode(entry), when=ABSENT),
        ]
        return await self._records.batch(_partition(job.queue), changes)

    async def claim(self, queue: str, owner: str, lease_s: float) -> JobLease | None:
        """Lease the first job that `owner` may work on for `lease_s` seconds, or None.

        An owner works on one job at a time: what the same owner still holds was its earlier life's and
        is claimed again at once. Reads as many rows as are held or resting, not as are waiting.
        """
        if not owner or not lease_s > 0:
            raise InvalidInput("job.lease", "A lease needs an owner and a positive time", hint="Give both")
        start = _READY
        while page := await self._page(queue, start):
            for record, entry in page:
                if lease := await self._try(queue, record, entry, owner, lease_s):
                    return lease
            start = page[-1][0].clustering + "\0"
        return None

    async def _try(self, queue: str, record: Record, entry: Entry, owner: str, lease_s: float) -> JobLease | None:
        now = self._clock.now()
        ruling = judge(entry, owner, now)
        if ruling.choice is Choice.GIVE_UP:
            await self._end(queue, record, entry, Over(False, b"", ruling.because, entry.fence))
        if ruling.choice is not Choice.TAKE:
            return None
        return await self._store_lease(queue, record, taken(entry, owner, record.version, now + lease_s))

    async def heartbeat(self, lease: JobLease, lease_s: float) -> JobLease:
        """Keep the lease for `lease_s` seconds from now. Raises Conflict (`job.lease_lost`)."""
        queue = lease.job.queue
        for _ in range(_TRIES):
            record, entry = await self._held(lease)
            renewed = msgspec.structs.replace(entry, until=self._clock.now() + lease_s)
            if kept := await self._store_lease(queue, record, renewed):
                return kept
        raise _contended(lease)

    async def complete(self, lease: JobLease, result: bytes) -> None:
        """End the job with `result`; repeating it is no error. Raises Conflict (`job.lease_lost`)."""
        over = Over(True, result, "", lease.fence)
        for _ in range(_TRIES):
            held = await self._held_unless_said(lease, ok=True)
            if held is None or await self._end(lease.job.queue, *held, over):
                return
        raise _contended(lease)

    async def fail(self, lease: JobLease, because: str, retry: bool) -> None:
        """End this attempt: the job rests and is tried again, or is over when `retry` is False or none is left.

        Repeating it is no error. Raises Conflict (`job.lease_lost`).
        """
        for _ in range(_TRIES):
            held = await self._held_unless_said(lease, ok=False)
            if held is None:
                return
            after = after_failure(held[1], because[:_BECAUSE_CHARS], retry, self._clock.now())
            if isinstance(after, Ruling):
                done = await self._end(lease.job.queue, *held, Over(False, b"", after.because, lease.fence))
            else:
                done = await self._store_lease(lease.job.queue, held[0], after) is not None
            if done:
                return
        raise _contended(lease)

    async def outcome(self, queue: str, job_id: str) -> JobOutcome | None:
        """Return how a job ended, or None while it has not (or is not known)."""
        over = await self._over(queue, job_id)
        return None if over is None else JobOutcome(job_id, over.ok, over.result, over.because)

    async def waiting(self, queue: str, limit: int) -> list[Job]:
        """Return at most `limit` jobs that nobody works on now, in claiming order, resting ones included."""
        found: list[Job] = []
        start = _READY
        while len(found) < limit and (page := await self._page(queue, start)):
            now = self._clock.now()
            found += [job_of(queue, entry) for _, entry in page if not is_held(entry, now)]
            start = page[-1][0].clustering + "\0"
        return found[:limit]

    async def forget(self, queue: str, prefix: str) -> int:
        """Remove every job whose id begins with `prefix`, and its outcome; return how many.

        Who works on one of them learns it as a lost lease. End `prefix` with a separator, or `t1` also means `t10`.
        """
        partition, removed = _partition(queue), 0
        while page := await self._records.scan(
            partition, start=_job_key(prefix), end=_job_key(prefix) + _LAST, limit=_PAGE
        ):
            changes: list[Put | Delete] = []
            for record in page:
                known = _decode(record, _KNOWN)
                changes += [Delete(record.clustering, when=record.version)]
                changes += [Delete(known.ready)] if isinstance(known, Pending) else []
            if await self._records.batch(partition, changes):
                removed += len(page)
        return removed

    async def _page(self, queue: str, start: str) -> list[tuple[Record, Entry]]:
        page = await self._records.scan(_partition(queue), start=start, end=_READY + _LAST, limit=_PAGE)
        return [(record, _decode(record, _ENTRY)) for record in page]

    async def _store_lease(self, queue: str, record: Record, entry: Entry) -> JobLease | None:
        change = Put(record.clustering, _encode(entry), when=record.version)
        written = await self._records.put(_partition(queue), change)
        if written is None:
            return None
        return JobLease(job_of(queue, entry), entry.owner, entry.fence, entry.attempt, entry.until, written.version)

    async def _entry(self, job: Job) -> tuple[Record, Entry] | None:
        record = await self._records.get(_partition(job.queue), _ready_key(job.priority, job.job_id))
        return None if record is None else (record, _decode(record, _ENTRY))

    async def _held(self, lease: JobLease) -> tuple[Record, Entry]:
        found = await self._entry(lease.job)
        if found is None or (found[1].owner, found[1].fence) != (lease.owner, lease.fence):
            raise _lost(lease)
        return found

    async def _held_unless_said(self, lease: JobLease, *, ok: bool) -> tuple[Record, Entry] | None:
        # None: this very lease ended its attempt in this way before, and its caller, unsure, says so again.
        try:
            return await self._held(lease)
        except Conflict:
            over = await self._over(lease.job.queue, lease.job.job_id)
            if over is not None and (over.fence, over.ok) == (lease.fence, ok):
                return None
            found = None if ok else await self._entry(lease.job)
            if found is not None and (found[1].owner, found[1].fence) == ("", lease.fence):
                return None
            raise

    async def _end(self, queue: str, record: Record, entry: Entry, over: Over) -> bool:
        changes = [Delete(record.clustering, when=record.version), Put(_job_key(entry.job_id), _encode(over))]
        return await self._records.batch(_partition(queue), changes)

    async def _over(self, queue: str, job_id: str) -> Over | None:
        record = await self._records.get(_partition(queue), _job_key(job_id))
        known = None if record is None else _decode(record, _KNOWN)
        return known if isinstance(known, Over) else None


def _check(job: Job) -> None:
    wrong = ""
    if not 0 <= job.priority <= MAX_PRIORITY:
        wrong = f"priority = {job.priority}; it must be 0 to {MAX_PRIORITY}"
    elif not 1 <= job.max_attempts <= 1000:
        wrong = f"max_attempts = {job.max_attempts}; it must be 1 to 1000"
    elif len(job.payload) > MAX_PAYLOAD_BYTES:
        wrong = f"its payload has {len(job.payload)} of at most {MAX_PAYLOAD_BYTES} bytes"
    elif not job.job_id or not job.job_id.isprintable() or len(job.job_id.encode(errors="replace")) > 512:
        wrong = "its id must be 1 to 512 bytes of printable text"
    if wrong:
        raise InvalidInput("job.invalid", f"The job {job.job_id[:64]!r} cannot be queued", why=wrong, hint="Change it")


def _partition(queue: str) -> str:
    return f"jobs/{queue}"


def _ready_key(priority: int, job_id: str) -> str:
    return f"{_READY}{priority:08d}/{job_id}"


def _job_key(job_id: str) -> str:
    return f"job/{job_id}"


def _encode(row: Entry | Pending | Over) -> bytes:
    return msgspec.msgpack.encode(row)


def _decode(record: Record, decoder: msgspec.msgpack.Decoder[T]) -> T:
    try:
        return decoder.decode(record.value)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Broken(
            "job.unreadable",
            f"{record.partition}/{record.clustering} is not a job that this version can read",
            why=str(error),
            hint="Report this; a newer version may have written it",
        ) from error


def _lost(lease: JobLease) -> Conflict:
    return Conflict(
        "job.lease_lost",
        f"{lease.owner} no longer holds {lease.job.job_id} (fence {lease.fence})",
        why="the lease ran out and another worker has the job, or the job was removed",
        hint="Stop working on it and claim the next one",
    )


def _contended(lease: JobLease) -> Unavailable:
    return Unavailable("job.contended", f"{lease.job.job_id} changed under every attempt", hint="Try again")
