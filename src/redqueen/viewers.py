"""Who a viewer is to a trial: 64 random bits in a cookie that only this region can have made.

The cookie `rq_viewer` is sixteen hexadecimal digits, a dot, and the SipHash-2-4 of the eight bytes
(big-endian) by the region's secret, as sixteen digits again: gateways check it within a script, api
nodes here. It names a browser, not a person. Refuses whatever the region did not make, so that
nobody chooses an arm. (SipHash: Aumasson and Bernstein 2012.) Enter at `mint` and `verified`.
"""

from __future__ import annotations

import hmac
import re
import secrets
from typing import cast

from siphash24 import siphash24  # pyright: ignore[reportUnknownVariableType] - the package has no types

COOKIE = "rq_viewer"
COOKIE_AGE_S = 365 * 86_400
SECRET_BYTES = 16
_COOKIE = re.compile(r"([0-9a-f]{16})\.([0-9a-f]{16})")


def new_viewer() -> int:
    """Return a viewer nobody has met before, in [0, 2^64)."""
    return secrets.randbits(64)


def mint(secret: bytes, viewer: int) -> str:
    """Return the cookie of a viewer; `secret` has 16 bytes."""
    return f"{viewer:016x}.{_mac(secret, viewer)}"


def verified(secret: bytes, cookie: str) -> int | None:
    """Return whose cookie this is, or None when this region did not make it."""
    found = _COOKIE.fullmatch(cookie)
    if found is None:
        return None
    viewer = int(found[1], 16)
    return viewer if hmac.compare_digest(found[2], _mac(secret, viewer)) else None


def _mac(secret: bytes, viewer: int) -> str:
    # The digest as an integer, written big-endian like the viewer, is what scripts compute too.
    digest = cast(bytes, siphash24(viewer.to_bytes(8, "big"), key=secret).digest())  # pyright: ignore[reportUnknownMemberType]
    return f"{int.from_bytes(digest, 'little'):016x}"
