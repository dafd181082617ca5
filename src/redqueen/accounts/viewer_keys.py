"""The region's secret behind viewers' cookies: made once, kept in records, shared by all nodes.

Two nodes that start at once agree, because the first conditional put wins and both read it back.
The secret never changes: with another one every viewer would be a new one, in other arms.
Enter at `ViewerKeys.secret`, and at `ViewerKeys.kept` for whoever must not make one.
"""

from __future__ import annotations

import secrets

from redqueen.clock import Clock
from redqueen.errors import Broken, Unavailable
from redqueen.store.ports import ABSENT, Put, Records
from redqueen.viewers import SECRET_BYTES

_PARTITION, _KEY = "accounts/viewer-keys", "0001"
_LOOK_AGAIN_S = 1.0


class ViewerKeys:
    """Gives the 16 bytes that viewers' cookies are made and checked with."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._secret = b""
        self._looked_s = float("-inf")

    async def secret(self) -> bytes:
        """Return the secret, made now if there is none yet. Raises Broken where it cannot be read back."""
        if not self._secret and not await self.kept():
            await self._records.put(_PARTITION, Put(_KEY, secrets.token_bytes(SECRET_BYTES), when=ABSENT))
            await self._look()
        if not self._secret:
            raise Broken("accounts.viewers", "The viewers' secret that was just kept cannot be read")
        return self._secret

    async def kept(self) -> bytes:
        """Return the secret without ever making one, empty if there is none: for whoever only checks."""
        if not self._secret and self._clock.monotonic() - self._looked_s >= _LOOK_AGAIN_S:
            await self._look()
        return self._secret

    async def _look(self) -> None:
        self._looked_s = self._clock.monotonic()
        found = await self._records.get(_PARTITION, _KEY)
        if found is None:
            return
        if len(found.value) != SECRET_BYTES:
            raise Unavailable(
                "accounts.viewers", "The viewers' secret is not one", why=f"it has {len(found.value)} bytes"
            )
        self._secret = found.value
