"""The trials' Sources: every api node and every gateway that the registries know, asked at once.

Api nodes are those registered as `api` or as a group of it (`api--…`): they tell sessions, and
beside them what they count by arm. Gateways say in their metadata where they tell figures. Decides
that a node which left less than KNOWN_S ago and is not back counts as silent: what it saw is
missing. Each node has ANSWER_S; one that hangs costs the others nothing. A turn asks each gateway
once and each api node twice, twice MOST_AT_ONCE together. Enter at `NodeSources`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import anyio
import httpx
import msgspec

from redqueen.clock import Clock
from redqueen.events import Emit, discard
from redqueen.lean import trust
from redqueen.registry.client import watch
from redqueen.registry.model import Instance, Status
from redqueen.roles.gateway_figures import UNTIL_HEADER
from redqueen.roles.node import Node
from redqueen.telemetry.model import FigureBin, SessionRow
from redqueen.trials.collecting import PATIENCE_S, SESSIONS_MATURE_S
from redqueen.trials.ports import Answers, Row
from redqueen.trials.service import Trials

ANSWER_S: Final = 1.5
MOST_AT_ONCE: Final = 64
KNOWN_S: Final = float(SESSIONS_MATURE_S + PATIENCE_S)
_MOST_BYTES: Final = 64 << 20
_SESSIONS, _COUNTS, _FIGURES = "/telemetry/v1/sessions", "/telemetry/v1/sessions/counts", "/telemetry/v1/figures"
_FAILURES = (httpx.HTTPError, OSError, TimeoutError, ValueError, msgspec.MsgspecError)


@dataclass(frozen=True, slots=True)
class Roster:
    """Where each node can be asked, and when those that left were last there (monotonic seconds)."""

    here: Mapping[str, str]
    left: Mapping[str, float]

    def changed(self, here: Mapping[str, str], now_s: float) -> Roster:
        """Give the roster after the registries told anew."""
        gone = {node: now_s for node in self.here if node not in here}
        known = {**self.left, **gone}
        return Roster(here, {node: at for node, at in known.items() if node not in here and now_s - at < KNOWN_S})

    def missing(self, now_s: float) -> tuple[str, ...]:
        """Name those that left so lately that what they saw is still wanted."""
        return tuple(sorted(node for node, at in self.left.items() if now_s - at < KNOWN_S))


def api_nodes(instances: Iterable[Instance]) -> dict[str, str]:
    """Return the address of each api node, those of its groups included, by node."""
    return {
        one.instance_id: f"http://{one.ip or one.host}:{one.port}"
        for one in instances
        if one.port and one.status is not Status.STARTING and one.app.lower().partition("--")[0] == "api"
    }


def gateways(instances: Iterable[Instance]) -> dict[str, str]:
    """Return where each gateway tells its figures, by node."""
    return {
        one.instance_id: one.metadata["telemetry"].rstrip("/")
        for one in instances
        if one.app.lower() == "gateway" and one.metadata.get("telemetry", "").startswith("http://")
    }


class NodeSources:
    """Asks the nodes; run `follow` beside it, so that it knows them."""

    def __init__(self, urls: tuple[str, ...], token: str, clock: Clock, emit: Emit = discard) -> None:
        """Learn nodes from the registries at `urls`; `token` speaks for the region."""
        self._urls = urls
        self._token = token
        self._clock = clock
        self._emit = emit
        self._api = self._gateways = Roster({}, {})
        self._client: httpx.AsyncClient | None = None

    async def follow(self) -> None:
        """Follow the registries, for ever."""
        limits = httpx.Limits(max_connections=2 * MOST_AT_ONCE, max_keepalive_connections=2 * MOST_AT_ONCE)
        headers = {"authorization": f"Bearer {self._token}"}
        async with httpx.AsyncClient(
            timeout=ANSWER_S, trust_env=False, verify=trust(), headers=headers, limits=limits
        ) as self._client:
            async with contextlib.aclosing(
                watch(self._urls, clock=self._clock, emit=self._emit, token=self._token)
            ) as sets:
                async for instances in sets:
                    now_s = self._clock.monotonic()
                    self._api = self._api.changed(api_nodes(instances), now_s)
                    self._gateways = self._gateways.changed(gateways(instances), now_s)

    async def sessions(self, since: int, until: int) -> Answers[SessionRow]:
        """Return the sessions granted in [since, until), from every api node, and what these counted by arm.

        A node that tells no counts (an older one) is not silent: what it counted is missing from all arms alike.
        """
        query = {"since": since, "until": until}
        told: list[Answers[SessionRow]] = []
        counted: list[Answers[FigureBin]] = []

        async def ask_sessions() -> None:
            told.append(await self._all(self._api, _SESSIONS, query, msgspec.msgpack.Decoder(list[SessionRow])))

        async def ask_counts() -> None:
            counted.append(await self._all(self._api, _COUNTS, query, msgspec.msgpack.Decoder(list[FigureBin])))

        async with anyio.create_task_group() as group:
            group.start_soon(ask_sessions)
            group.start_soon(ask_counts)
        return replace(told[0], counts=counted[0].rows)

    async def figures(self, since: int, until: int) -> Answers[FigureBin]:
        """Return the gateways' bins of [since, until)."""
        # A gateway gives what it has from `since` on; what is beyond `until` is left out by the caller.
        decoder = msgspec.msgpack.Decoder(list[FigureBin])
        return await self._all(self._gateways, _FIGURES, {"since": since}, decoder, complete=until - 1)

    async def _all(
        self,
        roster: Roster,
        path: str,
        query: Mapping[str, int],
        decoder: msgspec.msgpack.Decoder[list[Row]],
        complete: int = 0,
    ) -> Answers[Row]:
        """Ask everybody; a gateway that has not read the second `complete` yet counts as silent."""
        told: dict[str, list[Row]] = {}
        limiter = anyio.CapacityLimiter(MOST_AT_ONCE)

        async def ask(node: str, url: str) -> None:
            async with limiter:
                with contextlib.suppress(*_FAILURES):
                    with anyio.fail_after(ANSWER_S):
                        told[node] = decoder.decode(await self._get(url + path, query, complete))

        async with anyio.create_task_group() as group:
            for node, url in roster.here.items():
                group.start_soon(ask, node, url)
        missing = roster.missing(self._clock.monotonic())
        asked = (*roster.here, *missing)
        silent = (*(node for node in roster.here if node not in told), *missing)
        return Answers(tuple(row for rows in told.values() for row in rows), asked, silent)

    async def _get(self, url: str, query: Mapping[str, int], complete: int) -> bytes:
        if self._client is None:
            raise OSError("the registries are not followed yet")
        body = bytearray()
        async with self._client.stream("GET", url, params=dict(query)) as answer:
            answer.raise_for_status()
            if int(answer.headers.get(UNTIL_HEADER, complete)) < complete:
                raise OSError("it has not read all of that yet")
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > _MOST_BYTES:
                    raise OSError(f"the answer has more than {_MOST_BYTES} bytes")
        return bytes(body)


def make_trials(node: Node, sources: NodeSources) -> Trials:
    """Return the trials as the leader runs them."""
    return Trials(node.stores.records, node.clock, node.emit, sources, node.region.zones)


def make_sources(node: Node) -> NodeSources:
    """Return a region's sources, to be followed from before this node leads."""
    return NodeSources(tuple(node.spec.registry_urls), node.registry_token, node.clock, node.emit)
