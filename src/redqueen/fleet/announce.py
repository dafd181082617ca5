"""Tells others what the supervisor sees, without ever holding it up.

The board gets each view that changed, the latest only; a board that fails is tried again after a
second. Exits are told at once, each with a time limit; one that cannot be told is logged and left
to the lease. Enter at `Announcer.run`.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from redqueen.clock import Clock
from redqueen.events import Emit, LoopFailed
from redqueen.fleet.model import NodeSpec, NodeView
from redqueen.fleet.ports import ExitNotice, NodeBoard

_RETRY_S, _LIMIT_S, _QUEUED_EXITS = 1.0, 2.0, 256


class Announcer:
    """Carries views to the board and exits to whoever wants to know."""

    def __init__(self, board: NodeBoard, notice: ExitNotice, clock: Clock, emit: Emit) -> None:
        self._board = board
        self._notice = notice
        self._clock = clock
        self._emit = emit
        self._wanted: dict[str, NodeView] = {}
        self._published: dict[str, NodeView] | None = None
        self._changed = anyio.Event()
        self._exited = anyio.Event()
        self._exits: list[tuple[NodeSpec, str]] = []

    async def before(self) -> dict[str, NodeView]:
        """Return what an earlier supervisor showed, by node; empty if the board does not answer."""
        try:
            with anyio.fail_after(_LIMIT_S):
                return {view.node_id: view for view in await self._board.read()}
        except Exception as error:  # noqa: BLE001 - whatever a board raises must not stop the supervisor
            self._emit(LoopFailed("fleet.board", str(error), _RETRY_S))
            return {}

    def show(self, views: Sequence[NodeView]) -> None:
        """Take the views that the board shall show from now on."""
        self._wanted = {view.node_id: view for view in views}
        self._changed.set()

    def exited(self, spec: NodeSpec, because: str) -> None:
        """Take the news of an exit."""
        if len(self._exits) < _QUEUED_EXITS:
            self._exits.append((spec, because))
        self._exited.set()

    async def run(self) -> None:
        """Carry news until cancelled; a board that hangs does not delay exits."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._board_loop)
            while True:
                self._exited = anyio.Event()
                while self._exits:
                    group.start_soon(self._tell, *self._exits.pop(0))
                await self._exited.wait()

    async def _board_loop(self) -> None:
        while True:
            self._changed = anyio.Event()
            await self._publish_or_retry()
            await self._changed.wait()

    async def flush(self) -> None:
        """Publish once more what is not on the board yet; gives up after a time limit."""
        await self._publish_or_retry()

    async def _tell(self, spec: NodeSpec, because: str) -> None:
        try:
            with anyio.fail_after(_LIMIT_S):
                await self._notice.exited(spec, because)
        except Exception as error:  # noqa: BLE001 - whatever a listener raises must not stop the supervisor
            self._emit(LoopFailed("fleet.exit_notice", f"{spec.node_id}: {error}", 0))

    async def _publish_or_retry(self) -> None:
        try:
            with anyio.fail_after(_LIMIT_S):
                await self._publish()
        except Exception as error:  # noqa: BLE001 - whatever a board raises must not stop the supervisor
            self._emit(LoopFailed("fleet.board", str(error), _RETRY_S))
            await self._clock.sleep(_RETRY_S)
            self._changed.set()

    async def _publish(self) -> None:
        if self._published is None:
            self._published = {view.node_id: view for view in await self._board.read()}
        wanted = self._wanted
        for node_id, view in wanted.items():
            if self._published.get(node_id) != view:
                await self._board.publish(view)
                self._published[node_id] = view
        for node_id in [known for known in self._published if known not in wanted]:
            await self._board.remove(node_id)
            self._published.pop(node_id, None)
