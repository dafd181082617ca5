"""The tus protocol's headers, bodies' text, room on the disk, the API's description."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.api.bodies import decoded
from redqueen.api.description import described
from redqueen.api.intake import UploadLimits, refuse_without_room
from redqueen.api.tus import creation, http_date, metadata, patch_offset
from redqueen.errors import Exhausted, InvalidInput

keys = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), min_size=1, max_size=20)


@settings(deadline=None)
@given(st.dictionaries(keys, st.text(max_size=200), max_size=6))
def test_metadata_comes_back_as_it_was_sent(pairs: dict[str, str]) -> None:
    clean = {key: value.encode("utf-8", "replace") for key, value in pairs.items()}
    line = ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in clean.items())
    assert metadata(line) == {key: value.decode() for key, value in clean.items()}


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_other_metadata_is_refused_and_never_breaks(line: str) -> None:
    try:
        found = metadata(line)
    except InvalidInput:
        return
    assert all(key.isascii() for key in found)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_values_are_bytes_that_always_become_text(value: bytes) -> None:
    assert metadata(f"a {base64.b64encode(value).decode()}")["a"].encode("utf-8") is not None


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_offsets_and_lengths_are_plain_digits_or_refused(length: str, kind: str) -> None:
    for read in (lambda headers: creation(headers, max_bytes=1000).length, patch_offset):
        try:
            number = read({"upload-length": length, "upload-offset": length, "content-type": kind})
        except InvalidInput:
            continue
        assert str(number) == (length.lstrip("0") or "0")


def test_a_content_type_may_carry_parameters() -> None:
    assert patch_offset({"upload-offset": "7", "content-type": "Application/Offset+Octet-Stream; x=y"}) == 7


def test_dates_are_http_dates() -> None:
    assert http_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT"


@pytest.mark.parametrize(
    ("free", "total", "promised", "fits"),
    [(1000, 1000, 0, True), (119, 1000, 0, False), (120, 1000, 0, True), (200, 1000, 81, False), (0, 1000, 500, False)],
)
def test_room_counts_promises_and_a_reserve(free: int, total: int, promised: int, fits: bool) -> None:
    limits = UploadLimits(reserve_bytes=50, reserve_fraction=0.02)
    if fits:
        refuse_without_room(100, free, total, promised, limits)
    else:
        with pytest.raises(Exhausted):
            refuse_without_room(100, free, total, promised, limits)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("Grüße".encode(), "Grüße"),
        (b"\xef\xbb\xbfGr\xc3\xbc", "Grü"),
        ("Grüße".encode("utf-16"), "Grüße"),
        ("Gr\u00fc\u00dfe \u2014 \u201eja\u201c".encode("cp1252"), "Grüße — „ja“"),
        (b"\xff\xfe\x41", "\ufffd"),
        (b"\x81", "\ufffd"),
    ],
)
def test_text_is_read_as_what_it_is(body: bytes, text: str) -> None:
    assert decoded(body) == text


def test_every_operation_fails_in_one_form() -> None:
    document = {"paths": {"/a": {"get": {"operationId": "x", "responses": {"200": {}, "400": {"old": 1}}}}}}
    after = described(document)
    assert set(after["paths"]["/a"]["get"]["responses"]) == {"200", "default"}
    assert after["components"]["schemas"]["Error"]["required"] == ["code", "what", "why", "hint"]
    assert "400" in document["paths"]["/a"]["get"]["responses"]
