"""What playback asks of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class SignedRight(Protocol):
    """A signed right to films."""

    @property
    def token(self) -> str:
        """The right itself, as a JWT."""
        ...

    @property
    def expires_at(self) -> float:
        """When it ends (epoch seconds)."""
        ...


class MediaSigner(Protocol):
    """Signs rights to films."""

    async def sign(self, titles: Sequence[str], ttl_s: int) -> SignedRight:
        """Return a right to `titles` for `ttl_s` seconds."""
        ...
