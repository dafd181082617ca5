"""Ends every process of a region, also when its supervisor was killed.

A living supervisor is asked first, since it drains in the right order and would restart what
others end. Then everything that the files name (nodes, Envoys) and everything that carries the
region's mark is ended: TERM, and KILL after a grace. A process is ended only if pid and start
time are those of the file, or if it carries the mark. Enter at `down`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from redqueen import processes
from redqueen.errors import Broken
from redqueen.fleet import nodefiles
from redqueen.fleet.datadir import locked, read_region
from redqueen.fleet.living import seen_in
from redqueen.processes import ProcessId

_STAGES = (("gateway", "worker"), ("envoy", "api", "control", "service"), ("registry",))
_OWN_S = 3.0
"""What a service's node itself needs beyond its command's time."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that `down` ended, or saw end."""

    node_id: str
    pid: int


async def down(
    data_dir: Path, *, grace_s: float = 10.0, on_ended: Callable[[Ended], None] = lambda ended: None
) -> list[Ended]:
    """End all processes of a region and return them; nothing is an empty list. Raises Broken if any stays."""
    # Refuses a newer version's folder, whose files may mean something else.
    if read_region(data_dir) is None:
        return []
    ended: list[Ended] = []

    def tell(node_id: str, process: ProcessId) -> None:
        ended.append(Ended(node_id, process.pid))
        on_ended(ended[-1])

    await _end_supervised(data_dir, grace_s, tell)
    with locked(data_dir):
        for roles in _STAGES:
            await _end_all(_named(data_dir, roles), _grace_s(data_dir, roles, grace_s), tell)
        strays = [("", process) for process in processes.marked(nodefiles.MARK, str(data_dir))]
        await _end_all(strays, grace_s, tell)
        left = seen_in(data_dir)
        if left:
            raise Broken("fleet.down", f"{', '.join(view.node_id for view in left)} could not be ended")
        (data_dir / "supervisor.json").unlink(missing_ok=True)
    return ended


def _grace_s(data_dir: Path, roles: Sequence[str], least_s: float) -> float:
    """Return the longest time that a node of these roles may take to leave: declared services say so themselves."""
    programs = [spec.program for spec in nodefiles.known_specs(data_dir).values() if spec.role.value in roles]
    return max([least_s, *(program.drain_s + program.stop_s + _OWN_S for program in programs if program)])


def _named(data_dir: Path, roles: Sequence[str]) -> list[tuple[str, ProcessId]]:
    return [(view.node_id, ProcessId(view.pid, view.started_s)) for view in seen_in(data_dir) if view.role in roles]


async def _end_supervised(data_dir: Path, grace_s: float, tell: Callable[[str, ProcessId], None]) -> None:
    """Ask the living supervisor to drain the region, and watch its nodes go; kill it if it does not finish."""
    supervisor = _named(data_dir, ("supervisor",))
    if not supervisor:
        return
    watched = [found for roles in _STAGES for found in _named(data_dir, roles)]
    async with anyio.create_task_group() as group:
        for node_id, process in watched:
            group.start_soon(_watch, node_id, process, tell)
        # Each stage with its nodes' own grace, and a little for the supervisor itself.
        whole_s = sum(_grace_s(data_dir, roles, grace_s) for roles in _STAGES) + 5
        await _end(*supervisor[0], whole_s, tell)
        with anyio.move_on_after(0.2):
            await anyio.sleep_forever()
        group.cancel_scope.cancel()


async def _watch(node_id: str, process: ProcessId, tell: Callable[[str, ProcessId], None]) -> None:
    await processes.wait_exit(process)
    tell(node_id, process)


async def _end_all(
    found: Sequence[tuple[str, ProcessId]], grace_s: float, tell: Callable[[str, ProcessId], None]
) -> None:
    async with anyio.create_task_group() as group:
        for node_id, process in found:
            group.start_soon(_end, node_id or f"process {process.pid}", process, grace_s, tell)


async def _end(node_id: str, process: ProcessId, grace_s: float, tell: Callable[[str, ProcessId], None]) -> None:
    await processes.stop(process, grace_s=grace_s)
    if not processes.is_alive(process):
        tell(node_id, process)
