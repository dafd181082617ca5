"""The intake by itself: what is granted, what is taken, what waits; and Parquet that counts an event once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.telemetry import spool
from redqueen.telemetry.grants import opened, secret_of
from redqueen.telemetry.intake import MAX_EVENTS, Granted, Intake, Wish
from redqueen.telemetry.limits import Limits, Rate
from redqueen.telemetry.parquet import Damaged, Lake
from redqueen.telemetry.ports import AssignedViewer
from redqueen.telemetry.service import Telemetry
from redqueen.telemetry.sessions import Sessions
from redqueen.telemetry.spool import Spool
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio
SECRET = secret_of(b"r" * 64)
WISH = Wish(viewer=7, title="t1", device="tv", zone="b", address="198.51.100.1", told_arms={"api-r2": "canary"})


class Halves:
    """Everybody is in one trial, by the last bit."""

    def arms(self, viewer: AssignedViewer) -> dict[str, str]:
        """Return the arm."""
        return {"aa-even": "ab"[viewer.key % 2]}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(time.time())  # files have real times


@pytest.fixture
async def intake(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[Intake]:
    async with Spool.opened(tmp_path / "spool", "n.1", clock) as one:
        yield Intake(SECRET, one, Sessions(), Halves(), clock)


def beacon(token: str, *numbers: int, at_ms: int = 100) -> bytes:
    events = [{"seq": number, "kind": "heartbeat", "at_ms": at_ms} for number in numbers]
    return msgspec.json.encode({"token": token, "events": events})


async def test_a_grant_fixes_second_window_and_arms_and_is_on_disk_before_it_is_given(
    intake: Intake, tmp_path: Path, clock: VirtualClock
) -> None:
    clock_second = int(clock.now())
    granted = await intake.grant(WISH)
    grant = opened(SECRET, granted.token)
    assert grant is not None and grant == granted.grant
    assert (grant.second, grant.window_s, grant.zone) == (clock_second, 20, "b")
    assert grant.arms == {"aa-even": "b", "api-r2": "canary"}
    assert grant.first == ("aa-even", "api-r2")
    (path,) = spool.segments(tmp_path / "spool" / "n.1")
    assert str(grant.session) in path.read_text()


async def test_a_viewer_who_was_in_a_trial_before_is_not_there_for_the_first_time(intake: Intake) -> None:
    granted = await intake.grant(Wish(7, "t", "tv", "a", "::1", {"x": "a"}, seen=("x", "gone")))
    assert granted.grant is not None and granted.grant.first == ("aa-even",)


async def test_too_many_starts_of_one_viewer_wait_and_others_do_not(intake: Intake) -> None:
    found = [await intake.grant(WISH) for _ in range(40)]
    refused = [one for one in found if one.grant is None]
    assert len(refused) == 10 and all(one.wait_s > 0 and one.because for one in refused)
    assert isinstance(await intake.grant(Wish(8, "t", "tv", "a", WISH.address)), Granted)
    assert (await intake.grant(Wish(8, "t", "tv", "a", WISH.address))).grant is not None


async def test_starts_beyond_an_addresss_share_play_but_are_in_no_trial(tmp_path: Path, clock: VirtualClock) -> None:
    limits = Limits(address_judged=Rate(3, 1))
    async with Spool.opened(tmp_path, "n.1", clock) as one:
        intake = Intake(SECRET, one, Sessions(), Halves(), clock, limits)
        arms = [
            found.grant.arms
            for viewer in range(6)
            if (found := await intake.grant(Wish(viewer, "t", "tv", "a", "203.0.113.1", {"r": "c"}))).grant
        ]
    assert [bool(one) for one in arms] == [True] * 3 + [False] * 3
    assert intake.tally.unjudged == 3


async def test_a_beacon_is_acknowledged_counted_and_limited_by_its_session(intake: Intake) -> None:
    token = (await intake.grant(WISH)).token
    assert (await intake.take(beacon(token, 1, 2), "a")).kept == 2
    assert (await intake.take(beacon(token, 2), "a")).kept == 1  # kept again, folded once
    assert intake.tally.folds == {"folded": 2, "known": 1}
    assert "1 to 256" in (await intake.take(beacon(token, *range(1, MAX_EVENTS + 2)), "a")).because
    waits = [(await intake.take(beacon(token, *range(1, 201)), "a")).wait_s for _ in range(3)]
    assert waits[0] == 0 and waits[-1] > 0


async def test_an_event_sent_twice_to_two_nodes_hours_apart_is_once_in_parquet(
    tmp_path: Path, clock: VirtualClock
) -> None:
    lake = Lake(ObstoreObjects.folder(tmp_path / "objects"), tmp_path / "scratch")
    token = ""
    for life in ("a.1", "b.1", "b.2"):
        async with Spool.opened(tmp_path / "spool", life, clock) as one:
            intake = Intake(SECRET, one, Sessions(), Halves(), clock)
            token = token or (await intake.grant(WISH)).token
            assert (await intake.take(beacon(token, 1, 2), "x")).kept == 2
        for path in spool.segments(one.folder):
            await lake.ship(path, f"{life}-{path.stem}")
            await lake.ship(path, f"{life}-{path.stem}")  # killed before it was marked, and done again
        clock.advance(5000)
    since, until = clock.now() - 20_000, clock.now()
    asked = "SELECT seq, kind, viewer, arms['aa-even'], first FROM events ORDER BY seq"
    expected = [(0, "grant"), (1, "heartbeat"), (2, "heartbeat")]
    found = await lake.query(since, until, asked)
    assert [row[:2] for row in found] == expected
    assert {row[2:4] for row in found} == {(7, "b")} and found[0][4] == ["aa-even", "api-r2"]
    assert len(await lake.files(since, until)) == 3
    assert await lake.compact(clock.now()) == 1
    (whole,) = await lake.files(since, until)
    assert whole.rpartition("/")[2].startswith("all-")
    assert await lake.query(since, until, asked) == found
    assert await lake.compact(clock.now()) == 0


async def test_an_hour_that_still_runs_or_has_just_ended_is_not_compacted(tmp_path: Path, clock: VirtualClock) -> None:
    lake = Lake(ObstoreObjects.folder(tmp_path / "objects"), tmp_path / "scratch")
    clock.advance(3600 - clock.now() % 3600)
    for life in ("a.1", "b.1"):
        async with Spool.opened(tmp_path / "spool", life, clock) as one:
            await Intake(SECRET, one, Sessions(), Halves(), clock).grant(WISH)
        await lake.ship(spool.segments(one.folder)[0], life)
    begun = clock.now()
    for after_s, expected in ((1800, 0), (3600 + 599, 0), (3600 + 600, 1)):
        assert await lake.compact(begun + after_s) == expected


async def test_an_empty_span_has_no_events(tmp_path: Path) -> None:
    lake = Lake(ObstoreObjects.folder(tmp_path / "objects"), tmp_path / "scratch")
    assert await lake.query(0, 7200, "SELECT count(*), max(seq) FROM events") == [(0, None)]


async def test_a_segment_with_lines_that_are_none_is_said_to_be_damaged(tmp_path: Path) -> None:
    lake = Lake(ObstoreObjects.folder(tmp_path / "objects"), tmp_path / "scratch")
    path = tmp_path / "000001.jsonl"
    path.write_bytes(b'{"received": 1, "grant"')
    with pytest.raises(Damaged):
        await lake.ship(path, "x")


async def test_a_dead_lifes_torn_segment_is_taken_over_with_every_whole_line(
    tmp_path: Path, clock: VirtualClock
) -> None:
    async with Spool.opened(tmp_path / "spool", "a.1", clock) as one:
        intake = Intake(SECRET, one, Sessions(), Halves(), clock)
        token = (await intake.grant(WISH)).token
        await intake.take(beacon(token, 1), "x")
    (path,) = spool.segments(one.folder)
    with path.open("ab") as torn:
        torn.write(b'{"received": 1, "gra')
    lake = Lake(ObstoreObjects.folder(tmp_path / "objects"), tmp_path / "scratch")
    events: list[object] = []
    telemetry = Telemetry(tmp_path / "spool", "b", SECRET, lake, Halves(), clock, events.append)
    async with telemetry.opened():
        await telemetry.finish()
        assert telemetry.sessions.open == 1
    assert [type(event).__name__ for event in events] == ["SpoolAdopted", "SegmentDamaged"]
    found = await lake.query(clock.now() - 60, clock.now() + 60, "SELECT seq FROM events ORDER BY seq")
    assert found == [(0,), (1,)]
