"""Jobs and leases as values: what a worker holds while it works, and what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work in a queue. Smaller `priority` goes first; equal ones by `job_id`."""

    queue: str
    job_id: str
    payload: bytes
    priority: int = 100
    max_attempts: int = 5


@dataclass(frozen=True, slots=True)
class JobLease:
    """The right to work on a job until `until` (epoch seconds). `fence` grows with each lease."""

    job: Job
    owner: str
    fence: int
    attempt: int
    until: float
    version: int


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How a job ended: its result, or why it was given up."""

    job_id: str
    ok: bool
    result: bytes
    because: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """Leadership over a name until `until` (epoch seconds). `fence` grows with each new holder."""

    name: str
    holder: str
    fence: int
    until: float
    version: int
