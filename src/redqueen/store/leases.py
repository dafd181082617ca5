"""Leadership over a name, with a fence: at most one holder acts, and a late one is found out.

Decides who may take a lease (`may_take`) and keeps it in one record that is never removed, so that the fence
grows for ever. Taking it again as the same holder counts as a new life and gets a new fence too.
Refuses to renew what somebody else has taken. Enter at `Leases`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from redqueen.clock import Clock
from redqueen.errors import Broken, Conflict, InvalidInput, Unavailable
from redqueen.store.model import Lease
from redqueen.store.ports import ABSENT, Put, Record, Records

_PARTITION = "leases"
_TRIES = 8


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who holds a name until when (epoch seconds), as stored; an empty holder is nobody."""

    holder: str
    fence: int
    until: float


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether a lease may be taken, and the reason."""

    allowed: bool
    because: str


def may_take(held: Held | None, holder: str, now: float) -> Ruling:
    """Decide whether `holder` may take the lease at `now`."""
    if held is None or not held.holder:
        return Ruling(True, "nobody holds it")
    if held.holder == holder:
        return Ruling(True, "an earlier life of the same holder held it")
    if held.until <= now:
        return Ruling(True, f"the lease of {held.holder} ran out")
    return Ruling(False, f"{held.holder} holds it for {held.until - now:.1f} s more")


class Leases:
    """Leader leases kept in records."""

    def __init__(self, records: Records, clock: Clock) -> None:
        """Keep leases in `records`; they run out by `clock`."""
        self._records = records
        self._clock = clock

    async def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """Take the lease `name` for `ttl_s` seconds, or None while another holds it. Renew it with `renew`."""
        if not holder or not ttl_s > 0:
            raise InvalidInput("lease.invalid", "A lease needs a holder and a positive time", hint="Give both")
        record = await self._records.get(_PARTITION, name)
        held = None if record is None else _decode(record)
        now = self._clock.now()
        if not may_take(held, holder, now).allowed:
            return None
        fence = 1 if held is None else held.fence + 1
        return await self._store(name, record, Held(holder, fence, now + ttl_s))

    async def renew(self, lease: Lease, ttl_s: float) -> Lease:
        """Keep the lease for `ttl_s` seconds from now. Raises Conflict (`lease.lost`)."""
        for _ in range(_TRIES):
            record = await self._mine(lease)
            if record is None:
                raise Conflict(
                    "lease.lost",
                    f"{lease.holder} no longer holds {lease.name} (fence {lease.fence})",
                    why="it ran out and was taken, or was released",
                    hint="Stop acting as its holder",
                )
            renewed = Held(lease.holder, lease.fence, self._clock.now() + ttl_s)
            if kept := await self._store(lease.name, record, renewed):
                return kept
        raise Unavailable("lease.contended", f"{lease.name} changed under every attempt", hint="Try again")

    async def release(self, lease: Lease) -> None:
        """Let another take the lease at once; no error when it is lost already."""
        for _ in range(_TRIES):
            record = await self._mine(lease)
            if record is None or await self._store(lease.name, record, Held("", lease.fence, 0.0)):
                return

    async def holder(self, name: str) -> str | None:
        """Return who holds the lease `name` now, or None."""
        record = await self._records.get(_PARTITION, name)
        held = None if record is None else _decode(record)
        return held.holder if held is not None and held.until > self._clock.now() else None

    async def _mine(self, lease: Lease) -> Record | None:
        record = await self._records.get(_PARTITION, lease.name)
        held = None if record is None else _decode(record)
        mine = held is not None and (held.holder, held.fence) == (lease.holder, lease.fence)
        return record if mine else None

    async def _store(self, name: str, over: Record | None, held: Held) -> Lease | None:
        when = ABSENT if over is None else over.version
        written = await self._records.put(_PARTITION, Put(name, msgspec.msgpack.encode(held), when=when))
        return None if written is None else Lease(name, held.holder, held.fence, held.until, written.version)


def _decode(record: Record) -> Held:
    try:
        return msgspec.msgpack.decode(record.value, type=Held)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Broken(
            "lease.unreadable", f"The lease {record.clustering} cannot be read", why=str(error), hint="Report this"
        ) from error
