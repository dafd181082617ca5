"""Signed rights to films, and secrets."""

from __future__ import annotations

import base64
import json

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.accounts.tokens import fingerprint, jwks, new_secret, new_signing_key, sign, verify

KEY = new_signing_key()


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), max_size=5), st.integers(0, 2**33), st.integers(1, 10**6))
def test_a_right_holds_from_its_signing_until_its_end_and_not_after(titles: list[str], now: int, ttl_s: int) -> None:
    token = sign(KEY, titles, now=now, ttl_s=ttl_s)
    assert verify([KEY], token, now=now + ttl_s - 0.5) == tuple(titles)
    assert verify([KEY], token, now=now + ttl_s) is None


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_forged_right_gives_none(place: int, change: int) -> None:
    header, payload, signature = sign(KEY, ["a"], now=0, ttl_s=10).split(".")
    raw = bytearray(base64.urlsafe_b64decode(payload + "=="))
    raw[place % len(raw)] ^= change
    forged = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    assert verify([KEY], f"{header}.{forged}.{signature}", now=1) is None


def test_rights_by_other_keys_algorithms_and_issuers_give_none() -> None:
    other = new_signing_key()
    claims = {"iss": "redqueen", "titles": ["*"], "iat": 0, "exp": 10**10}
    assert verify([KEY], sign(other, ["*"], now=0, ttl_s=10), now=1) is None
    secret = json.loads(jwks([KEY]))["keys"][0]["x"].encode().ljust(64)
    assert verify([KEY], jwt.encode(claims, secret, algorithm="HS256", headers={"kid": KEY.kid}), now=1) is None
    assert verify([KEY], jwt.encode(claims, None, algorithm="none", headers={"kid": KEY.kid}), now=1) is None
    for text in ("", "a.b.c", "x" * 5000, "\x00", "é.é.é"):
        assert verify([KEY], text, now=1) is None


def test_the_key_set_shows_public_parts_only_in_a_stable_order() -> None:
    keys = [new_signing_key() for _ in range(3)]
    text = jwks(keys)
    assert text == jwks(keys[::-1])
    assert {frozenset(key) for key in json.loads(text)["keys"]} == {frozenset(("kty", "crv", "alg", "kid", "x"))}
    private = base64.urlsafe_b64encode(keys[0].seed).rstrip(b"=").decode()
    assert private not in text


def test_secrets_are_long_differ_and_are_kept_as_fingerprints() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(base64.urlsafe_b64decode(secret + "=")) == 32 for secret in secrets)
    secret = secrets.pop()
    assert secret not in fingerprint(secret)
    assert fingerprint("\ud800") != fingerprint("\ud801")


@pytest.mark.parametrize("keys", [[], [new_signing_key()]])
def test_without_the_right_key_nothing_is_believed(keys: list[object]) -> None:
    assert verify(keys, sign(KEY, ["a"], now=0, ttl_s=10), now=1) is None  # type: ignore[arg-type]
