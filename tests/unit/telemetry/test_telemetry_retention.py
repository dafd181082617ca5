"""Old events go by whole days, and nothing else ever does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.telemetry.parquet import Lake, days_over

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 5, 10, 12, tzinfo=UTC).timestamp()


def key(day: str, hour: int = 3, name: str = "a.parquet") -> str:
    return f"events/date={day}/hour={hour:02}/{name}"


def test_a_day_is_over_only_when_all_of_it_is() -> None:
    days = [key("2026-05-10", 0), key("2026-05-09", 23), key("2026-05-09", 1), key("2025-12-31")]
    assert days_over(days, NOON) == ["events/date=2025-12-31", "events/date=2026-05-09"]
    assert days_over(days, NOON - 86_400) == ["events/date=2025-12-31"]


@pytest.mark.parametrize(
    "other",
    [
        "events/date=2020-01-01/all.parquet",
        "events/date=2020-01-01/hour=01/deep/x.parquet",
        "events/date=2020-01-01/hour=01/notes.txt",
        "events/date=../hour=01/x.parquet",
        "media/events/date=2020-01-01/hour=01/x.parquet",
        "events/2020-01-01/hour=01/x.parquet",
    ],
)
def test_what_is_no_file_of_events_makes_no_day_go(other: str) -> None:
    assert days_over([other], NOON) == []


@given(some.lists(some.text(max_size=60)), some.floats(0, 4e9))
def test_whatever_lies_there_only_folders_of_days_are_named(keys: list[str], before: float) -> None:
    assert all(len(day) == len("events/date=2026-05-09") for day in days_over(keys, before))


async def test_the_oldest_days_go_first_a_few_at_a_time_and_twice_is_no_harm(tmp_path: Path) -> None:
    objects = ObstoreObjects.folder(tmp_path / "objects")
    old = [
        key(f"2026-05-0{day}", hour, name) for day in (1, 2, 3) for hour in (0, 7) for name in ("a.parquet", "b.txt")
    ]
    stay = [key("2026-05-10"), "media/film/events/date=2020-01-01/hour=00/x.parquet", "artifacts/x.tar"]
    for one in (*old, *stay):
        await objects.put(one, b"x")
    lake = Lake(objects, tmp_path / "scratch")
    assert await lake.forget(NOON, 2) == ["events/date=2026-05-01", "events/date=2026-05-02"]
    await Lake(objects, tmp_path / "scratch").forget(NOON, 2)
    assert await lake.forget(NOON, 2) == []
    assert sorted([one async for one in objects.list("")]) == sorted(stay)
    assert not (tmp_path / "objects/events/date=2026-05-03").exists(), "no empty folders stay behind"
