"""Passwords: what is accepted, how they are kept (Argon2id), how they are checked.

Hashing takes about 50 ms and 64 MiB on purpose, so it runs in a thread and at most two at a
time. An unknown name costs exactly as much as a wrong password. Refuses short and huge ones.
Source: RFC 9106; NIST SP 800-63B 5.1.1.2 (length, no composition rules).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import argon2
from anyio import to_thread

from redqueen.errors import InvalidInput

_T = TypeVar("_T")

MIN_CHARS = 8
MAX_CHARS = 256


class Passwords:
    """Hashes and verifies passwords without blocking the event loop."""

    def __init__(self, hasher: argon2.PasswordHasher | None = None) -> None:
        self._hasher = hasher or argon2.PasswordHasher()
        self._limiter: anyio.CapacityLimiter | None = None
        self._decoy: str | None = None

    async def hashed(self, password: str) -> str:
        """Return what may be kept of a password. Raises InvalidInput when it is not accepted."""
        check(password)
        return await self._run(self._hasher.hash, password)

    async def matches(self, kept: str | None, password: str) -> bool:
        """Tell whether `password` is the kept one; with nothing kept, False after the same time."""
        if self._decoy is None:
            self._decoy = await self._run(self._hasher.hash, "nobody has this password")
        known = kept is not None
        right = await self._run(self._verify, kept or self._decoy, password[: MAX_CHARS + 1])
        return right and known

    def _verify(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    async def _run(self, work: Callable[..., _T], *args: str) -> _T:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(2)
        return await to_thread.run_sync(work, *args, limiter=self._limiter)


def check(password: str) -> None:
    """Raise InvalidInput unless `password` has 8 to 256 characters."""
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        raise InvalidInput(
            "account.password",
            "This password is not accepted",
            why=f"it must have {MIN_CHARS} to {MAX_CHARS} characters",
            hint="Choose a longer phrase of several words",
        )
