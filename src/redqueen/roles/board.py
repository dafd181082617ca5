"""The fleet's views in the records, and the news of an exit for the registries."""

from __future__ import annotations

import msgspec

from redqueen.fleet.model import NodeSpec, NodeView
from redqueen.registry.client import report_exit
from redqueen.store.ports import Delete, Put, Records

_PARTITION = "fleet/nodes"


class RecordBoard:
    """The fleet's NodeBoard over records: one row a process."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def publish(self, view: NodeView) -> None:
        """Put a node's view in place of its earlier one."""
        await self._records.put(_PARTITION, Put(view.node_id, msgspec.json.encode(view)))

    async def remove(self, node_id: str) -> None:
        """Take a node off; no error when it is not there."""
        await self._records.delete(_PARTITION, Delete(node_id))

    async def read(self) -> list[NodeView]:
        """Return all views, by node id."""
        rows = await self._records.scan(_PARTITION)
        return [msgspec.json.decode(row.value, type=NodeView) for row in rows]


class RegistryNotice:
    """Tells every registry that a node's process has ended, so that nobody waits for its lease."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def exited(self, spec: NodeSpec, because: str) -> None:
        """Report the exit to all registries the node knew."""
        await report_exit(spec.registry_urls, spec.service.upper(), spec.node_id, because, token=self._token)
