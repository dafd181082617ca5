"""A session's token: the grant itself, signed, so that any node can check it without asking anybody.

Decides what a token is: base64url of a 16-byte HMAC-SHA256 and the grant in MessagePack. Whoever
holds it may tell of that session and of nothing else. Refuses (None) whatever this region did not
sign, without saying how close it came. Enter at `signed` and `opened`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec

from redqueen.telemetry.model import Grant

MAX_TOKEN_CHARS = 4096
"""A grant with thirty trials has about 2,000."""
_SEAL_BYTES = 16
"""128 of the 256 bits: nobody can try 2^128 seals against a server (RFC 2104, section 5)."""
_PURPOSE = b"redqueen telemetry grant\0"

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Grant)


def secret_of(region_secret: bytes) -> bytes:
    """Derive the grants' secret, 32 bytes, from the region's, so that neither signs for the other."""
    return hmac.digest(region_secret, _PURPOSE, hashlib.sha256)


def signed(secret: bytes, grant: Grant) -> str:
    """Return the token of a grant."""
    body = _encoder.encode(grant)
    return base64.urlsafe_b64encode(_seal(secret, body) + body).rstrip(b"=").decode()


def opened(secret: bytes, token: str) -> Grant | None:
    """Return what a token grants, or None when this region did not sign it."""
    if len(token) > MAX_TOKEN_CHARS:
        return None
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        return None
    body = raw[_SEAL_BYTES:]
    if not hmac.compare_digest(raw[:_SEAL_BYTES], _seal(secret, body)):
        return None
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError:  # signed by a version with other grants
        return None


def _seal(secret: bytes, body: bytes) -> bytes:
    return hmac.digest(secret, body, hashlib.sha256)[:_SEAL_BYTES]
