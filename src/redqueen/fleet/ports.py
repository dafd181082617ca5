"""What the fleet asks of others: a board to publish what it sees, and ears for an exit.

The supervisor works without either: when the board or the registries do not answer it still
restarts nodes. The composition root adapts the board to the records and the notice to the
registries; `NodeProcesses` is answered by `drivers/local.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from redqueen.fleet.model import NodeSpec, NodeView
from redqueen.processes import ProcessId


class NodeBoard(Protocol):
    """Where everybody reads what nodes there are."""

    async def publish(self, view: NodeView) -> None:
        """Put a node's view in place of its earlier one."""
        ...

    async def remove(self, node_id: str) -> None:
        """Take a node off; no error when it is not there."""
        ...

    async def read(self) -> list[NodeView]:
        """Return all views."""
        ...


class ExitNotice(Protocol):
    """Who wants to know at once that a node's process has ended."""

    async def exited(self, spec: NodeSpec, because: str) -> None:
        """Hear that the node is gone; may raise, which is logged and not repeated."""
        ...


class NodeProcesses(Protocol):
    """The processes behind nodes, wherever they run."""

    def adopt(self) -> Mapping[str, tuple[NodeSpec, ProcessId]]:
        """Return every node that lives already, whoever started it, with what it was told."""
        ...

    def envoy(self, node_id: str) -> ProcessId | None:
        """Return the living Envoy that a gateway keeps, or None."""
        ...

    def may_listen(self, spec: NodeSpec) -> bool:
        """Tell whether the node would find its port free."""
        ...

    def start(self, spec: NodeSpec) -> ProcessId:
        """Start a node; it outlives its starter. Raises Unavailable."""
        ...

    def is_ready(self, node_id: str, process: ProcessId) -> bool:
        """Tell whether this very process has said that it is ready."""
        ...

    def end(self, process: ProcessId, *, at_once: bool) -> None:
        """Ask a node to finish and leave, or end it and its group at once."""
        ...

    async def wait_exit(self, process: ProcessId) -> str:
        """Return why the process ended, as soon as it has."""
        ...

    def forget(self, node_id: str) -> None:
        """Drop what is known about a node that is not wanted any more."""
        ...
