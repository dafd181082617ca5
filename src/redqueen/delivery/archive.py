"""Releases in the records: one row each, and a list of those with which something is still to be done.

Both lie in one partition, so that a release and its mark change together. A release's number is
taken by being the first to write its row. Costs: a turn reads the open ones only, however many
were ever shipped. Enter at `Archive`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from redqueen.delivery.lifecycle import due
from redqueen.delivery.model import Order, Release, ReleaseRecord, State
from redqueen.errors import Conflict, NotFound
from redqueen.store.ports import ABSENT, Delete, Put, Record, Records

PARTITION: Final = "delivery/releases"
_KEPT, _OPEN, _AFTER = "kept/", "open/", "\U0010ffff"
_TRIES: Final = 8
_REMEMBERED: Final = 20
"""So many releases of a service are looked at for a client's key; whose answer was lost asks again within seconds."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A release as it was read, and the version that a change must find."""

    record: ReleaseRecord
    version: int

    @property
    def release(self) -> Release:
        """Return what was shipped."""
        return self.record.release


class Archive:
    """All releases of the region."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def add(self, service: str, made: Callable[[int], Release], state: State) -> Kept:
        """Keep a new release under the service's next number, or return the one that has its idempotency key.

        Raises Conflict if others are always faster, or if the key was another artifact's.
        """
        for _ in range(_TRIES):
            newest = await self.newest(service, _REMEMBERED)
            number = newest[0].release.number + 1 if newest else 1
            release = made(number)
            known = [kept for kept in newest if release.key and kept.release.key == release.key]
            if known:
                return _same(known[0], release)
            key = _key(service, number)
            changes = [
                Put(_KEPT + key, msgspec.json.encode(ReleaseRecord(release, state)), ABSENT),
                Put(_OPEN + key, b""),
            ]
            if await self._records.batch(PARTITION, changes):
                return await self.get(service, number)
        raise _busy()

    async def get(self, service: str, number: int) -> Kept:
        """Return one release. Raises NotFound."""
        row = await self._records.get(PARTITION, _KEPT + _key(service, number))
        if row is None:
            raise NotFound(
                "release.unknown",
                f"There is no release r{number} of {service}",
                hint="See them with: redqueen releases",
            )
        return _kept(row)

    async def newest(self, service: str, limit: int = 100) -> list[Kept]:
        """Return a service's releases, newest first."""
        start = f"{_KEPT}{service}/"
        rows = await self._records.scan(PARTITION, start=start, end=start + _AFTER, limit=limit, reverse=True)
        return [_kept(row) for row in rows]

    async def services(self) -> list[str]:
        """Name the services that were ever shipped; costs one read a service."""
        found: list[str] = []
        start = _KEPT
        while rows := await self._records.scan(PARTITION, start=start, end=_KEPT + _AFTER, limit=1):
            service = rows[0].clustering.removeprefix(_KEPT).partition("/")[0]
            found.append(service)
            start = f"{_KEPT}{service}/{_AFTER}"
        return found

    async def open(self) -> list[Kept]:
        """Return the releases with which something is still to be done, by service and number."""
        rows = await self._records.scan(PARTITION, start=_OPEN, end=_OPEN + _AFTER)
        found = [await self._records.get(PARTITION, _KEPT + row.clustering.removeprefix(_OPEN)) for row in rows]
        return [_kept(row) for row in found if row is not None]

    async def move(self, kept: Kept, state: State) -> Kept | None:
        """Keep a new state; None if somebody else changed the release meanwhile."""
        return await self._write(kept, msgspec.structs.replace(kept.record, state=state))

    async def order(self, service: str, number: int, order: Order | None) -> Kept:
        """Keep what a person asked of a release. Raises NotFound, Conflict."""
        for _ in range(_TRIES):
            kept = await self.get(service, number)
            done = await self._write(kept, msgspec.structs.replace(kept.record, order=order))
            if done is not None:
                return done
        raise _busy()

    async def _write(self, kept: Kept, record: ReleaseRecord) -> Kept | None:
        key = _key(record.release.service, record.release.number)
        # What is settled may be asked back by a person: then it is open again.
        mark = Put(_OPEN + key, b"") if due(record) else Delete(_OPEN + key)
        changes = [Put(_KEPT + key, msgspec.json.encode(record), kept.version), mark]
        if not await self._records.batch(PARTITION, changes):
            return None
        row = await self._records.get(PARTITION, _KEPT + key)
        return None if row is None else _kept(row)


def _key(service: str, number: int) -> str:
    return f"{service}/{number:08d}"


def _kept(row: Record) -> Kept:
    return Kept(msgspec.json.decode(row.value, type=ReleaseRecord), row.version)


def _same(kept: Kept, release: Release) -> Kept:
    if kept.release.artifact.digest == release.artifact.digest:
        return kept
    raise Conflict(
        "release.key",
        f"This idempotency key is that of {kept.release.id} of {release.service}",
        why="It came with another artifact",
        hint="Take a new key for each release",
    )


def _busy() -> Conflict:
    return Conflict("release.changed", "Others changed the releases meanwhile", hint="Look again, then decide")
