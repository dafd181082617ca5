"""How nodes talk to the registries: announce themselves, follow the others, report a death.

`Registrar` keeps one instance's lease alive at whichever registry answers; `watch` follows one
registry's stream and turns to the next within a moment when it ends; `report_exit` gives
evidence. Refuses to stop a node because no registry answers: the last known set stays. Light to
import: no server code.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from urllib.parse import quote

import anyio
import anyio.abc
import httpx
import msgspec

from redqueen.clock import Clock, SystemClock
from redqueen.events import Emit, discard
from redqueen.lean import trust
from redqueen.registry import documents, following
from redqueen.registry.following import Belief
from redqueen.registry.happenings import RegistriesLost, RegistryFollowed
from redqueen.registry.messages import ExitReport, StreamMessage, Suspect, decode_stream, encode
from redqueen.registry.model import Action, Instance, InstanceSet, Record, Status, Version

_ASK_LIMIT_S = 0.7
"""Seconds for one call: a registry that hangs costs less than a lease."""
_SILENCE_S = 1.5
"""Seconds without a beat after which a registry is left: it beats twice a second."""
_RETRY_S = 0.1
"""Seconds between two rounds through all registries while none answers."""

_NOT_FOUND = 404

_Call = Callable[[httpx.AsyncClient, str], Awaitable[None]]
_FAILURES = (httpx.HTTPError, OSError, TimeoutError)


def _connect(token: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    limit = httpx.Timeout(_SILENCE_S, connect=_ASK_LIMIT_S)
    return httpx.AsyncClient(timeout=limit, trust_env=False, verify=trust(), headers=headers)


class Registrar:
    """One instance's standing at the registries; `token` proves whose names it may take."""

    def __init__(
        self, urls: Sequence[str], instance: Instance, clock: Clock, emit: Emit = discard, *, token: str = ""
    ) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._clock = clock
        self._emit = emit
        self._token = token
        dirty_at_ms = instance.dirty_at_ms or int(clock.now() * 1000)
        self._instance = replace(instance, vip=instance.vip or instance.app.lower(), dirty_at_ms=dirty_at_ms)
        self._followed: str | None = None
        self._left = False
        self._lock = anyio.Lock()
        self._client: httpx.AsyncClient | None = None

    @property
    def instance(self) -> Instance:
        """Give the instance as it was last told to the registries."""
        return self._instance

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Register, then heartbeat until cancelled; started once every registry was tried, whoever answered."""
        async with _connect(self._token) as self._client:
            try:
                await self._tell(self._register)
                task_status.started()
                while True:
                    await self._clock.sleep(self._instance.renewal_s if self._followed else _RETRY_S)
                    await self._tell(self._renew)
            finally:
                self._client = None

    async def set_status(self, status: Status) -> bool:
        """Change the status and say so at once; False if no registry heard it (the next heartbeat tells again)."""
        dirty_at_ms = max(self._instance.dirty_at_ms + 1, int(self._clock.now() * 1000))
        self._instance = replace(self._instance, status=status, dirty_at_ms=dirty_at_ms)
        return await self._tell(self._register)

    async def leave(self) -> bool:
        """Say farewell and heartbeat no more; False if no registry heard it (the lease will run out)."""
        self._left = True
        async with self._lock:
            return await self._try_each(self._cancel)

    async def _tell(self, call: _Call) -> bool:
        async with self._lock:
            return self._left or await self._try_each(call)

    async def _try_each(self, call: _Call) -> bool:
        if self._client is not None:
            return await self._try_with(self._client, call)
        async with _connect(self._token) as client:
            return await self._try_with(client, call)

    async def _try_with(self, client: httpx.AsyncClient, call: _Call) -> bool:
        """Try the registries in order; one that does not answer goes to the end."""
        error = "no registry is configured"
        for url in tuple(self._urls):
            try:
                with anyio.fail_after(_ASK_LIMIT_S):
                    await call(client, url)
            except _FAILURES as failure:
                error = f"{type(failure).__name__}: {failure}"
                self._urls.append(self._urls.pop(0))
                continue
            self._note(url, "")
            return True
        self._note(None, error)
        return False

    def _note(self, url: str | None, error: str) -> None:
        if url is None and self._followed is not None:
            self._emit(RegistriesLost("registration", error))
        elif url is not None and url != self._followed:
            self._emit(RegistryFollowed(url, "registration"))
        self._followed = url

    def _path(self) -> str:
        return f"/eureka/apps/{quote(self._instance.app, safe='')}/{quote(self._instance.instance_id, safe='')}"

    async def _register(self, client: httpx.AsyncClient, url: str) -> None:
        placeholder = Record(self._instance, Version(0, 0, ""), beat_ms=0)
        body = encode({"instance": documents.write_instance(placeholder, Action.ADDED)})
        headers = {"content-type": "application/json"}
        app = quote(self._instance.app, safe="")
        (await client.post(f"{url}/eureka/apps/{app}", content=body, headers=headers)).raise_for_status()

    async def _renew(self, client: httpx.AsyncClient, url: str) -> None:
        query = {"status": str(self._instance.status), "lastDirtyTimestamp": str(self._instance.dirty_at_ms)}
        response = await client.put(url + self._path(), params=query)
        if response.status_code == _NOT_FOUND:
            await self._register(client, url)
        else:
            response.raise_for_status()

    async def _cancel(self, client: httpx.AsyncClient, url: str) -> None:
        response = await client.delete(url + self._path())
        if response.status_code != _NOT_FOUND:
            response.raise_for_status()


async def watch(
    urls: Sequence[str],
    *,
    clock: Clock | None = None,
    emit: Emit = discard,
    grace_s: float = following.GRACE_S,
    token: str = "",
) -> AsyncGenerator[InstanceSet, None]:
    """Yield the instances whenever they change, for ever; while no registry answers, the last set stands.

    Close the iterator (`contextlib.aclosing`) or cancel its task to end it.
    """
    clock = clock or SystemClock()
    belief, shown = Belief(), None
    async with _connect(token) as client:
        async with aclosing(_messages(client, urls, clock, emit, lambda: belief)) as messages:
            async for message in messages:
                belief = following.step(belief, message, clock.monotonic(), grace_s=grace_s)
                if belief.instances != shown:
                    shown = belief.instances
                    yield shown


async def _messages(
    client: httpx.AsyncClient, urls: Sequence[str], clock: Clock, emit: Emit, belief: Callable[[], Belief]
) -> AsyncGenerator[StreamMessage, None]:
    """Yield what registries say: one after another, a moment's rest after each round through all."""
    lost = False
    while True:
        for url in urls:
            known = belief()
            query = {"epoch": known.epoch, "version": str(known.version)}
            followed, error = False, "it ended the stream"
            try:
                async with client.stream("GET", f"{url.rstrip('/')}/registry/v1/stream", params=query) as response:
                    response.raise_for_status()
                    async for line in response.aiter_lines():
                        if not followed:
                            followed, lost = True, False
                            emit(RegistryFollowed(url, "watch"))
                        yield decode_stream(line)
            except (*_FAILURES, msgspec.DecodeError) as failure:
                error = f"{type(failure).__name__}: {failure}"
            if not followed and not lost and url == urls[-1]:
                lost = True
                emit(RegistriesLost("watch", error))
        await clock.sleep(_RETRY_S)


