"""A session's token: only what the region signed is a grant."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.telemetry.grants import MAX_TOKEN_CHARS, opened, secret_of, signed
from redqueen.telemetry.model import Grant

SECRET = secret_of(b"r" * 64)
GRANT = Grant(
    session=2**64 - 1, viewer=7, title="t", device="tv", zone="a", second=1_800_000_000, window_s=20, arms={"x-1": "b"}
)


def test_a_token_gives_back_the_very_grant_and_fits_where_a_token_may() -> None:
    many = msgspec.structs.replace(GRANT, arms={f"{'t' * 38}{n:02}": "c" * 20 for n in range(32)})
    for grant in (GRANT, many):
        token = signed(SECRET, grant)
        assert opened(SECRET, token) == grant
        assert len(token) <= MAX_TOKEN_CHARS
        assert token.isascii() and not set(token) & set("=+/&?")


def test_the_secret_of_another_region_opens_nothing() -> None:
    assert opened(secret_of(b"s" * 64), signed(SECRET, GRANT)) is None


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_token_with_any_byte_changed_is_none(at: int, by: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(signed(SECRET, GRANT) + "=="))
    raw[at % len(raw)] ^= by
    assert opened(SECRET, base64.urlsafe_b64encode(raw).rstrip(b"=").decode()) is None


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_whatever_was_not_signed_is_none(token: str) -> None:
    assert opened(SECRET, token) is None


def test_a_grant_of_a_newer_version_is_understood_as_far_as_it_is_known() -> None:
    newer = {**msgspec.structs.asdict(GRANT), "planet": "mars"}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(newer), type=Grant) == GRANT


@pytest.mark.parametrize("token", ["", "é" * 30, "a" * (MAX_TOKEN_CHARS + 1)])
def test_odd_tokens_are_none(token: str) -> None:
    assert opened(SECRET, token) is None
