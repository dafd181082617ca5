"""How a title may change."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.catalogue.lifecycle import (
    BecamePlayable,
    Completed,
    Described,
    Failed,
    News,
    PosterMade,
    Probed,
    Progressed,
    Received,
    Subtitled,
    Uploaded,
    step,
)
from redqueen.catalogue.model import Facts, Failure, Rung, State, Subtitle, Title
from redqueen.errors import Conflict

FRESH = Title("x" * 12, "Film", 0.0, 0.0, size_bytes=100)
JOURNEY: list[News] = [
    Received(),
    Probed(Facts(10.0, 640, 360, 25.0)),
    Progressed(0.2, (Rung("360p", 360, 400_000, 0.5),)),
    BecamePlayable("master.m3u8"),
    Completed("master.m3u8", "manifest.mpd"),
]
RANK = {state: rank for rank, state in enumerate(State)}

news = st.one_of(
    st.builds(Uploaded, st.integers(-5, 500)),
    st.just(Received()),
    st.builds(Probed, st.builds(Facts, st.floats(0, 1e5))),
    st.builds(Progressed, st.floats(), st.just((Rung("a", 1, 1, 0.5),))),
    st.just(BecamePlayable("m")),
    st.just(PosterMade("p")),
    st.just(Completed("m", "d")),
    st.just(Failed(Failure("c", "w"))),
    st.builds(Subtitled, st.builds(Subtitle, st.sampled_from(["en", "de"]), st.text(max_size=3))),
    st.builds(Described, st.text(max_size=3), st.text(max_size=3)),
)


@settings(deadline=None)
@given(st.lists(news, max_size=40))
def test_whatever_is_told_a_title_never_goes_back_and_never_lies(told: list[News]) -> None:
    title = FRESH
    for now, one in enumerate(told, 1):
        try:
            after = step(title, one, float(now))
        except Conflict:
            continue
        assert RANK[after.state] >= RANK[title.state] or after.state is State.FAILED
        assert after.progress >= title.progress
        assert math.isfinite(after.progress)
        assert 0 <= after.uploaded_bytes <= after.size_bytes
        assert (after.failure is not None) == (after.state is State.FAILED)
        if after.state in (State.PLAYABLE, State.COMPLETE):
            assert after.hls
        assert len({track.lang for track in after.subtitles}) == len(after.subtitles)
        if title.state in (State.COMPLETE, State.FAILED):
            assert after.state is title.state
        title = after


@settings(deadline=None)
@given(st.lists(news, max_size=20))
def test_the_same_news_twice_changes_nothing_the_second_time(told: list[News]) -> None:
    title = FRESH
    for one in told:
        try:
            title = step(title, one, 1.0)
        except Conflict:
            continue
        assert step(title, one, 2.0) is title


def test_a_film_goes_its_way_and_late_news_is_dropped() -> None:
    title = FRESH
    states: list[State] = []
    for one in JOURNEY:
        title = step(title, one, 1.0)
        states.append(title.state)
    assert states == [State.WAITING, State.ENCODING, State.ENCODING, State.PLAYABLE, State.COMPLETE]
    assert title.rungs[0].progress == 1.0
    for late in (*JOURNEY, Failed(Failure("c", "w")), Uploaded(3)):
        assert step(title, late, 9.0) is title


@pytest.mark.parametrize("too_early", JOURNEY[1:])
def test_what_has_not_arrived_cannot_be_encoded(too_early: News) -> None:
    with pytest.raises(Conflict):
        step(FRESH, too_early, 1.0)


def test_subtitles_of_a_language_replace_each_other() -> None:
    once = step(FRESH, Subtitled(Subtitle("en", "One")), 1.0)
    again = step(step(once, Subtitled(Subtitle("de", "Zwei")), 1.0), Subtitled(Subtitle("en", "Two")), 1.0)
    assert again.subtitles == (Subtitle("de", "Zwei"), Subtitle("en", "Two"))


def test_progress_that_comes_out_of_order_never_goes_back() -> None:
    title = step(FRESH, Received(), 1.0)
    for fraction, rung in ((0.5, 0.8), (0.3, 0.6), (math.nan, 0.1), (7.0, 0.9)):
        title = step(title, Progressed(fraction, (Rung("a", 360, 1, rung),)), 2.0)
        assert title.progress >= 0.5
        assert title.rungs[0].progress >= 0.8
    assert title.progress == 1.0
