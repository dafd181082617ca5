"""Declared services in the records: what the supervisor follows, what the API changes, what gateways route.

One row a service or group, changed only if nobody else changed it meanwhile; one row for each of the
region's own roles that was asked to restart, or runs another edition. A revision counts the changes that need fresh
processes; another count or other routes do not. Enter at `RecordWishes`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from redqueen.clock import Clock
from redqueen.errors import Conflict, NotFound
from redqueen.fleet.declared import ServiceFile, Wish, Wishes, same_process
from redqueen.fleet.model import Edition, Role
from redqueen.store.ports import ABSENT, Delete, Put, Record, Records

_SERVICES, _RESTARTS, _EDITIONS = "fleet/services", "fleet/restarts", "fleet/editions"
_TRIES = 8
_Done = TypeVar("_Done")


class RecordWishes:
    """The fleet's WishSource, and how its wishes are changed."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    async def read(self) -> Wishes:
        """Return all wishes of now, by name."""
        services = [_wish(row) for row in await self._records.scan(_SERVICES)]
        restarts = [(row.clustering, int(row.value)) for row in await self._records.scan(_RESTARTS)]
        editions = [
            (row.clustering, msgspec.json.decode(row.value, type=Edition))
            for row in await self._records.scan(_EDITIONS)
        ]
        return Wishes(tuple(services), tuple(restarts), tuple(editions))

    async def declare(self, file: ServiceFile, edition: Edition | None = None) -> Wish:
        """Keep a service as it shall be from now on; the same again changes nothing. Raises Conflict.

        With an `edition` it is a group of the region's own api role.
        """

        def changed(known: Wish | None) -> Wish:
            if known is None:
                return Wish(file, 1, int(self._clock.now() * 1000), edition)
            same = same_process(known.file, file) and known.edition == edition
            return Wish(file, known.revision + (not same), known.since_ms, edition)

        return await self._change(file.name, changed)

    async def restart(self, name: str) -> Wish:
        """Ask for fresh processes of a declared service. Raises NotFound, Conflict."""

        def changed(known: Wish | None) -> Wish:
            if known is None:
                raise unknown(name)
            return Wish(known.file, known.revision + 1, known.since_ms, known.edition)

        return await self._change(name, changed)

    async def restart_role(self, role: Role) -> int:
        """Ask for fresh processes of one of the region's own roles; return how often that was asked."""

        async def once() -> int | None:
            row = await self._records.get(_RESTARTS, role.value)
            count = 1 + (int(row.value) if row else 0)
            change = Put(role.value, str(count).encode(), when=row.version if row else ABSENT)
            return count if await self._records.put(_RESTARTS, change) else None

        return await _until_done(once)

    async def set_edition(self, role: Role, edition: Edition | None) -> None:
        """Let fresh nodes of one of the region's own roles run another version; None: the installed one.

        What it runs already changes nothing.
        """
        if (await self.read()).edition(role) == edition:
            return
        # First, so that a call that dies between the two writes is seen to have done nothing and repeated.
        await self.restart_role(role)
        if edition is None:
            await self._records.delete(_EDITIONS, Delete(role.value))
        else:
            await self._records.put(_EDITIONS, Put(role.value, msgspec.json.encode(edition)))

    async def remove(self, name: str, revision: int | None) -> None:
        """Forget a service, if it is still at `revision` (None: any). Raises NotFound, Conflict."""

        async def once() -> bool | None:
            row = await self._records.get(_SERVICES, name)
            if row is None:
                raise unknown(name)
            if revision is not None and _wish(row).revision != revision:
                raise _conflict()
            return True if await self._records.delete(_SERVICES, Delete(name, when=row.version)) else None

        await _until_done(once)

    async def _change(self, name: str, changed: Callable[[Wish | None], Wish]) -> Wish:
        async def once() -> Wish | None:
            row = await self._records.get(_SERVICES, name)
            known = _wish(row) if row else None
            wish = changed(known)
            if wish == known:
                return wish
            change = Put(name, msgspec.json.encode(wish), when=row.version if row else ABSENT)
            return wish if await self._records.put(_SERVICES, change) else None

        return await _until_done(once)


async def _until_done(once: Callable[[], Awaitable[_Done | None]]) -> _Done:
    for _ in range(_TRIES):
        done = await once()
        if done is not None:
            return done
    raise _conflict()


def _wish(row: Record) -> Wish:
    return msgspec.json.decode(row.value, type=Wish)


def unknown(name: str) -> NotFound:
    """Say that there is no such service."""
    return NotFound("service.unknown", f"There is no service {name}", hint="See them with: redqueen service list")


def _conflict() -> Conflict:
    return Conflict("service.changed", "Somebody else changed the service meanwhile", hint="Look again, then decide")
