"""Probing: ffprobe's answers become facts or clear refusals."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.errors import InvalidInput, RedQueenError
from redqueen.studio import probe
from redqueen.studio.model import Facts

_VIDEO: dict[str, Any] = {
    "index": 0,
    "codec_type": "video",
    "codec_name": "h264",
    "width": 1920,
    "height": 1080,
    "sample_aspect_ratio": "1:1",
    "pix_fmt": "yuv420p",
    "r_frame_rate": "24/1",
    "avg_frame_rate": "24/1",
    "time_base": "1/12288",
    "start_pts": 0,
    "duration_ts": 12288 * 10,
    "disposition": {"default": 1, "attached_pic": 0},
}
_SOUND = {"index": 1, "codec_type": "audio", "codec_name": "aac", "channels": 2, "tags": {"language": "ger"}}


def _facts(*streams: dict[str, Any], **container: str) -> Facts:
    shape = {"format_name": "mov,mp4", "start_time": "0.000", "duration": "10.0"} | container
    answer = probe.decode(msgspec.json.encode({"streams": streams, "format": shape}))
    end = probe.promised_end(answer, probe.picture(answer))
    assert end is not None
    return probe.understand(answer, end, 1000)


def test_a_plain_film_is_understood() -> None:
    facts = _facts(_VIDEO, _SOUND)
    assert (facts.width, facts.height, facts.frames, facts.rate.exact) == (1920, 1080, 240, 24)
    assert facts.audio is not None
    assert (facts.audio.index, facts.audio.language) == (1, "de")


def test_rotation_and_pixel_shape_give_the_size_as_shown() -> None:
    assert _facts(_VIDEO | {"side_data_list": [{"rotation": -90}]}).width == 1080
    assert _facts(_VIDEO | {"width": 720, "height": 576, "sample_aspect_ratio": "64:45"}).width == 1024
    assert _facts(_VIDEO | {"sample_aspect_ratio": "0:1"}).width == 1920


def test_cover_art_is_not_the_picture() -> None:
    cover = _VIDEO | {"index": 5, "width": 6000, "height": 6000, "disposition": {"default": 0, "attached_pic": 1}}
    assert _facts(cover, _VIDEO).video_index == 0


def test_frame_zero_is_the_first_picture_unless_the_sound_leads_by_long() -> None:
    near = _facts(_VIDEO | {"start_pts": 1000}, start_time="0.05")
    assert near.zero.exact == Fraction(1000, 12288)
    far = _facts(_VIDEO | {"start_pts": 12288 * 3}, start_time="0.0", duration="20.0")
    assert far.zero.exact == 0
    assert far.frames == 24 * 13


@pytest.mark.parametrize(
    ("streams", "code"),
    [
        ([_SOUND], "film.no_video"),
        ([_VIDEO | {"width": 0}], "film.not_a_film"),
        ([_VIDEO | {"width": 30_000, "height": 30_000}], "film.too_large"),
        ([_VIDEO | {"duration_ts": 12288 * 3600 * 13}], "film.too_long"),
        ([_VIDEO] + [_SOUND] * 64, "film.too_many_streams"),
    ],
)
def test_what_cannot_be_a_title_is_refused_with_a_code(streams: list[dict[str, Any]], code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        _facts(*streams, duration="100000")
    assert refused.value.code == code
    assert refused.value.hint


def test_an_answer_that_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidInput):
        probe.decode(b"not json")


def test_the_last_packet_ends_the_film_whatever_the_order() -> None:
    video = msgspec.convert(_VIDEO, probe.Stream)
    assert probe.last_end(b"0,512\n1536,512\n1024,512\nN/A,\n", video) == Fraction(2048, 12288)
    assert probe.last_end(b"1228,\n", video) == Fraction(1228, 12288) + Fraction(1, 24)
    assert probe.last_end(b"", video) is None


_TEXT = st.one_of(st.text(max_size=12), st.sampled_from(["0/0", "1/0", "24/1", "1e999", "nan", "-5", "inf"]))


@settings(max_examples=50, deadline=None)
@given(
    st.fixed_dictionaries(
        {"index": st.integers(0, 9), "codec_type": st.sampled_from(["video", "audio", "data"])},
        optional={
            "width": st.integers(-5, 100_000),
            "height": st.integers(-5, 100_000),
            "sample_aspect_ratio": _TEXT,
            "r_frame_rate": _TEXT,
            "avg_frame_rate": _TEXT,
            "time_base": _TEXT,
            "start_pts": st.integers(-(10**12), 10**12),
            "duration_ts": st.integers(-(10**15), 10**15),
            "tags": st.dictionaries(st.sampled_from(["DURATION", "language"]), _TEXT),
        },
    ),
    _TEXT,
    _TEXT,
)
def test_no_answer_makes_the_parser_fall_over(stream: dict[str, Any], start: str, duration: str) -> None:
    shape = {"format_name": "avi", "start_time": start, "duration": duration}
    try:
        answer = probe.decode(msgspec.json.encode({"streams": [stream], "format": shape}))
        end = probe.promised_end(answer, probe.picture(answer))
        facts = probe.understand(answer, end or Fraction(1), 1)
    except RedQueenError:
        return
    assert facts.frames >= 1
    assert facts.width >= 1
