"""Secrets and signatures: opaque tokens kept as fingerprints, media rights as signed JWTs.

Media tokens are Ed25519 JWTs (RFC 8037) with issuer `redqueen` and the claim `titles`: a list of
title ids, or ["*"]. Gateways check them with the public keys of `jwks`. Refuses other algorithms,
unknown keys and times out of bounds. Pure but for the system's random source.
Enter at `sign`, `verify`, `jwks`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.types import Options

ISSUER = "redqueen"
ALL_TITLES = "*"
_SECRET_BYTES = 32
_MAX_TOKEN_CHARS = 4096


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key: its name (thumbprint of the public part) and its 32-byte seed."""

    kid: str
    seed: bytes


def new_secret() -> str:
    """Return a fresh 256-bit secret, safe in addresses and headers."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def fingerprint(secret: str) -> str:
    """Return what may be kept of a 256-bit secret: its SHA-256 in hex (no salt is needed)."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_signing_key() -> SigningKey:
    """Return a fresh key from the system's random source."""
    seed = secrets.token_bytes(32)
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return SigningKey(hashlib.sha256(public).hexdigest()[:16], seed)


def sign(key: SigningKey, titles: Sequence[str], *, now: float, ttl_s: int) -> str:
    """Return a JWT that gives a right to `titles` from `now` (epoch seconds) for `ttl_s` seconds."""
    claims = {"iss": ISSUER, "titles": list(titles), "iat": int(now), "exp": int(now) + ttl_s}
    private = Ed25519PrivateKey.from_private_bytes(key.seed)
    return jwt.encode(claims, private, algorithm="EdDSA", headers={"kid": key.kid})


def verify(keys: Sequence[SigningKey], token: str, *, now: float) -> tuple[str, ...] | None:
    """Return the titles a token gives a right to at `now`, or None if it gives none."""
    if len(token) > _MAX_TOKEN_CHARS:
        return None
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = next((key for key in keys if key.kid == kid), None)
        if key is None:
            return None
        options: Options = {"verify_exp": False, "verify_iat": False, "require": ["exp", "iat", "iss"]}
        claims = jwt.decode(token, _public(key), algorithms=["EdDSA"], issuer=ISSUER, options=options)
    except jwt.InvalidTokenError:
        return None
    return _rights(claims.get("titles"), claims.get("exp"), now)


def _rights(titles: object, expires_at: object, now: float) -> tuple[str, ...] | None:
    if not isinstance(expires_at, int) or expires_at <= now or not isinstance(titles, list):
        return None
    return tuple(title for title in titles if isinstance(title, str))  # pyright: ignore[reportUnknownVariableType]


def jwks(keys: Sequence[SigningKey]) -> str:
    """Return the public parts as a JSON Web Key Set (RFC 7517), in a stable order."""
    public = [
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "kid": key.kid,
            "x": base64.urlsafe_b64encode(_public(key).public_bytes_raw()).rstrip(b"=").decode(),
        }
        for key in sorted(keys, key=lambda key: key.kid)
    ]
    return json.dumps({"keys": public}, sort_keys=True, separators=(",", ":"))


def _public(key: SigningKey) -> Ed25519PublicKey:
    return Ed25519PrivateKey.from_private_bytes(key.seed).public_key()
