"""What the fleet asks of others: what is wished for, a board to publish what it sees, ears for an exit.

The supervisor works without any: when the store or the registries do not answer it still restarts
nodes, and the wishes it heard last stand. The composition root adapts wishes and board to the
records and the notice to the registries; `NodeProcesses` is answered by `drivers/local.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from redqueen.fleet.declared import Wishes
from redqueen.fleet.model import NodeSpec, NodeView
from redqueen.processes import ProcessId


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a node's process says that it is ready, and what it says about it."""

    ready: bool
    because: str = ""


class WishSource(Protocol):
    """Where operators' wishes are kept."""

    async def read(self) -> Wishes:
        """Return all wishes of now; may raise, then the last known ones stand."""
        ...


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

    def readiness(self, node_id: str, process: ProcessId) -> Readiness:
        """Return what this very process has said about itself."""
        ...

    def end(self, process: ProcessId, *, at_once: bool, replaced: bool = False) -> None:
        """Ask a node to finish and leave, or end it and its group at once.

        `replaced` tells it that the next process takes its place: a gateway's Envoy serves on for it.
        """
        ...

    async def wait_exit(self, node_id: str, process: ProcessId) -> str:
        """Return why the node's process ended, as soon as it has; nothing of the node is left then."""
        ...

    def forget(self, node_id: str) -> None:
        """Drop what is known about a node that is not wanted any more."""
        ...


@dataclass(frozen=True, slots=True)
class SupervisorPorts:
    """What the supervisor of a region is connected to, and what closes it."""

    wishes: WishSource
    board: NodeBoard
    notice: ExitNotice
    close: Callable[[], Awaitable[None]]
