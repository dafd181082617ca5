"""Which seconds may be judged, what of them is missing, and which row of a session stands."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from redqueen.telemetry.model import FigureBin, SessionRow
from redqueen.trials.collecting import (
    CATCH_UP_S,
    KEPT_S,
    PATIENCE_S,
    SESSIONS_MATURE_S,
    Gap,
    Span,
    extended,
    joined,
    merged,
    ordered,
    span,
    taken,
)
from redqueen.trials.ports import Answers

NOW = 10_000.5
NEWEST = int(NOW) - SESSIONS_MATURE_S


def row(session: int, seq: int = 1, second: int = NEWEST, **changes: object) -> SessionRow:
    values: dict[str, object] = {
        "session": session, "seq": seq, "viewer": 1, "second": second, "device": "tv", "zone": "a", "arms": {},
        "first": (), "failed": False, "delay_ms": 100, "played_ms": 1, "stalled_ms": 0, "stalls": 0, "errors": 0,
        "bitrate_bps": 1,
    }  # fmt: skip
    return SessionRow(**{**values, **changes})  # type: ignore[arg-type]


def figure(gateway: str = "g1", requests: int = 1, second: int = NEWEST) -> FigureBin:
    return FigureBin(second, gateway, "a", "shop", "t", "control", requests, 0, 0, (0,) * 25)


def test_a_second_is_asked_for_once_its_window_and_lateness_are_over_and_not_before() -> None:
    assert span(NEWEST, NOW, SESSIONS_MATURE_S) == Span(NEWEST, NEWEST + 1)
    assert span(NEWEST + 1, NOW, SESSIONS_MATURE_S) is None


def test_who_comes_late_catches_up_in_bounded_turns_and_what_nobody_keeps_is_a_gap() -> None:
    assert span(NEWEST - 299, NOW, SESSIONS_MATURE_S) == Span(NEWEST - 299, NEWEST - 299 + CATCH_UP_S)
    oldest = NEWEST + 1 - KEPT_S
    found = span(oldest - 1000, NOW, SESSIONS_MATURE_S)
    assert found == Span(oldest, oldest + CATCH_UP_S, (Gap("", oldest - 1000, oldest),))


def test_when_every_node_answered_the_seconds_are_taken_whole_and_nothing_beyond_them() -> None:
    rows = (row(1), row(2, second=NEWEST + 1), row(3, second=NEWEST - 1))
    found = taken(Span(NEWEST, NEWEST + 1), Answers(rows, ("n1", "n2")), NOW, SESSIONS_MATURE_S)
    assert (found.until, found.rows, found.gaps, found.heard) == (NEWEST + 1, (rows[0],), (), 1.0)


def test_a_silent_node_delays_a_second_by_a_bounded_time_and_is_then_missing() -> None:
    answers = Answers((row(1),), ("n1", "n2"), ("n2",))
    for waited in range(PATIENCE_S):
        asked = Span(NEWEST, NEWEST + 1 + waited)
        assert taken(asked, answers, NOW + waited, SESSIONS_MATURE_S).until == NEWEST
    found = taken(Span(NEWEST, NEWEST + 1 + PATIENCE_S), answers, NOW + PATIENCE_S, SESSIONS_MATURE_S)
    assert (found.until, found.gaps, found.heard) == (NEWEST + 1, (Gap("n2", NEWEST, NEWEST + 1),), 0.5)
    assert found.rows == (row(1),)


def test_where_nobody_can_be_asked_everything_is_missing_and_never_nothing() -> None:
    none: Answers[SessionRow] = Answers((), ())
    assert taken(Span(NEWEST, NEWEST + 1), none, NOW, SESSIONS_MATURE_S).until == NEWEST
    found = taken(Span(NEWEST, NEWEST + 7), none, NOW + 6, SESSIONS_MATURE_S)
    assert (found.gaps, found.heard) == ((Gap("", NEWEST, NEWEST + 1),), 0.0)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4), st.booleans()), max_size=20), st.randoms())
def test_of_a_session_the_highest_number_stands_whatever_the_order(
    told: list[tuple[int, int, bool]], chance: random.Random
) -> None:
    rows = [row(session, seq, failed=failed) for session, seq, failed in told]
    shuffled = rows[:]
    chance.shuffle(shuffled)
    assert merged(rows) == merged(shuffled + rows)
    highest = {session: max(seq for other, seq, _ in told if other == session) for session, _, _ in told}
    assert {one.session: one.seq for one in merged(rows)} == highest


def test_a_gateways_second_counts_once() -> None:
    bins = (figure(requests=2), figure(), figure("g2"), figure(requests=2))
    assert ordered(bins) == (figure(requests=2), figure("g2"))


def test_a_gap_that_goes_on_is_one_gap_and_their_number_is_bounded() -> None:
    gaps: tuple[Gap, ...] = ()
    for second in range(10):
        gaps = joined(gaps, [Gap("a", second, second + 1), Gap("b", 2 * second, 2 * second + 1)], most=5)
    assert gaps.count(Gap("a", 0, 10)) <= 1
    assert len(gaps) == 5
    assert joined((Gap("a", 0, 10),), [Gap("a", 5, 8)]) == (Gap("a", 0, 10),)


def test_after_a_silence_the_same_seconds_are_asked_for_again_so_that_a_slow_clock_is_heard() -> None:
    later = NOW + 1
    assert span(NEWEST, later, SESSIONS_MATURE_S, again=NEWEST + 1) == Span(NEWEST, NEWEST + 1)
    assert span(NEWEST + 1, later, SESSIONS_MATURE_S, again=NEWEST + 1) == Span(NEWEST + 1, NEWEST + 2)


def test_what_was_taken_before_is_kept_as_long_as_somebody_wants_it_and_never_twice() -> None:
    first = taken(
        Span(NEWEST - 4, NEWEST), Answers((row(1, second=NEWEST - 4), row(2, second=NEWEST - 1)), ("n",)), NOW, 24
    )
    second = taken(Span(NEWEST, NEWEST + 1), Answers((row(3),), ("n", "m"), ("m",)), NOW + 9, 24)
    both = extended(first, second, NEWEST - 2)
    assert (both.since, both.until, [one.session for one in both.rows]) == (NEWEST - 2, NEWEST + 1, [2, 3])
    assert both.thin == ((NEWEST, NEWEST + 1),) and both.gaps == (Gap("m", NEWEST, NEWEST + 1),)
    assert extended(both, first, 0) == first
    assert extended(None, first, 0) == first
