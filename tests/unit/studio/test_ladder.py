"""The ladder: never larger than the film, always its shape, from small to large."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.studio import ladder

_SIDES = st.integers(2, 8192)
_RATES = st.sampled_from([Fraction(10), Fraction(24), Fraction(30_000, 1001), Fraction(60)])


@settings(max_examples=50, deadline=None)
@given(width=_SIDES, height=_SIDES, rate=_RATES)
def test_rungs_never_enlarge_are_even_grow_and_have_names_of_their_own(width: int, height: int, rate: Fraction) -> None:
    rungs = ladder.rungs(width, height, rate)
    assert rungs
    for rung in rungs:
        assert rung.width % 2 == rung.height % 2 == 0
        assert rung.width >= 2
        assert rung.height >= 2
        assert rung.width <= width
        assert rung.height <= height
        assert rung.name.endswith("p")
        assert "/" not in rung.name
    areas = [rung.width * rung.height for rung in rungs]
    assert areas == sorted(areas)
    assert [rung.bitrate_bps for rung in rungs] == sorted(rung.bitrate_bps for rung in rungs)
    assert len({rung.name for rung in rungs}) == len(rungs)


@settings(max_examples=50, deadline=None)
@given(width=st.integers(64, 4096), height=st.integers(64, 4096), rate=_RATES)
def test_rungs_keep_the_films_shape(width: int, height: int, rate: Fraction) -> None:
    for rung in ladder.rungs(width, height, rate):
        assert abs(rung.width * height - rung.height * width) <= 2 * max(width, height) + 2


@pytest.mark.parametrize(
    ("width", "height", "names"),
    [
        (1920, 1080, ["360p", "540p", "720p", "1080p"]),
        (3840, 2160, ["360p", "540p", "720p", "1080p", "2160p"]),
        (1920, 800, ["360p", "540p", "720p", "1080p"]),
        (1080, 1920, ["360p", "540p", "720p", "1080p"]),
        (854, 480, ["360p", "480p"]),
        (640, 360, ["360p"]),
        (16, 16, ["16p"]),
        (7680, 4320, ["360p", "540p", "720p", "1080p", "2160p"]),
    ],
)
def test_well_known_sizes_get_the_rungs_that_people_expect(width: int, height: int, names: list[str]) -> None:
    assert [rung.name for rung in ladder.rungs(width, height, Fraction(24))] == names


def test_peak_rates_follow_the_authoring_specification() -> None:
    assert 900_000 <= ladder.bitrate_bps(640, 360, Fraction(30)) <= 1_200_000
    assert 2_700_000 <= ladder.bitrate_bps(1280, 720, Fraction(30)) <= 4_500_000
    assert 5_000_000 <= ladder.bitrate_bps(1920, 1080, Fraction(30)) <= 7_800_000