async def report_exit(
    urls: Sequence[str], app: str, instance_id: str, because: str, *, at_ms: int | None = None, token: str = ""
) -> bool:
    """Tell every registry that an instance's process ended; False if none heard it.

    `at_ms` (wall, epoch; now if absent) is when it was seen: an instance that registered later
    is a newer incarnation and stays. `token` is the region's.
    """
    seen_ms = int(SystemClock().now() * 1000) if at_ms is None else at_ms
    report = ExitReport(app=app, instance_id=instance_id, because=because, at_ms=seen_ms)
    return await _tell_all(urls, "exits", encode(report), token)


async def report_suspects(urls: Sequence[str], suspects: Sequence[Suspect], token: str = "") -> bool:
    """Tell every registry of instances that seem dead, so that it asks them at once; False if none heard it.

    Each registry tries each suspect's port a few times within about 300 ms and evicts who refuses.
    `token` is the region's.
    """
    return await _tell_all(urls, "suspects", encode(suspects), token)


async def _tell_all(urls: Sequence[str], what: str, body: bytes, token: str) -> bool:
    heard: list[str] = []

    async def tell(client: httpx.AsyncClient, url: str) -> None:
        try:
            with anyio.fail_after(_ASK_LIMIT_S):
                response = await client.post(f"{url.rstrip('/')}/registry/v1/{what}", content=body)
        except _FAILURES:
            return  # the other registry hands it on
        if response.is_success:
            heard.append(url)

    async with _connect(token) as client, anyio.create_task_group() as group:
        for url in urls:
            group.start_soon(tell, client, url)
    return bool(heard)
