"""Talks to one peer over HTTP: changes at once, heartbeats in small batches, a digest every few seconds.

What could not be told is told again; after a silence the peer is asked what differs, and told who
was heard meanwhile. Enter at `Peer.run`.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import httpx
import msgspec

from redqueen.clock import Clock
from redqueen.events import Emit
from redqueen.registry import peering
from redqueen.registry.happenings import PeerLost, PeerReached
from redqueen.registry.ledger import Ledger, Outbox
from redqueen.registry.messages import SYNC_FORMAT, SyncRequest, SyncResponse, encode
from redqueen.registry.model import Moment

_LIMIT_S = 1.0
_PACE_S = 0.02
_BEAT_PACE_S = 0.1
"""Seconds for which mere heartbeats are gathered: far below the shortest lease (1 s)."""
_RETRY_S = 0.25
QUESTION_S = 2.0
"""Seconds between anti-entropy exchanges; below our nodes' lease."""


class Peer:
    """One peer, for the life of this registry; `token` is the region's."""

    def __init__(
        self, url: str, ledger: Ledger, clock: Clock, emit: Emit, moment: Callable[[], Moment], token: str = ""
    ) -> None:
        self.url = url.rstrip("/")
        self._ledger = ledger
        self._clock = clock
        self._emit = emit
        self._moment = moment
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._reached: bool | None = None
        self._epoch = ""
        self._outbox = Outbox()
        ledger.outboxes.append(self._outbox)

    async def run(self) -> None:
        """Keep the peer informed, and ask it, until cancelled."""
        limits = httpx.Limits(max_connections=2)
        async with httpx.AsyncClient(timeout=_LIMIT_S, trust_env=False, limits=limits, headers=self._headers) as client:
            asked_s = self._clock.monotonic() - QUESTION_S
            while True:
                if self._clock.monotonic() - asked_s >= QUESTION_S or not self._reached:
                    asked_s = self._clock.monotonic()
                    await self._ask(client)
                if not self._reached:
                    self._outbox.clear()  # the question after its return tells what it missed
                    await self._clock.sleep(_RETRY_S)
                    continue
                with anyio.move_on_after(max(0.0, asked_s + QUESTION_S - self._clock.monotonic())):
                    await self._outbox.ready.wait()
                    await self._clock.sleep(_PACE_S if self._outbox.records else _BEAT_PACE_S)
                await self._push(client)

    async def _push(self, client: httpx.AsyncClient) -> None:
        while self._reached and (self._outbox.records or self._outbox.beats):
            records, beats = self._outbox.take(peering.MOST_AT_ONCE)
            told = await self._exchange(client, peering.news(self._ledger, records, beats, self._moment()))
            if told is None:
                return  # it counts as lost now: what it missed is asked and told when it answers again

    async def _ask(self, client: httpx.AsyncClient) -> None:
        answer = await self._exchange(client, peering.question(self._ledger))
        if answer is not None and answer.format < SYNC_FORMAT:
            await self._ask_as_before(client)
            return
        if answer is None:
            return
        if answer.epoch != self._epoch:
            self._epoch = answer.epoch
            self._outbox.beats.update(dict.fromkeys(e for e in self._ledger.table.entries() if e.living))
            self._outbox.ready.set()
        for told, wanted in peering.settlement(self._ledger, answer):
            more = await self._exchange(client, peering.settling(self._ledger, told, wanted, self._moment()))
            if more is not None:
                peering.take(self._ledger, more.records, (), self._moment())

    async def _ask_as_before(self, client: httpx.AsyncClient) -> None:
        """Ask a peer of the first release."""
        answer = await self._exchange(client, peering.old_question(self._ledger))
        if answer is None:
            return
        peering.take(self._ledger, answer.records, (), self._moment())
        if answer.wanted:
            await self._exchange(client, peering.news(self._ledger, answer.wanted, (), self._moment()))

    async def _exchange(self, client: httpx.AsyncClient, request: SyncRequest) -> SyncResponse | None:
        try:
            with anyio.fail_after(_LIMIT_S):
                response = await client.post(f"{self.url}/registry/v1/sync", content=encode(request))
            response.raise_for_status()
            answer = msgspec.json.decode(response.content, type=SyncResponse)
        except (httpx.HTTPError, TimeoutError, OSError, msgspec.DecodeError) as error:
            self._note(reached=False, error=f"{type(error).__name__}: {error}")
            return None
        self._note(reached=True)
        return answer

    def _note(self, *, reached: bool, error: str = "") -> None:
        if reached is self._reached:
            return
        self._reached = reached
        if not reached:
            self._epoch = ""  # whoever answers next is told of all beats again
        self._emit(PeerReached(self.url) if reached else PeerLost(self.url, error))
