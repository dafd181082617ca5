"""Who may work on which job, and when: the rules of a queue, without a store and without a clock.

An `Entry` is a job that is not over, as it is stored; the rules read entries and say what may happen next, and why.
Refuses nobody silently: every ruling carries its reason. The loop that applies them is `jobs.py`.
Enter at `judge`, `taken` and `after_failure`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from redqueen.store.model import Job

BACKOFF_FIRST_S = 0.5
BACKOFF_MOST_S = 30.0


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job that waits or is worked on. `until` and `not_before` are seconds since the epoch."""

    job_id: str
    priority: int
    payload: bytes
    max_attempts: int
    owner: str = ""
    fence: int = 0
    attempt: int = 0
    until: float = 0.0
    not_before: float = 0.0
    because: str = ""
    """Why the last attempt ended, when it failed."""


class Choice(StrEnum):
    """What a worker may do with an entry."""

    TAKE = "take"
    LEAVE = "leave"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What to do with an entry, and the reason."""

    choice: Choice
    because: str


def judge(entry: Entry, owner: str, now: float) -> Ruling:
    """Decide whether `owner` may take this entry at `now`."""
    if entry.owner and entry.owner != owner and entry.until > now:
        return Ruling(Choice.LEAVE, f"{entry.owner} holds it for {entry.until - now:.1f} s more")
    if entry.not_before > now:
        return Ruling(Choice.LEAVE, f"it rests for {entry.not_before - now:.1f} s after: {entry.because}")
    if entry.attempt >= entry.max_attempts:
        return Ruling(Choice.GIVE_UP, _spent(entry))
    if not entry.owner:
        return Ruling(Choice.TAKE, "nobody holds it")
    if entry.owner == owner:
        return Ruling(Choice.TAKE, "an earlier life of the same worker held it")
    return Ruling(Choice.TAKE, f"the lease of {entry.owner} ran out")


def _spent(entry: Entry) -> str:
    last = entry.because or (f"{entry.owner} died or stopped answering" if entry.owner else "unknown")
    return f"given up after {entry.attempt} of {entry.max_attempts} attempts; the last one: {last}"


def taken(entry: Entry, owner: str, version: int, until: float) -> Entry:
    """Return the entry as leased by `owner`.

    The fence is above every earlier one of this entry and, because row versions never come back, above
    those of an earlier job with the same id that was forgotten. `version` is the row's before this.
    """
    return msgspec.structs.replace(
        entry,
        owner=owner,
        fence=max(entry.fence + 1, version),
        attempt=entry.attempt + 1,
        until=until,
        not_before=0.0,
        because="",
    )


def after_failure(entry: Entry, because: str, retry: bool, now: float) -> Entry | Ruling:
    """Return the entry as waiting again after a failed attempt, or the ruling that gives it up."""
    if not retry:
        return Ruling(Choice.GIVE_UP, because)
    failed = msgspec.structs.replace(
        entry, owner="", until=0.0, not_before=now + backoff_s(entry.attempt), because=because
    )
    return failed if entry.attempt < entry.max_attempts else Ruling(Choice.GIVE_UP, _spent(failed))


def backoff_s(attempt: int) -> float:
    """Return how long a job rests after its `attempt`-th failure (from 1): 0.5 s doubling to 30 s."""
    return min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(attempt - 1, 16))


def is_held(entry: Entry, now: float) -> bool:
    """Tell whether somebody works on it now."""
    return bool(entry.owner) and entry.until > now


def job_of(queue: str, entry: Entry) -> Job:
    """Return the job that an entry stores."""
    return Job(queue, entry.job_id, entry.payload, entry.priority, entry.max_attempts)
