"""A region of tiny real processes for tests of the fleet: each node marks itself ready and waits for SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from redqueen import processes
from redqueen.clock import SystemClock
from redqueen.events import Event
from redqueen.fleet.backoff import Pace
from redqueen.fleet.desired import Share
from redqueen.fleet.drivers.local import LocalProcesses
from redqueen.fleet.living import seen_in
from redqueen.fleet.model import NodeSpec, NodeState, NodeView, Role
from redqueen.fleet.nodefiles import MARK
from redqueen.fleet.opening import Opening, Planner, opened
from redqueen.fleet.service import Supervisor
from redqueen.testing.region import free_port

NODE = """
import json, os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[-1]).parent
if (folder / "crash").exists():
    sys.exit(3)
if (folder / "stubborn").exists():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
(folder / "ready.json").write_text(json.dumps({"pid": os.getpid()}))
time.sleep(120)
"""

TWO = (Share(Role.API, "api", "1", "a", 1), Share(Role.API, "api", "1", "b", 1))
FAST = Pace(stop_s=0.4)


def fake_argv(spec_path: Path) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", NODE, str(spec_path)]


@dataclass
class Board:
    views: dict[str, NodeView] = field(default_factory=dict)
    broken: bool = False

    async def publish(self, view: NodeView) -> None:
        if self.broken:
            raise OSError("the board is broken")
        self.views[view.node_id] = view

    async def remove(self, node_id: str) -> None:
        self.views.pop(node_id, None)

    async def read(self) -> list[NodeView]:
        if self.broken:
            raise OSError("the board is broken")
        return list(self.views.values())


@dataclass
class Ears:
    heard: list[tuple[str, str]] = field(default_factory=list)

    async def exited(self, spec: NodeSpec, because: str) -> None:
        self.heard.append((spec.node_id, because))


@dataclass
class Running:
    """A supervised region under test."""

    opening: Opening
    board: Board
    ears: Ears
    stop: anyio.Event
    events: list[Event]
    views: list[Sequence[NodeView]]

    def view(self, node_id: str) -> NodeView | None:
        return next((view for view in self.views[-1] if view.node_id == node_id), None) if self.views else None

    def is_up(self, *node_ids: str) -> bool:
        return all((view := self.view(node_id)) and view.state is NodeState.UP for node_id in node_ids)


@asynccontextmanager
async def supervised(
    data_dir: Path,
    shares: tuple[Share, ...] = TWO,
    *,
    board: Board | None = None,
    pace: Pace = FAST,
    drain: bool = True,
    port: int | None = None,
) -> AsyncIterator[Running]:
    """Supervise a region until the block ends; `drain=False` leaves it as a killed supervisor would."""
    with opened(data_dir, port=port or free_port()) as opening:
        running = Running(opening, board or Board(), Ears(), anyio.Event(), [], [])
        supervisor = Supervisor(
            Planner(opening, "1", shares),
            LocalProcesses(data_dir, fake_argv),
            board=running.board,
            notice=running.ears,
            clock=SystemClock(),
            emit=running.events.append,
            pace=pace,
            on_views=running.views.append,
        )
        async with anyio.create_task_group() as group:
            group.start_soon(supervisor.run, running.stop)
            yield running
            if drain:
                running.stop.set()
            else:
                group.cancel_scope.cancel()


async def until(holds: Callable[[], object], *, within_s: float = 30.0) -> None:
    """Wait until something holds; fails the test when it does not within the time."""
    with anyio.fail_after(within_s):
        while not holds():
            await anyio.sleep(0.01)


@contextmanager
def swept(data_dir: Path) -> Generator[Path, None, None]:
    """Give a data folder, and kill whatever still carries its mark at the end."""
    try:
        yield data_dir
    finally:
        for process in processes.marked(MARK, str(data_dir)):
            os.kill(process.pid, signal.SIGKILL)


def living(data_dir: Path) -> list[str]:
    return sorted(view.node_id for view in seen_in(data_dir))


async def _serve(data_dir: Path, port: int) -> None:
    """Supervise until SIGTERM, then drain: the supervisor as a process of its own."""
    async with supervised(data_dir, port=port) as region:
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                region.stop.set()
                return


if __name__ == "__main__":
    anyio.run(_serve, Path(sys.argv[1]), int(sys.argv[2]))
