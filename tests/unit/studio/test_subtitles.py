"""Subtitles: strangers' text in, clean WebVTT out."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.errors import InvalidInput
from redqueen.studio import subtitles

_SRT = """1
00:00:01,000 --> 00:00:02,500
Hello <b>there</b>

2
00:01:02,003 --> 00:01:05,000
<i>Second</i> line
and a third

"""


def test_subrip_becomes_webvtt() -> None:
    assert subtitles.clean(_SRT.encode()) == (
        b"WEBVTT\n\n00:00:01.000 --> 00:00:02.500\nHello <b>there</b>\n\n"
        b"00:01:02.003 --> 00:01:05.000\n<i>Second</i> line\nand a third\n"
    )


def test_webvtt_keeps_its_cues_and_loses_names_settings_notes_and_styles() -> None:
    text = (
        "WEBVTT - A title\n\nSTYLE\n::cue { color: red }\n\nNOTE hidden\n\nintro\n"
        "00:01.000 --> 00:02.000 align:start\nOne\n\nNOTE\nnot said\n\n00:03.000 --> 00:04.000\n<v Alice>Two</v>\n"
    )
    assert subtitles.clean(text.encode()).decode() == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nOne\n\n00:00:03.000 --> 00:00:04.000\nTwo\n"
    )


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("<script>alert(1)</script>Hi", "Hi"),
        ("<SCRIPT src=x>alert(1)", ""),
        ("<img src=x onerror=alert(1)>Hi", "Hi"),
        ("<b onclick='x'>Hi", "<b>Hi</b>"),
        ("a < b & c > d", "a &lt; b &amp; c &gt; d"),
        ("&lt;script&gt;", "&lt;script&gt;"),
        ("{\\an8}Up", "Up"),
        ("<font color=red>Red</font> <u>under</u>", "Red <u>under</u>"),
        ("</b>Odd</i>", "Odd"),
        ("<i>a<b>b</i>c", "<i>a<b>bc</b></i>"),
        ("x --> y", "x --&gt; y"),
    ],
)
def test_only_bold_italic_and_underline_survive(raw: str, clean: str) -> None:
    source = f"1\n00:00:01,000 --> 00:00:02,000\n{raw}\n\n2\n00:00:03,000 --> 00:00:04,000\nEnd\n"
    texts = [cue.text for cue in subtitles.read(subtitles.decoded(source.encode()))]
    assert texts == ([clean, "End"] if clean else ["End"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_encodings_of_the_world_are_read(encoding: str) -> None:
    raw = "1\r\n00:00:01,000 --> 00:00:02,000\r\nCafé déjà vu\r\n".encode(encoding)
    assert "Café déjà vu".encode() in subtitles.clean(raw)


def test_blank_lines_inside_a_cue_do_not_lose_text() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\nOne\n\nTwo\n\n2\n00:00:03,000 --> 00:00:04,000\nThree\n"
    assert [cue.text for cue in subtitles.read(text)] == ["One\nTwo", "Three"]


def test_a_number_that_is_said_is_kept() -> None:
    text = "00:00:01.000 --> 00:00:02.000\n42\n\n00:00:03.000 --> 00:00:04.000\nThree\n"
    assert [cue.text for cue in subtitles.read(text)] == ["42", "Three"]


@pytest.mark.parametrize("raw", [b"", b"hello", b"1\n00:00:02,000 --> 00:00:01,000\nbackwards\n", b"\x00" * 100])
def test_what_holds_no_cue_is_refused_clearly(raw: bytes) -> None:
    with pytest.raises(InvalidInput) as refused:
        subtitles.clean(raw)
    assert refused.value.code.startswith("subtitles.")
    assert refused.value.hint


def test_more_than_two_mebibytes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="too large"):
        subtitles.clean(b"x" * (subtitles.MAX_BYTES + 1))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=5))
def test_whatever_is_said_comes_out_safe_and_is_stable(bodies: list[str]) -> None:
    text = "".join(f"00:00:{n:02d}.000 --> 00:00:{n:02d}.900\n{body}\n\n" for n, body in enumerate(bodies))
    try:
        once = subtitles.clean(text.encode("utf-8", "ignore"))
    except InvalidInput:
        return
    said = once.decode()
    assert not re.search(r"<(?!/?[biu]>)", said.replace("-->", ""))
    assert "-->" not in re.sub(r"^\d+:\d\d:\d\d\.\d{3} --> \d+:\d\d:\d\d\.\d{3}$", "", said, flags=re.MULTILINE)
    assert subtitles.clean(once) == once
