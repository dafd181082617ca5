"""What the API asks of the fleet: the picture of the region, the button that ends a node, the logs."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime

import anyio
import msgspec

from redqueen.api.ports import FleetNode, FleetPicture, LogLine
from redqueen.errors import NotFound
from redqueen.fleet import living
from redqueen.fleet.drivers import logfiles
from redqueen.fleet.model import NodeState, NodeView, Role
from redqueen.fleet.rotation import LogQuery
from redqueen.roles.board import RecordBoard
from redqueen.roles.control import LEADER
from redqueen.roles.gateway_note import gateway_state, warning
from redqueen.roles.node import Node
from redqueen.store.leases import Leases

_ANSWER_S = 0.1
_ALIVE = frozenset({NodeState.UP, NodeState.DRAINING})


class FleetDesk:
    """The API's FleetPort over the board, the processes and the log files of this machine."""

    def __init__(self, node: Node, public_url: str) -> None:
        self._node = node
        self._public_url = public_url
        self._board = RecordBoard(node.stores.records)
        self._leases = Leases(node.stores.records, node.clock)

    async def view(self) -> FleetPicture:
        """Return the region's nodes now, each checked against its process."""
        views = living.checked(await self._board.read())
        return FleetPicture(
            region=self._node.region.name,
            public_url=self._public_url,
            as_of=datetime.fromtimestamp(self._node.clock.now(), UTC),
            zones=list(self._node.region.zones),
            nodes=[self._seen(view) for view in views],
            leader=await self._leases.holder(LEADER),
        )

    def _seen(self, view: NodeView) -> FleetNode:
        node = _node(view)
        if view.role != Role.GATEWAY or view.state not in _ALIVE:
            return node
        state = gateway_state(self._node.spec.data_path, view.node_id)
        return node if state is None else msgspec.structs.replace(node, snapshot=state.version, warning=warning(state))

    async def kill(self, node_id: str) -> None:
        """End exactly that process at once. Raises NotFound."""
        for view in await self._board.read():
            if view.node_id == node_id and view.pid == os.getpid():
                # Its own end must wait until the answer has left.
                threading.Timer(_ANSWER_S, living.kill, [view]).start()
                return
            if view.node_id == node_id:
                return living.kill(view)
        raise NotFound("fleet.node_unknown", f"There is no node {node_id}", hint="See them with: redqueen status")

    async def logs(self, query: LogQuery) -> list[LogLine]:
        """Return the last log lines that are asked for, oldest first."""
        folder = self._node.spec.data_path / "logs"
        found = await anyio.to_thread.run_sync(logfiles.read, folder, query)
        return [LogLine(node, line) for node, line in found]


def _node(view: NodeView) -> FleetNode:
    return FleetNode(
        id=view.node_id,
        role=view.role,
        service=view.service,
        zone=view.zone,
        pid=view.pid or None,
        address=f"{view.host}:{view.port}" if view.port else "",
        state=view.state.value,
        version=view.version,
        restarts=view.restarts,
        because=view.because,
    )
