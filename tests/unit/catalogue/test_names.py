"""Names made safe and pleasant."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.catalogue.names import MAX_CHARS, UNTITLED, cleaned, cleaned_description, from_filename

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
any_text = st.text(st.characters(), max_size=500) | st.text(
    st.sampled_from(BIDI + "\x00\n\r\u2028 a-é\ud800"), max_size=50
)


@settings(deadline=None)
@given(any_text)
def test_whatever_comes_a_name_is_one_safe_line_and_never_nothing(text: str) -> None:
    for shown in (cleaned(text), from_filename(text)):
        assert 1 <= len(shown) <= MAX_CHARS
        assert shown == shown.strip()
        assert not any(mark in BIDI or unicodedata.category(mark) in ("Cc", "Cs", "Zl", "Zp") for mark in shown)
        shown.encode()
        assert cleaned(shown) == shown


@settings(deadline=None)
@given(any_text)
def test_a_description_keeps_its_lines_and_nothing_dangerous(text: str) -> None:
    shown = cleaned_description(text)
    assert len(shown) <= 4000
    assert not any(mark in BIDI or (unicodedata.category(mark) == "Cc" and mark != "\n") for mark in shown)


@pytest.mark.parametrize(
    ("filename", "title"),
    [
        ("Big_Buck.Bunny.1080p.mp4", "Big Buck Bunny 1080p"),
        ("Dr. Strangelove (1964).mkv", "Dr. Strangelove (1964)"),
        ("C:\\films\\a film.MOV", "a film"),
        ("-i.mp4", "i"),
        (".mp4", UNTITLED),
        ("", UNTITLED),
        ("\u200d\u0301", UNTITLED),
        ("x" * 4096 + ".mp4", "x" * MAX_CHARS),
        ("a\u202egpj.mp4", "agpj"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.mp4", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("Vol.2", "Vol 2"),
    ],
)
def test_a_file_becomes_a_title(filename: str, title: str) -> None:
    assert from_filename(filename) == title
