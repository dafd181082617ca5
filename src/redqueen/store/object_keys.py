"""Which keys objects may have: plain enough to mean the same in a folder, in S3 and in a URL.

A key is segments joined by `/`; a segment is ASCII letters, digits and `_ . = + @ , -`, not starting with a dot (such
names are the drivers' unfinished files). So there is no `..`, no empty segment, no leading slash,
no control character and nothing that any driver would escape. Enter at `checked_key` and `checked_prefix`.
"""

from __future__ import annotations

import re

from redqueen.errors import InvalidInput

_SEGMENT = re.compile(r"[A-Za-z0-9_=+@,-][A-Za-z0-9_.=+@,-]{0,199}")
_MAX_BYTES = 1000
"""S3's limit is 1024 bytes, its own prefix included."""


def checked_key(key: str) -> str:
    """Return `key` if an object may have it. Raises InvalidInput (`objects.key`)."""
    if len(key) <= _MAX_BYTES and all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        return key
    raise InvalidInput(
        "objects.key",
        f"{key[:100]!r} cannot be an object's key",
        why="its segments must be letters, digits and _ . = + @ , - and must not start with a dot",
        hint="Choose another key",
    )


def checked_prefix(prefix: str) -> str:
    """Return the folder `prefix` without its closing slash; empty means everything. Raises InvalidInput."""
    return checked_key(prefix.removesuffix("/")) if prefix else ""
