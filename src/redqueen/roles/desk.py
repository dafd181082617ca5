"""What the API asks of the fleet: the picture of the region, the button that ends a node, the logs."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import anyio

from redqueen.api.ports import FleetNode, FleetPicture, LogLine
from redqueen.errors import NotFound
from redqueen.fleet import living
from redqueen.fleet.model import NodeView
from redqueen.roles.board import RecordBoard
from redqueen.roles.control import LEADER
from redqueen.roles.node import Node
from redqueen.store.leases import Leases

_ANSWER_S = 0.1
_TAIL_BYTES = 1 << 20
"""How much of the end of each log is looked at."""


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
            nodes=[_node(view) for view in views],
            leader=await self._leases.holder(LEADER),
        )

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

    async def logs(self, role: str | None, node: str | None, lines: int) -> list[LogLine]:
        """Return the last `lines` log lines, oldest first, of one role, one node or all."""
        folder = self._node.spec.data_path / "logs"
        return await anyio.to_thread.run_sync(_log_lines, folder, role, node, lines)


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


def _log_lines(folder: Path, role: str | None, node: str | None, lines: int) -> list[LogLine]:
    """Merge the ends of the logs by their time stamps; a line without one goes with the line before it."""
    found: list[tuple[str, LogLine]] = []
    for path in sorted(folder.glob("*.log")):
        name = path.stem
        if (node is not None and name != node) or (role is not None and name.partition("-")[0] != role):
            continue
        stamp = ""
        for line in _tail(path).decode(errors="replace").splitlines()[-lines:]:
            if line.startswith('{"time":"'):
                stamp = line[9:33]
            found.append((stamp, LogLine(name, line)))
    found.sort(key=lambda entry: entry[0])
    return [line for _, line in found[-lines:]]


def _tail(path: Path) -> bytes:
    with path.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - _TAIL_BYTES))
        text = log.read()
    return text if size <= _TAIL_BYTES else text.partition(b"\n")[2]
