"""The cookie that names a viewer: every viewer's is known again, and no other is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from redqueen.viewers import mint, new_viewer, verified

SECRET = bytes(range(16))
KEYS = st.integers(0, 2**64 - 1)


@given(KEYS)
def test_what_was_minted_is_verified_whatever_the_viewer_and_its_digest(viewer: int) -> None:
    cookie = mint(SECRET, viewer)
    assert len(cookie) == 33
    assert verified(SECRET, cookie) == viewer
    assert verified(bytes(16), cookie) is None


@given(KEYS, st.integers(0, 32), st.sampled_from("0123456789abcdef.ABCDEF g;"))
def test_a_cookie_with_another_letter_is_nobodys(viewer: int, at: int, letter: str) -> None:
    cookie = mint(SECRET, viewer)
    changed = cookie[:at] + letter + cookie[at + 1 :]
    assert (verified(SECRET, changed) is None) == (changed != cookie)


def test_odd_cookies_are_nobodys() -> None:
    cookie = mint(SECRET, new_viewer())
    for odd in (
        "",
        cookie[:-1],
        cookie + "0",
        cookie.upper() + " ",
        f" {cookie}",
        cookie * 2,
        "x" * 8192,
        cookie + "\n",
    ):
        assert verified(SECRET, odd) is None
