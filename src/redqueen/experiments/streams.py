"""Event streams that tell clients to evaluate their flags again, within a second of any change.

A stream says what it was opened for (`known`), so that nothing is missed between an evaluation and
the stream, nor while a client was reconnecting: another version is told at once. Refuses more
streams than a node or one holder may have. Enter at `Streams.opened`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from redqueen.clock import Clock
from redqueen.experiments.ofrep import Refetch
from redqueen.experiments.values import FlagValues

MOST: Final = 1000
MOST_OF_ONE: Final = 24
"""A browser opens at most six connections to one host; a program's own pages may be many."""
LOOK_S: Final = 0.5
QUIET_S: Final = 15.0
"""A comment so often keeps gateways and proxies from taking the stream for dead."""
LONGEST_S: Final = 3600.0
"""Then the client connects anew, perhaps to a younger node."""
RETRY_MS: Final = 1000


class Streams:
    """The open streams of a node."""

    def __init__(self, values: FlagValues, clock: Clock) -> None:
        """Tell of changes in `values`."""
        self._values = values
        self._clock = clock
        self._open: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many streams are open."""
        return self._open.total()

    def full(self, holder: str) -> bool:
        """Tell whether another stream of this holder has to wait."""
        return len(self) >= MOST or self._open[holder] >= MOST_OF_ONE

    async def opened(self, holder: str, known: str) -> AsyncIterator[bytes]:
        """Give the stream's bytes (text/event-stream) until the client goes or an hour is over."""
        self._open[holder] += 1
        try:
            async for piece in self._told(known):
                yield piece
        finally:
            self._open[holder] -= 1
            if not self._open[holder]:
                del self._open[holder]

    async def _told(self, known: str) -> AsyncIterator[bytes]:
        yield f"retry: {RETRY_MS}\n\n".encode()
        began = quiet_since = self._clock.monotonic()
        while (now := self._clock.monotonic()) - began < LONGEST_S:
            version = await self._values.version()
            if version != known:
                known, quiet_since = version, now
                yield _event(Refetch(version, int(self._clock.now())))
            elif now - quiet_since >= QUIET_S:
                quiet_since = now
                yield b":\n\n"
            await self._clock.sleep(LOOK_S)


def _event(refetch: Refetch) -> bytes:
    return b"id: " + refetch.etag.encode() + b"\ndata: " + msgspec.json.encode(refetch) + b"\n\n"
