"""The playlist reader: what it understands, what it refuses, and that no text breaks it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.errors import InvalidInput
from redqueen.testing.viewer.playlist import ByteRange, Master, Media, Part, attributes, parse

URL = "http://films.test/v/token/t1/master.m3u8"

MASTER = """#EXTM3U
#EXT-X-VERSION:7
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English, stereo",LANGUAGE="en",DEFAULT=YES,URI="audio/en.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="Deutsch",LANGUAGE="de",URI="audio/de.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=6000000,AVERAGE-BANDWIDTH=5000000,RESOLUTION=1920x1080,CODECS="avc1.640028,mp4a.40.2",AUDIO="a"
1080p.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=100000,URI="iframes.m3u8"

#EXT-X-STREAM-INF:BANDWIDTH=800000,RESOLUTION=640x360,AUDIO="a"
360p.m3u8
"""

EVENT = """#EXTM3U
#EXT-X-TARGETDURATION:4
#EXT-X-PLAYLIST-TYPE:EVENT
#EXT-X-MAP:URI="init.mp4"
#EXTINF:4.0,
1.m4s
#EXTINF:3.5,a title
2.m4s
"""


def media(text: str) -> Media:
    found = parse(text, URL)
    assert isinstance(found, Media)
    return found


def master(text: str) -> Master:
    found = parse(text, URL)
    assert isinstance(found, Master)
    return found


def test_rungs_come_in_order_of_bandwidth_with_absolute_addresses() -> None:
    found = master(MASTER)
    assert [rung.height for rung in found.rungs] == [360, 1080]
    assert found.rungs[0].url == "http://films.test/v/token/t1/360p.m3u8"
    assert found.rungs[1].codecs == "avc1.640028,mp4a.40.2"
    assert found.rungs[1].average_bps == 5_000_000


def test_a_quoted_comma_does_not_split_an_attribute() -> None:
    assert attributes('NAME="English, stereo",LANGUAGE="en"') == {"NAME": "English, stereo", "LANGUAGE": "en"}


def test_the_default_audio_is_chosen_unless_a_language_is_asked_for() -> None:
    found = master(MASTER)
    english, german = found.audio(found.rungs[0]), found.audio(found.rungs[0], "de")
    assert english is not None and english.language == "en"
    assert german is not None and german.language == "de"


def test_segments_lie_end_to_end_on_the_time_line() -> None:
    found = media(EVENT)
    assert [(s.start_s, s.end_s) for s in found.segments] == [(0.0, 4.0), (4.0, 7.5)]
    assert found.segments[0].init == Part("http://films.test/v/token/t1/init.mp4")
    assert not found.ended and found.kind == "EVENT" and found.duration_s == 7.5
    assert media(EVENT + "#EXT-X-ENDLIST\n").ended


def test_a_byte_range_without_a_start_follows_the_one_before() -> None:
    found = media(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n"
        '#EXT-X-MAP:URI="film.mp4",BYTERANGE="700@0"\n'
        "#EXTINF:2,\n#EXT-X-BYTERANGE:1000@700\nfilm.mp4\n#EXTINF:2,\n#EXT-X-BYTERANGE:500\nfilm.mp4\n"
    )
    assert [s.part.range for s in found.segments] == [ByteRange(700, 1000), ByteRange(1700, 500)]
    assert found.segments[0].init is not None and found.segments[0].init.range == ByteRange(0, 700)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not begin with #EXTM3U"),
        ("<html>", "does not begin with #EXTM3U"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:RESOLUTION=1x1\na.m3u8", "needs BANDWIDTH"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=-5\na.m3u8", "needs BANDWIDTH"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=5\n#EXT-X-STREAM-INF:BANDWIDTH=6\na.m3u8", "no address follows"),
        ("#EXTM3U\n#EXTINF:2,\na.m4s", "TARGETDURATION"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:0\n", "TARGETDURATION"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:2\na.m4s", "needs EXTINF"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:nan,\na.m4s", "duration in seconds"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:-1,\na.m4s", "duration in seconds"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:BYTERANGE=1", "needs URI"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-BYTERANGE:x@1\n#EXTINF:2,\na.m4s", "byte range"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://[broken/a.m4s", "address cannot be read"),
    ],
)
def test_what_cannot_be_played_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(text, URL)
    assert caught.value.code == "playlist.invalid"
    assert why in str(caught.value)


@given(st.text())
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    for candidate in (text, "#EXTM3U\n" + text, "#EXTM3U\n#EXT-X-TARGETDURATION:2\n" + text):
        try:
            parse(candidate, URL)
        except InvalidInput as error:
            assert error.hint


tags = st.sampled_from(["#EXTINF:", "#EXT-X-MAP:", "#EXT-X-BYTERANGE:", "#EXT-X-STREAM-INF:", "#EXT-X-MEDIA:", ""])
values = st.text(alphabet='=",@0123456789.-eEinfaxURIBANDWTH', max_size=30)


@given(st.lists(st.tuples(tags, values), max_size=12))
def test_mangled_tags_are_read_or_refused_and_nothing_else(lines: list[tuple[str, str]]) -> None:
    body = "\n".join(tag + value for tag, value in lines)
    try:
        parse("#EXTM3U\n#EXT-X-TARGETDURATION:2\n" + body, URL)
    except InvalidInput as error:
        assert error.code == "playlist.invalid"


durations = st.lists(st.floats(0.2, 12, allow_nan=False), min_size=1, max_size=40)


@given(durations, st.booleans())
def test_what_was_written_is_read_again(lengths: list[float], ended: bool) -> None:
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:12\n"
    text += "".join(f"#EXTINF:{length:.6f},\n{index}.m4s\n" for index, length in enumerate(lengths))
    found = media(text + ("#EXT-X-ENDLIST\n" if ended else ""))
    assert found.ended is ended and len(found.segments) == len(lengths)
    assert found.duration_s == pytest.approx(sum(lengths), abs=1e-3)


@given(durations, st.floats(-1, 500))
def test_the_segment_after_a_position_is_the_first_that_reaches_past_it(lengths: list[float], position: float) -> None:
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:12\n"
    text += "".join(f"#EXTINF:{length:.6f},\n{index}.m4s\n" for index, length in enumerate(lengths))
    found = media(text)
    slow = next((s for s in found.segments if s.end_s > position + 0.05), None)
    assert found.after(position) == slow
