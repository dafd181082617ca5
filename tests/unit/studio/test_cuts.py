"""Cuts: chunks, GOPs and segments cover the film exactly."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.studio import cuts
from redqueen.studio.rates import STANDARD, frame_ticks, output_rate, timescale


@settings(max_examples=40, deadline=None)
@given(frames=st.integers(1, 200_000), gop=st.integers(4, 120))
def test_chunks_cover_every_frame_once_and_in_order(frames: int, gop: int) -> None:
    made = cuts.chunks(frames, gop)
    assert [chunk.index for chunk in made] == list(range(len(made)))
    assert made[0].start == 0
    assert made[-1].end == frames
    assert all(left.end == right.start for left, right in pairwise(made))
    assert all(chunk.frames > 0 for chunk in made)


@settings(max_examples=40, deadline=None)
@given(frames=st.integers(1, 100_000), gop=st.integers(4, 120))
def test_every_chunk_but_the_last_is_a_whole_number_of_gops(frames: int, gop: int) -> None:
    assert all(chunk.frames % gop == 0 for chunk in cuts.chunks(frames, gop)[:-1])


def test_the_first_viewer_waits_for_one_gop_only() -> None:
    assert cuts.chunks(10_000, 48)[0].frames == 48


@settings(max_examples=50, deadline=None)
@given(frames=st.integers(1, 5000), gop=st.integers(1, 120))
def test_gops_add_up_and_only_the_last_is_short(frames: int, gop: int) -> None:
    made = cuts.gops(frames, gop)
    assert sum(made) == frames
    assert all(length == gop for length in made[:-1])


@settings(max_examples=50, deadline=None)
@given(count=st.integers(0, 500), head=st.integers(0, 4))
def test_groups_cover_all_fragments_and_growth_never_changes_a_full_group(count: int, head: int) -> None:
    groups = cuts.grouped(count, head)
    assert [n for first, past in groups for n in range(first, past)] == list(range(count))
    longer = cuts.grouped(count + 1, head)
    full = [group for group in groups if group[1] - group[0] == cuts.SEGMENT_GOPS or group[0] < head]
    assert longer[: len(full)] == full


def test_a_constant_rate_is_kept_exactly() -> None:
    for rate in STANDARD:
        assert output_rate(rate, rate) == (rate, False)
    assert output_rate(Fraction(18), Fraction(18)) == (Fraction(18), False)


def test_a_rate_that_a_millisecond_clock_blurred_is_put_right() -> None:
    assert output_rate(Fraction(2997, 125), Fraction(2997, 125)) == (Fraction(24000, 1001), False)


def test_fast_rates_are_divided_and_varying_ones_become_standard() -> None:
    assert output_rate(Fraction(120), Fraction(120))[0] == 60
    assert output_rate(Fraction(120_000, 1001), Fraction(120_000, 1001))[0] == Fraction(60_000, 1001)
    assert output_rate(Fraction(117, 4), Fraction(1000, 33)) == (Fraction(30), True)
    assert output_rate(None, None) == (Fraction(25), True)
    assert output_rate(Fraction(90_000), Fraction(90_000))[1]


@settings(max_examples=50, deadline=None)
@given(num=st.integers(1, 200_000), den=st.integers(1, 2000))
def test_every_output_rate_has_whole_ticks_and_is_bounded(num: int, den: int) -> None:
    rate, _ = output_rate(Fraction(num, den), Fraction(num, den))
    assert 5 <= rate <= Fraction(60) * Fraction(2001, 2000)
    assert Fraction(frame_ticks(rate), timescale(rate)) == 1 / rate
    assert 10_000 <= timescale(rate) <= 120_000
    assert cuts.gop_frames(rate) >= 1
