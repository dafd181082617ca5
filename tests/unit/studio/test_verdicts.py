"""Verdicts: whether an encoded chunk is what was asked for, and what happens after a failure."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from redqueen.errors import Broken, Conflict, Exhausted, InvalidInput, Unavailable
from redqueen.studio import plan, recipe
from redqueen.studio.boxes import Index
from redqueen.studio.encoding import prove
from redqueen.studio.model import Chunk, Facts, Fragment, Plan, Ratio
from redqueen.studio.rates import frame_ticks
from redqueen.studio.recipe import Entry
from redqueen.studio.service import as_ours, may_repeat

FACTS = Facts("mov", 10, "h264", "yuv420p", 0, 640, 360, Ratio(25, 1), 330, variable=False, zero=Ratio(0, 1))
MADE: Plan = plan.make(FACTS, 1)
_TICKS = frame_ticks(FACTS.rate.exact)


def _index(start: int, *gops: int) -> Index:
    fragments: list[Fragment] = []
    for samples in gops:
        fragments.append(Fragment(0, 1, start * _TICKS, samples))
        start += samples
    return Index(10, "avc1.64001e", tuple(fragments))


def test_exactly_the_frames_that_were_asked_for_are_accepted() -> None:
    assert prove(_index(50, 50, 50), Chunk(1, 50, 150), MADE).good


@pytest.mark.parametrize(
    ("index", "late"),
    [
        (_index(51, 50, 49), True),
        (_index(50, 50, 49), False),
        (_index(50, 50, 50, 1), False),
        (_index(50, 49, 51), False),
        (Index(0, "", ()), True),
    ],
)
def test_anything_else_is_refused_and_tells_if_the_beginning_is_missing(index: Index, late: bool) -> None:
    proof = prove(index, Chunk(1, 50, 150), MADE)
    assert not proof.good
    assert proof.because
    assert proof.late is late


def test_only_the_films_last_chunk_may_be_short() -> None:
    assert prove(_index(300, 12), Chunk(6, 300, 330), MADE).good
    assert not prove(_index(300, 31), Chunk(6, 300, 330), MADE).good


def test_a_full_disk_and_a_lost_lease_never_end_a_title() -> None:
    for error in (Exhausted("x", "x"), Conflict("x", "x"), OSError(errno.ENOSPC, "full")):
        assert may_repeat(error, 999)


def test_the_films_own_fault_ends_a_title_at_once_and_ours_when_it_repeats() -> None:
    assert not may_repeat(InvalidInput("film.empty", "x"), 1)
    assert may_repeat(Unavailable("x", "x"), 7)
    assert not may_repeat(Unavailable("x", "x"), 8)
    assert may_repeat(Broken("x", "x"), 2)
    assert not may_repeat(ValueError("x"), 3)
    assert as_ours(ValueError("odd")).hint


def test_the_same_chunk_has_the_same_recipe_wherever_the_input_is_entered() -> None:
    chunk = Chunk(1, 50, 150)
    lists = {
        entry: recipe.video(Path("/ffmpeg"), MADE, MADE.instant, chunk, Path("/film"), Path("/out"), entry)
        for entry in (Entry.NEAR, Entry.FAR, Entry.START)
    }
    after_input = {tuple(argv[argv.index("-i") :]) for argv in lists.values()}
    assert len(after_input) == 1


def test_a_strangers_file_is_always_read_through_the_whitelists() -> None:
    film = Path("/-i http:evil")
    argv = recipe.video(Path("/ffmpeg"), MADE, MADE.instant, Chunk(0, 0, 50), film, Path("/out"), Entry.NEAR)
    before = argv[: argv.index("-i")]
    assert before[before.index("-protocol_whitelist") + 1] == "file"
    assert "-format_whitelist" in before
    assert "-codec_whitelist" in before
    assert argv[argv.index("-i") + 1] == "file:/-i http:evil"
