"""Pins: services whose requests all go to one group at once, as gateways read it with their routes.

A rollback pins a service to the group that is warm with the old version, in less than gateways take
to read their routes again; the service's own nodes follow in their own time, and the pin goes. One
row a service. Enter at `Pins`.
"""

from __future__ import annotations

from typing import Final

from redqueen.store.ports import Delete, Put, Records

PARTITION: Final = "delivery/pins"


class Pins:
    """The pins in the records; each change stands for itself."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def all(self) -> tuple[tuple[str, str], ...]:
        """Return every pinned service with the group that gets its requests, by service."""
        return tuple((row.clustering, row.value.decode()) for row in await self._records.scan(PARTITION))

    async def pin(self, service: str, group: str) -> None:
        """Send all requests of a service to a group from now on."""
        await self._records.put(PARTITION, Put(service, group.encode()))

    async def unpin(self, service: str) -> None:
        """Send a service's requests to its own nodes again; no error when it is not pinned."""
        await self._records.delete(PARTITION, Delete(service))
