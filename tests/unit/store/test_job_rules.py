"""The rules of a queue, on entries alone."""

from __future__ import annotations

import msgspec
import pytest

from redqueen.store.job_rules import Choice, Entry, Ruling, after_failure, backoff_s, is_held, judge, taken

WAITING = Entry("j", 100, b"", 3)
HELD = Entry("j", 100, b"", 3, owner="a", fence=7, attempt=1, until=50.0)


@pytest.mark.parametrize(
    ("entry", "owner", "now", "choice", "because"),
    [
        (WAITING, "a", 0.0, Choice.TAKE, "nobody holds it"),
        (HELD, "b", 49.0, Choice.LEAVE, "a holds it for 1.0 s more"),
        (HELD, "a", 49.0, Choice.TAKE, "an earlier life of the same worker held it"),
        (HELD, "b", 50.0, Choice.TAKE, "the lease of a ran out"),
        (
            msgspec.structs.replace(WAITING, not_before=5.0, because="oops"),
            "a",
            4.0,
            Choice.LEAVE,
            "it rests for 1.0 s",
        ),
        (msgspec.structs.replace(WAITING, not_before=5.0, because="oops"), "a", 5.0, Choice.TAKE, "nobody holds it"),
        (msgspec.structs.replace(HELD, attempt=3), "b", 49.0, Choice.LEAVE, "a holds it for 1.0 s more"),
        (msgspec.structs.replace(HELD, attempt=3), "b", 50.0, Choice.GIVE_UP, "a died or stopped answering"),
        (msgspec.structs.replace(HELD, attempt=3), "a", 49.0, Choice.GIVE_UP, "a died or stopped answering"),
    ],
)
def test_a_ruling_gives_its_reason(entry: Entry, owner: str, now: float, choice: Choice, because: str) -> None:
    ruling = judge(entry, owner, now)
    assert ruling.choice is choice
    assert because in ruling.because


def test_taking_counts_the_attempt_and_raises_the_fence_above_fence_and_version() -> None:
    assert (taken(HELD, "b", 3, 99.0).fence, taken(HELD, "b", 30, 99.0).fence) == (8, 30)
    entry = taken(HELD, "b", 3, 99.0)
    assert (entry.owner, entry.attempt, entry.until) == ("b", 2, 99.0)


def test_a_failure_puts_the_job_back_to_rest() -> None:
    after = after_failure(HELD, "oops", True, 10.0)
    assert isinstance(after, Entry)
    assert (after.owner, after.not_before, after.because, after.fence) == ("", 10.5, "oops", 7)
    assert not is_held(after, 10.0)


def test_a_failure_that_is_final_or_one_too_many_gives_up() -> None:
    assert after_failure(HELD, "not a film", False, 0.0) == Ruling(Choice.GIVE_UP, "not a film")
    after = after_failure(msgspec.structs.replace(HELD, attempt=3), "oops", True, 0.0)
    assert after == Ruling(Choice.GIVE_UP, "given up after 3 of 3 attempts; the last one: oops")


def test_rests_double_up_to_half_a_minute() -> None:
    assert [backoff_s(attempt) for attempt in (1, 2, 3, 7, 1000)] == [0.5, 1.0, 2.0, 30.0, 30.0]
