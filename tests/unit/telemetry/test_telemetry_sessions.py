"""Sessions folded from events: any order, any loss, any repetition, one outcome; a closed second stays closed."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.telemetry.model import LATENESS_S, WINDOW_S, Grant, Kind, PlayerEvent
from redqueen.telemetry.sessions import CLOSES_S, KEPT_S, Fold, Sessions, failed, plausible

NOW = 1_800_000_000


def grant(session: int = 1, second: int = NOW, **changes: object) -> Grant:
    known = Grant(
        session=session, viewer=9, title="t", device="tv", zone="a", second=second, window_s=WINDOW_S, arms={"x": "a"}
    )
    return msgspec.structs.replace(known, **changes)


def event(seq: int, at_ms: int, **sums: int) -> PlayerEvent:
    return PlayerEvent(seq=seq, kind=Kind.HEARTBEAT, at_ms=at_ms, **sums)


PLAY = [
    event(1, 0),
    event(2, 700, delay_ms=700),
    event(3, 5000, delay_ms=700, played_ms=4300, mean_bitrate_bps=3_000_000),
    event(
        4, 9000, delay_ms=700, played_ms=6300, stalled_ms=2000, stalls=1, errors=1, bitrate_bps=1, mean_bitrate_bps=9
    ),
]


def rows_of(sessions: Sessions, now: float = NOW + CLOSES_S):
    sessions.close(now)
    return sessions.rows(NOW - 1000, NOW + 1000)


@given(st.lists(st.sampled_from(PLAY), min_size=1, max_size=12), st.integers(0, 2**32))
def test_the_highest_number_tells_everything_whatever_the_order(told: list[PlayerEvent], seed: int) -> None:
    one, other = Sessions(), Sessions()
    one.heard(grant(), told, NOW + 1)
    shuffled = random.Random(seed).sample(told, len(told))  # noqa: S311 - an order, not a secret
    for alone in shuffled:
        other.heard(grant(), [alone, alone], NOW + 2)
    (row,) = rows_of(one)
    assert rows_of(other) == [row]
    last = max(told, key=lambda event: event.seq)
    assert (row.seq, row.played_ms, row.delay_ms, row.errors) == (last.seq, last.played_ms, last.delay_ms, last.errors)


def test_a_session_whose_player_never_spoke_is_there_as_exposed_only() -> None:
    sessions = Sessions()
    assert sessions.granted(grant(first=("x",), country="de", returning=True, release="r1"), NOW) is Fold.FOLDED
    (row,) = rows_of(sessions)
    assert (row.seq, row.failed, row.delay_ms, row.first, row.arms) == (0, False, -1, ("x",), {"x": "a"})
    assert (row.country, row.returning, row.release) == ("de", True, "r1")


def test_what_arrives_after_the_window_and_its_lateness_is_not_judged() -> None:
    sessions = Sessions()
    ends = NOW + WINDOW_S + LATENESS_S
    assert sessions.heard(grant(), PLAY[:1], ends - 0.001) == [Fold.FOLDED]
    assert sessions.heard(grant(), PLAY[1:2], ends) == [Fold.LATE]
    assert rows_of(sessions)[0].seq == 1


def test_what_happened_after_the_window_is_not_judged_however_early_it_arrives() -> None:
    sessions = Sessions()
    late = event(9, WINDOW_S * 1000 + 1, delay_ms=100)
    assert sessions.heard(grant(), [PLAY[0], late], NOW + 1) == [Fold.FOLDED, Fold.OUTSIDE]
    assert rows_of(sessions)[0].seq == 1


def test_a_closed_second_never_changes() -> None:
    sessions = Sessions()
    sessions.heard(grant(), PLAY[:2], NOW + 1)
    before = rows_of(sessions)
    assert sessions.heard(grant(), PLAY[2:], NOW + 2) == [Fold.LATE, Fold.LATE]  # a clock that went back
    assert sessions.granted(grant(2), NOW + 2) is Fold.LATE
    assert rows_of(sessions, NOW + CLOSES_S + 5) == before


def test_a_second_is_closed_only_when_all_of_it_can_have_arrived() -> None:
    sessions = Sessions()
    sessions.granted(grant(), NOW + 0.9)
    assert rows_of(sessions, NOW + CLOSES_S - 0.001) == []
    assert sessions.closed_until == NOW
    assert len(rows_of(sessions, NOW + CLOSES_S)) == 1
    assert (sessions.open, sessions.closed_until) == (0, NOW + 1)


def test_rows_are_kept_for_ten_minutes_and_then_forgotten() -> None:
    sessions = Sessions()
    sessions.granted(grant(), NOW)
    assert len(rows_of(sessions, NOW + CLOSES_S + KEPT_S - 1)) == 1
    assert rows_of(sessions, NOW + CLOSES_S + KEPT_S + 1) == []
    assert sessions.kept_from > NOW


def test_nothing_grows_beyond_its_bound() -> None:
    sessions = Sessions(most=100)
    found = [sessions.granted(grant(n), NOW) for n in range(150)]
    assert (found.count(Fold.FOLDED), found.count(Fold.FULL), sessions.open) == (100, 50, 100)
    for step in range(1, 12):
        sessions.close(NOW + step * CLOSES_S)
        for n in range(150):
            sessions.granted(grant(n, NOW + step * CLOSES_S), NOW + step * CLOSES_S)
    assert len(sessions.rows(0, NOW * 2)) <= 500
    assert sessions.dropped > 0


def test_a_grant_from_the_future_of_another_nodes_clock_is_not_held_for_ever() -> None:
    assert Sessions().granted(grant(second=NOW + 3600), NOW) is Fold.AHEAD


def test_what_a_dead_node_knew_goes_on_elsewhere() -> None:
    dead, here = Sessions(), Sessions()
    dead.heard(grant(1, NOW), PLAY[:2], NOW + 1)
    dead.heard(grant(2, NOW + 15), PLAY[:2], NOW + 16)
    dead.granted(grant(3, NOW + 15), NOW + 15)
    here.heard(grant(2, NOW + 15), PLAY[:1], NOW + 15)
    here.close(NOW + CLOSES_S)  # here the first second has closed
    here.adopt(dead)
    assert here.heard(grant(2, NOW + 15), PLAY[2:3], NOW + 30) == [Fold.FOLDED]
    found = {row.session: row.seq for row in rows_of(here, NOW + 15 + CLOSES_S)}
    assert found == {1: 2, 2: 3, 3: 0}
    assert here.open == 0


@pytest.mark.parametrize(
    ("told", "lost"),
    [
        (event(1, 0), True),
        (event(2, 15_000, delay_ms=15_000), False),
        (event(2, 15_001, delay_ms=15_001), True),
        (event(2, 900, delay_ms=900, errors=1), False),  # an error that the player got over before the first frame
        (event(2, 900, errors=1), True),
    ],
)
def test_a_start_failed_when_there_was_no_first_frame_in_time(told: PlayerEvent, lost: bool) -> None:
    assert failed(told) is lost


@given(st.integers(0, 20_000), st.integers(-1, 30_000), st.integers(0, 30_000), st.integers(0, 30_000))
def test_sums_beyond_the_time_that_passed_are_not_believed(at_ms: int, delay: int, played: int, stalled: int) -> None:
    told = event(1, at_ms, delay_ms=delay, played_ms=played, stalled_ms=stalled)
    if plausible(told):
        assert delay <= at_ms
        assert played + stalled <= at_ms + 1000


def test_wrong_clocks_in_players_cannot_reach_beyond_their_sessions_window() -> None:
    """A clock that runs double, one that stands, one that jumps by a day: each costs at most its own session."""
    sessions = Sessions()
    double = [event(n, 2000 * n, delay_ms=1400 if n > 1 else -1, played_ms=2000 * n - 2000) for n in range(1, 20)]
    standing = [event(n, 0) for n in range(1, 20)]
    jumping = [event(1, 0), event(2, 86_400_000, delay_ms=86_000_000), event(3, 900, delay_ms=900)]
    for session, told in enumerate((double, standing, jumping)):
        for number, one in enumerate(told):
            sessions.heard(grant(session), [one], NOW + number)
    for row in rows_of(sessions):
        assert row.played_ms + row.stalled_ms <= WINDOW_S * 1000 + 1000
        assert row.delay_ms <= WINDOW_S * 1000
    assert {row.session: row.seq for row in rows_of(sessions)} == {0: 10, 1: 19, 2: 3}
