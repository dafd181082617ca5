"""The region's media signing keys: made once, kept in records, shared by all nodes.

Two nodes that start at once agree, because the first conditional put wins and both read it
back. The newest key signs; all kept keys verify, so a later rotation breaks no open link.
Enter at `MediaKeys.sign` and `MediaKeys.jwks`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from redqueen.accounts import tokens
from redqueen.accounts.model import MediaToken
from redqueen.accounts.tokens import SigningKey
from redqueen.clock import Clock
from redqueen.errors import Broken, Unavailable
from redqueen.store.ports import ABSENT, Put, Records

_PARTITION = "accounts/keys"
_FIRST = "0001"
_REREAD_S = 30.0


class MediaKeys:
    """Signs rights to films and publishes the keys that check them."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._known: tuple[SigningKey, ...] = ()
        self._read_at = float("-inf")

    async def sign(self, titles: Sequence[str], ttl_s: int) -> MediaToken:
        """Return a token that gives a right to `titles` (ids, or ["*"]) for `ttl_s` seconds."""
        now = self._clock.now()
        key = (await self._keys())[-1]
        return MediaToken(tokens.sign(key, titles, now=now, ttl_s=ttl_s), float(int(now) + ttl_s))

    async def verify(self, token: str) -> tuple[str, ...] | None:
        """Return the titles a token gives a right to now, or None."""
        return tokens.verify(await self._keys(), token, now=self._clock.now())

    async def jwks(self) -> str:
        """Return the public keys as a JSON Web Key Set."""
        return tokens.jwks(await self._keys())

    async def published(self) -> str:
        """Return the public keys without ever making one. Raises Unavailable if there are none.

        For whoever only checks: beside an empty store it must keep the keys that it knows.
        """
        if not self._known and not await self._records.scan(_PARTITION):
            raise Unavailable("accounts.keys", "The store holds no signing key", hint="Is it the right store?")
        return await self.jwks()

    async def _keys(self) -> tuple[SigningKey, ...]:
        if self._known and self._clock.monotonic() - self._read_at < _REREAD_S:
            return self._known
        found = await self._records.scan(_PARTITION)
        if not found:
            await self._records.put(_PARTITION, Put(_FIRST, msgspec.json.encode(tokens.new_signing_key()), when=ABSENT))
            found = await self._records.scan(_PARTITION)
        if not found:
            raise Broken("accounts.keys", "The signing key that was just kept cannot be read", hint="Check the disk")
        self._known = tuple(msgspec.json.decode(record.value, type=SigningKey) for record in found)
        self._read_at = self._clock.monotonic()
        return self._known
