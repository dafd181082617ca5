"""Which seconds make a look: none drawn on the way between two splits, none twice, later ones less often."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from redqueen.trials.life import Stretch
from redqueen.trials.stretches import PERMANENT_S, SETTLE_S, next_look

ONE, TWO = Stretch(1000.4, 0.1), Stretch(1060.2, 0.5)


def test_a_stretch_is_judged_from_when_every_node_draws_so_until_the_next_begins() -> None:
    first = next_look((ONE, TWO), 0, 1003)
    assert first is None
    settled = 1001 + SETTLE_S
    found = next_look((ONE, TWO), 0, settled + 1)
    assert found is not None and (found.first, found.until, found.stretch) == (settled, settled + 1, ONE)
    rest = next_look((ONE, TWO), 1050, 2000)
    assert rest is not None and (rest.first, rest.until, rest.stretch) == (1050, 1060, ONE)
    assert next_look((ONE, TWO), 1060, 1061 + SETTLE_S) is None
    later = next_look((ONE, TWO), 1060, 1064 + SETTLE_S)
    assert later is not None and (later.first, later.stretch) == (1061 + SETTLE_S, TWO)


def test_looks_come_every_second_at_first_and_span_more_later() -> None:
    hour = next_look((ONE,), 1001 + 3600, 1001 + 3605)
    assert hour is None
    found = next_look((ONE,), 1001 + 3600, 1001 + 3606)
    assert found is not None and found.until - found.first == 6
    assert next_look((ONE,), 1010, 1010 + PERMANENT_S - 1, slow=True) is None


@given(
    st.lists(st.floats(0.5, 60.0), min_size=1, max_size=5),
    st.lists(st.integers(0, 20), max_size=60),
    st.booleans(),
)
def test_however_time_passes_no_second_is_judged_twice_and_none_of_a_change(
    lengths: list[float], steps: list[int], slow: bool
) -> None:
    starts = [1000.0]
    for length in lengths:
        starts.append(starts[-1] + length)
    stretches = tuple(Stretch(start, 0.1) for start in starts)
    judged: list[int] = []
    cursor = known = 1000
    for step in steps:
        known += step
        while (window := next_look(stretches, cursor, known, slow=slow)) is not None:
            assert window.first >= cursor and window.until <= known
            judged += range(window.first, window.until)
            cursor = window.until
            assert window.first >= window.stretch.from_s + SETTLE_S
            assert all(not window.first < start < window.until for start in starts)
    assert judged == sorted(set(judged))
