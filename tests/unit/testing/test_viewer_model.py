"""The playback model: when the picture moves, stands still, and for how long, to the millisecond."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.testing.viewer.model import (
    AtEdge,
    Event,
    Fetched,
    GaveUp,
    Phase,
    Playback,
    Seek,
    Tick,
    begin,
    buffered_s,
    closed,
    event_in,
    hungry_in,
    step,
    waiting_s,
)


def play(*moments: tuple[float, Event], tracks: tuple[str, ...] = ("video", "audio"), speed: float = 1.0) -> Playback:
    state = begin(tracks, 100.0, speed=speed)
    for at, event in moments:
        state = step(state, event, 100.0 + at)
    return state


def video(start: float, end: float, *, last: bool = False) -> Fetched:
    return Fetched("video", start, end, last)


def audio(start: float, end: float, *, last: bool = False) -> Fetched:
    return Fetched("audio", start, end, last)


def test_the_first_frame_comes_when_every_track_has_a_segment() -> None:
    state = play((0.2, video(0, 4)))
    assert state.phase is Phase.STARTING and state.play_delay_s is None
    state = step(state, audio(0, 4), 100.5)
    assert state.phase is Phase.PLAYING
    assert state.play_delay_s == pytest.approx(0.5)


def test_a_segment_in_time_leaves_no_stall() -> None:
    state = play((0, video(0, 4)), (0, audio(0, 4)), (3.9, video(4, 8)), (3.99, audio(4, 8)), (7, Tick()))
    assert state.phase is Phase.PLAYING and state.stalls == ()
    assert state.position_s == pytest.approx(7)


def test_a_late_segment_stalls_exactly_from_where_the_media_ran_out() -> None:
    state = play((0, video(0, 4)), (0, audio(0, 4)), (1, audio(4, 8)), (9.5, video(4, 8)))
    (stall,) = state.stalls
    assert stall.at == pytest.approx(104) and stall.seconds == pytest.approx(5.5)
    assert stall.position_s == pytest.approx(4) and stall.starved == "video" and not stall.at_edge
    assert state.phase is Phase.PLAYING


def test_a_stall_with_everything_listed_fetched_is_told_apart() -> None:
    state = play((0, video(0, 4)), (0, audio(0, 8)), (1, AtEdge("video")), (6, video(4, 8)))
    assert [stall.at_edge for stall in state.stalls] == [True]


def test_double_speed_eats_the_buffer_twice_as_fast() -> None:
    state = play((0, video(0, 4)), (0, audio(0, 4)), (3, video(4, 8)), speed=2.0)
    assert state.phase is Phase.STALLED and state.waiting_since == pytest.approx(102)


def test_the_film_ends_when_the_longest_track_ends() -> None:
    state = play((0, video(0, 4.0, last=True)), (0, audio(0, 4.02, last=True)), (4.01, Tick()))
    assert state.phase is Phase.PLAYING
    state = step(state, Tick(), 105.0)
    assert state.phase is Phase.ENDED and state.position_s == pytest.approx(4.02) and state.stalls == ()


def test_an_event_playlist_that_ends_after_all_was_fetched_ends_the_film() -> None:
    state = play((0, video(0, 4)), (0, audio(0, 4)), (6, AtEdge("video", ended=True)), (6, AtEdge("audio", ended=True)))
    assert state.phase is Phase.ENDED
    assert len(state.stalls) == 1, "two seconds of standing still before the end was known"


def test_a_seek_out_of_the_buffer_is_a_seek_delay_and_no_stall() -> None:
    state = play((0, video(0, 8)), (0, audio(0, 8)), (2, Seek(60)), (2.3, video(58, 62)), (2.4, audio(60, 64)))
    assert state.phase is Phase.PLAYING and state.stalls == ()
    assert state.seek_delays_s == pytest.approx((0.4,))
    assert state.position_s == pytest.approx(60)


def test_a_seek_within_the_buffer_goes_on_at_once() -> None:
    state = play((0, video(0, 8)), (0, audio(0, 8)), (2, Seek(5)))
    assert state.phase is Phase.PLAYING and state.seek_delays_s == pytest.approx((0.0,))


def test_a_segment_from_before_the_seek_is_not_joined_on() -> None:
    state = play((0, video(0, 4)), (0, audio(0, 4)), (1, Seek(60)), (1.1, video(4, 8)))
    assert state.tracks["video"].until_s == 60


def test_giving_up_counts_the_stall_under_way() -> None:
    state = play((0, video(0, 4)), (0, audio(0, 4)), (10, GaveUp("403")))
    assert state.phase is Phase.FAILED and state.because == "403"
    assert [stall.seconds for stall in state.stalls] == pytest.approx([6])


def test_leaving_during_a_stall_counts_it() -> None:
    state = closed(play((0, video(0, 4)), (0, audio(0, 4))), 107.0)
    assert [stall.seconds for stall in state.stalls] == pytest.approx([3])


def test_hunger_follows_the_goal() -> None:
    state = play((0, video(0, 4)), (0, audio(0, 14)))
    assert hungry_in(state, "video", 12) == 0
    assert hungry_in(state, "audio", 12) == pytest.approx(2)
    assert event_in(state) == pytest.approx(4)
    assert buffered_s(state, "audio") == pytest.approx(14)
    done = step(state, audio(14, 16, last=True), 100.0)
    assert hungry_in(done, "audio", 12) == math.inf


def test_waiting_is_measured_from_the_wish_and_from_the_stall() -> None:
    assert waiting_s(begin(("video",), 100.0), 103.0) == pytest.approx(3)
    stalled = play((0, video(0, 4)), (0, audio(0, 4)), (6, Tick()))
    assert waiting_s(stalled, 106.0) == pytest.approx(2)


happenings = st.lists(
    st.tuples(st.floats(0, 5), st.sampled_from(["video", "audio", "tick", "seek"]), st.floats(0.5, 6)), max_size=60
)


@settings(max_examples=40)
@given(happenings)
def test_time_is_either_played_or_waited_and_never_lost(moments: list[tuple[float, str, float]]) -> None:
    state, now = begin(("video", "audio"), 0.0), 0.0
    jumped = 0.0
    for pause, kind, length in moments:
        now += pause
        if kind == "tick":
            state = step(state, Tick(), now)
        elif kind == "seek":
            before = step(state, Tick(), now).position_s
            state = step(state, Seek(before + length), now)
            jumped += length
        else:
            until = state.tracks[kind].until_s
            state = step(state, Fetched(kind, until, until + length), now)
        assert state.position_s <= min(track.until_s for track in state.tracks.values()) + 1e-9
    state = closed(state, now)
    started = now if state.first_frame_at is None else state.first_frame_at
    standing = sum(stall.seconds for stall in state.stalls) + sum(state.seek_delays_s)
    played = state.position_s - jumped
    assert played + standing + started == pytest.approx(now, abs=1e-6)


@settings(max_examples=40)
@given(happenings, st.integers(1, 50))
def test_looking_more_often_changes_nothing(moments: list[tuple[float, str, float]], looks: int) -> None:
    seldom, often, now = begin(("video",), 0.0), begin(("video",), 0.0), 0.0
    for pause, kind, length in moments:
        for look in range(looks % 7):
            often = step(often, Tick(), now + pause * look / 7)
        now += pause
        if kind == "video":
            event = Fetched("video", seldom.tracks["video"].until_s, seldom.tracks["video"].until_s + length)
            seldom, often = step(seldom, event, now), step(often, event, now)
    one, two = closed(seldom, now), closed(often, now)
    assert one.position_s == pytest.approx(two.position_s, abs=1e-6)
    lengths = [[s.seconds for s in state.stalls if s.seconds > 1e-6] for state in (one, two)]
    assert lengths[0] == pytest.approx(lengths[1], abs=1e-6)
