"""Runs a region in this process: opens it, prepares its stores, supervises, says when it serves.

Decides when a region counts as serving (its public address answers `/api/v1/health`), and what
signals mean: the first asks the region to drain, the second kills what still drains. The drivers
are the composition root's (`redqueen.roles.region`), reached through `Composition`.
Enter at `run_region`.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

import anyio
import httpx

from redqueen import __version__
from redqueen.cli.client import PREFIX
from redqueen.cli.picture import Screen
from redqueen.clock import SystemClock
from redqueen.config import Region
from redqueen.events import LogLines
from redqueen.fleet import wishing
from redqueen.fleet.backoff import Pace
from redqueen.fleet.declared import Wishes
from redqueen.fleet.drivers import logfiles
from redqueen.fleet.drivers.local import LocalProcesses, node_argv
from redqueen.fleet.opening import Opening, Planner, opened
from redqueen.fleet.ports import SupervisorPorts
from redqueen.fleet.service import Supervisor
from redqueen.lean import trust

_LOOK_S = 0.1
SLOW_S = 30.0
"""After so many seconds without an answer the user is told where to look."""


class Composition(Protocol):
    """What the verb needs of the composition root; each may be a coroutine function."""

    def prepare(self, data_dir: Path, region: Region, tools_url: str) -> Any:
        """Make the stores, keys, owner and the operator's credentials.json where they are missing."""
        ...

    def make_supervisor_ports(self, data_dir: Path) -> SupervisorPorts | Awaitable[SupervisorPorts]:
        """Return the wishes, the board, the exit notice, and what closes them."""
        ...

    def make_samples(self, data_dir: Path) -> Any:
        """Make the sample titles where they are missing; takes its time."""
        ...


def composition() -> Composition:
    """Import the composition root."""
    return cast("Composition", importlib.import_module("redqueen.roles.region"))


@dataclass(frozen=True, slots=True)
class Running:
    """What the region's processes are made with, and who wants to know that it serves."""

    parts: Composition
    screen: Screen
    log: TextIO
    on_serving: Callable[[Opening], None]
    argv: Callable[[Path], Sequence[str]] = node_argv


async def run_region(data_dir: Path, port: int | None, running: Running) -> None:
    """Supervise a region until a signal, then drain it. Raises what opening it raises."""
    with opened(data_dir, port=port) as opening:
        if opening.because:
            running.screen.tell(f"Using port {opening.public_port}: {opening.because}")
        await _settled(running.parts.prepare(data_dir, opening.region, opening.tools_url))
        ports = cast("SupervisorPorts", await _settled(running.parts.make_supervisor_ports(data_dir)))
        try:
            await _supervise(opening, running, ports)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(2):
                await _settled(ports.close())


async def _supervise(opening: Opening, running: Running, ports: SupervisorPorts) -> None:
    planner, emit, clock = Planner(opening, __version__), LogLines("supervisor", running.log), SystemClock()
    planner.wish(wishing.remembered(opening.data_dir))
    local = LocalProcesses(opening.data_dir, running.argv)
    supervisor = Supervisor(
        planner,
        local,
        board=ports.board,
        notice=ports.notice,
        clock=clock,
        emit=emit,
        pace=Pace(stop_s=opening.region.timings.stop_s),
        on_views=running.screen.views,
        excess=local.excess,
    )

    def take(wishes: Wishes) -> None:
        planner.wish(wishes)
        supervisor.replan()

    stop, hurry = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(logfiles.keep, opening.data_dir / "logs", clock)
        group.start_soon(wishing.follow, ports.wishes, opening.data_dir, take, clock, emit)
        group.start_soon(_on_signals, stop, hurry, running.screen)
        group.start_soon(_after_start, opening, running)
        await supervisor.run(stop, hurry)
        group.cancel_scope.cancel()


async def _on_signals(stop: anyio.Event, hurry: anyio.Event, screen: Screen) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for _ in signals:
            if stop.is_set():
                hurry.set()
            else:
                screen.tell("Draining the region; once more ends it at once")
                stop.set()


async def _after_start(opening: Opening, running: Running) -> None:
    """Wait until the region serves, then greet."""
    with anyio.move_on_after(SLOW_S) as patience:
        await until_serving(opening.tools_url)
    if patience.cancelled_caught:
        running.screen.tell(f"The region does not answer yet; see {opening.data_dir / 'logs'}")
        await until_serving(opening.tools_url)
    # A thread that the end of the region does not wait for, and whose failure does not end the region.
    threading.Thread(target=_greet, args=(opening, running), daemon=True).start()


def _greet(opening: Opening, running: Running) -> None:
    try:
        running.on_serving(opening)
        made = running.parts.make_samples(opening.data_dir)
        if inspect.iscoroutine(made):
            asyncio.run(made)
    except Exception as error:  # noqa: BLE001 - told to the user; the region goes on without samples
        running.screen.tell(f"warning: {error}")


async def until_serving(public_url: str) -> None:
    """Return when the region's public address answers its health check."""
    async with httpx.AsyncClient(trust_env=False, verify=trust(public_url), timeout=2.0) as client:
        while True:
            try:
                if (await client.get(f"{public_url}{PREFIX}/health")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await anyio.sleep(_LOOK_S)


async def _settled(value: object) -> object:
    return await value if inspect.isawaitable(value) else value
