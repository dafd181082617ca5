"""Carries the conversation with one peer over HTTP."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import httpx
import msgspec

from redqueen.clock import Clock
from redqueen.events import Emit
from redqueen.lean import trust
from redqueen.registry.conversation import PACE_S, Conversation
from redqueen.registry.happenings import PeerLost, PeerReached
from redqueen.registry.ledger import Ledger
from redqueen.registry.messages import SyncRequest, SyncResponse, encode
from redqueen.registry.model import Moment

_LIMIT_S = 1.0


class Peer:
    """One peer, for the life of this registry; `token` is the region's."""

    def __init__(
        self, url: str, ledger: Ledger, clock: Clock, emit: Emit, moment: Callable[[], Moment], token: str = ""
    ) -> None:
        self.url = url.rstrip("/")
        self._clock = clock
        self._emit = emit
        self._moment = moment
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._conversation = Conversation(ledger)
        self.settled = anyio.Event()
        """Set once the peer has told what it knows, or was found not to answer."""

    async def run(self) -> None:
        """Keep the peer informed, and ask it, until cancelled."""
        talk = self._conversation
        limits = httpx.Limits(max_connections=2)
        async with httpx.AsyncClient(
            timeout=_LIMIT_S, trust_env=False, verify=trust(self.url), limits=limits, headers=self._headers
        ) as client:
            while True:
                request = talk.next(self._moment())
                if request is not None:
                    await self._exchange(client, request)
                    if talk.settled:
                        self.settled.set()
                    continue
                with anyio.move_on_after(talk.wait_s(self._moment())):
                    if not talk.reached:
                        await anyio.sleep_forever()
                    await talk.outbox.ready.wait()
                    await self._clock.sleep(PACE_S)

    async def _exchange(self, client: httpx.AsyncClient, request: SyncRequest) -> None:
        before, error = self._conversation.reached, ""
        try:
            with anyio.fail_after(_LIMIT_S):
                response = await client.post(f"{self.url}/registry/v1/sync", content=encode(request))
            response.raise_for_status()
            answer = msgspec.json.decode(response.content, type=SyncResponse)
        except (httpx.HTTPError, TimeoutError, OSError, msgspec.DecodeError) as failure:
            error = f"{type(failure).__name__}: {failure}"
            self._conversation.failed()
        else:
            self._conversation.answered(answer, self._moment())
        if self._conversation.reached is not before:
            self._emit(PeerLost(self.url, error) if error else PeerReached(self.url))
