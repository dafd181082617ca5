"""What Envoy says about itself: whether it is ready, which version of each file it uses, what it refused.

Reads the admin interface; `judge` is the pure rule that turns its numbers into a verdict on a
snapshot. Enter at `EnvoyAdmin` and `judge`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import httpx
import msgspec

from redqueen.errors import Unavailable
from redqueen.gateway import edge_routes
from redqueen.gateway.compiler import CLUSTERS, LISTENERS, ROUTES
from redqueen.gateway.counting import PATTERN
from redqueen.gateway.listeners import STAT_PREFIX
from redqueen.gateway.transport import SECRET, SECRETS
from redqueen.lean import trust

_FILTER = "(version_text|update_rejected|update_failure)$"
_ACTIVE = f"http.{STAT_PREFIX}.downstream_rq_active"
_SUBSCRIPTIONS = {
    CLUSTERS: "cluster_manager.cds",
    LISTENERS: "listener_manager.lds",
    ROUTES: f"http.{STAT_PREFIX}.rds.{edge_routes.NAME}",
    SECRETS: f"sds.{SECRET}",
}


class Choice(StrEnum):
    """What Envoy did with a set of files."""

    APPLIED = "applied"
    REFUSED = "refused"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What Envoy did with a set of files, and how that is known."""

    choice: Choice
    because: str


class _Version(msgspec.Struct, frozen=True):
    version_info: str


def subscription(name: str) -> str | None:
    """Return the prefix of the statistics about a file; None for the bootstrap, which has none."""
    if name.startswith("eds-"):
        return f"cluster.{name.removeprefix('eds-').removesuffix('.json')}"
    return _SUBSCRIPTIONS.get(name)


def versions(files: Mapping[str, bytes], names: Iterable[str]) -> dict[str, str]:
    """Return the version that each named file says it is; the bootstrap has none."""
    watched = (name for name in names if subscription(name) is not None)
    return {name: msgspec.json.decode(files[name], type=_Version).version_info for name in watched}


def judge(versions: Mapping[str, str], before: Mapping[str, str], now: Mapping[str, str]) -> Verdict:
    """Tell whether Envoy uses these versions of files: refused if a counter rose since `before`."""
    waiting: list[str] = []
    for name, wanted in versions.items():
        prefix = subscription(name)
        if now.get(f"{prefix}.version_text") == wanted:
            continue
        for counter in (f"{prefix}.update_rejected", f"{prefix}.update_failure"):
            if int(now.get(counter, "0")) > int(before.get(counter, "0")):
                return Verdict(Choice.REFUSED, f"{name}: {counter.rsplit('.', 1)[1]}")
        waiting.append(name)
    if waiting:
        return Verdict(Choice.PENDING, f"not yet in effect: {', '.join(waiting)}")
    return Verdict(Choice.APPLIED, "every file's version is in effect")


def parse_stats(text: str) -> dict[str, str]:
    """Read Envoy's `name: value` lines."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name: value.strip('"') for name, _, value in pairs if value}


class EnvoyAdmin:
    """One Envoy's admin interface. Every question has a time limit and raises Unavailable."""

    def __init__(self, client: httpx.AsyncClient, address: str) -> None:
        self._client = client
        self._url = f"http://{address}"

    async def is_ready(self) -> bool:
        """Tell whether Envoy answers and has read its configuration."""
        try:
            return (await self._client.get(f"{self._url}/ready")).status_code == 200
        except httpx.HTTPError:
            return False

    async def is_alive(self) -> bool:
        """Tell whether Envoy answers at all."""
        try:
            await self._client.get(f"{self._url}/ready")
        except httpx.HTTPError:
            return False
        return True

    async def subscriptions(self) -> dict[str, str]:
        """Return versions and refusals of every watched file."""
        return parse_stats(await self._get("/stats", filter=_FILTER))

    async def counts(self) -> bytes:
        """Return what was counted of requests, as JSON for `figures.totals_in`."""
        options = {"format": "json", "histogram_buckets": "disjoint", "usedonly": "", "filter": PATTERN}
        return (await self._get("/stats", **options)).encode()

    async def active_requests(self) -> int:
        """Return the number of requests in flight at the public listener."""
        return int(parse_stats(await self._get("/stats", filter=_ACTIVE)).get(_ACTIVE, "0"))

    async def drain(self) -> None:
        """Ask clients to move on, then close the listener after Envoy's drain time."""
        await self._call("POST", "/drain_listeners", graceful="")

    async def _get(self, path: str, **query: str) -> str:
        return await self._call("GET", path, **query)

    async def _call(self, method: str, path: str, **query: str) -> str:
        try:
            answer = await self._client.request(method, self._url + path, params=query)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise Unavailable("gateway.envoy", "Envoy's admin does not answer", why=repr(error)) from error
        return answer.text


def admin_client() -> httpx.AsyncClient:
    """Make the client for Envoy's admin: loopback only, no proxy of the environment, 1 s."""
    return httpx.AsyncClient(timeout=1.0, trust_env=False, verify=trust())
