"""Kills the region's processes one after the other, and times how long each stays away.

Decides the order: one role after the other, its members in turn, the supervisor only when asked.
Kills through the product's own API; where the api itself is the victim, or the supervisor, by pid.
Refuses to kill a pid whose command line does not name the region's data folder.
Enter at `Killer.rounds`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread
import psutil

from redqueen.errors import RedQueenError
from redqueen.testing.region import Node, Region

ROLES = ("gateway", "envoy", "registry", "api", "worker", "control")
_BY_PID = ("api", "supervisor")
_LOOK_S = 0.25
_RECOVERY_LIMIT_S = 60.0


@dataclass(slots=True)
class Kill:
    """One process killed: when (seconds after the beginning), and how long until its row was up again."""

    role: str
    node: str
    pid: int
    after_s: float
    recovered_s: float | None = None


class Killer:
    """Watches a region's processes and kills them."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._nodes: dict[str, Node] = {}
        self._began = time.monotonic()
        self.kills: list[Kill] = []
        self.skipped: Counter[str] = Counter()
        self.unanswered = 0
        """How often the fleet's state could not be had."""

    async def watch(self) -> None:
        """Keep the latest picture of the fleet until cancelled."""
        with self._region.api(patience_s=2.0) as api:
            while True:
                try:
                    nodes = await anyio.to_thread.run_sync(self._region.nodes, api, abandon_on_cancel=True)
                    self._nodes = {node.id: node for node in nodes}
                except RedQueenError:
                    self.unanswered += 1
                await anyio.sleep(_LOOK_S)

    async def rounds(self, every_s: float, ends_at: float) -> None:
        """Kill one process every `every_s` seconds, role by role, until `ends_at` (monotonic)."""
        self._began = time.monotonic()
        turn, due = 0, time.monotonic() + every_s
        async with anyio.create_task_group() as group:
            while due < ends_at:
                await anyio.sleep(max(0.0, due - time.monotonic()))
                kill = await self.kill(ROLES[turn % len(ROLES)], turn // len(ROLES))
                if kill is not None:
                    group.start_soon(self._recovery, kill)
                turn, due = turn + 1, due + every_s

    async def kill(self, role: str, member: int) -> Kill | None:
        """Kill the `member`th (counted round) living process of a role; None when there is none."""
        living = [
            node
            for _, node in sorted(self._nodes.items())
            if node.role == role and node.pid and _ours(self._region, node)
        ]
        if not living:
            self.skipped[role] += 1
            return None
        node = living[member % len(living)]
        kill = Kill(role, node.id, node.pid or 0, round(time.monotonic() - self._began, 2))
        await anyio.to_thread.run_sync(self._strike, node)
        self.kills.append(kill)
        print(f"{kill.after_s:7.1f} s  killed {node.id} (pid {node.pid})", flush=True)
        return kill

    def _strike(self, node: Node) -> None:
        if node.role not in _BY_PID:
            with contextlib.suppress(RedQueenError), self._region.api(patience_s=2.0) as api:
                api.post(f"/fleet/nodes/{node.id}/kill")
                return
        with contextlib.suppress(ProcessLookupError):
            os.kill(node.pid or 0, signal.SIGKILL)

    async def _recovery(self, kill: Kill) -> None:
        struck = time.monotonic()
        while time.monotonic() - struck < _RECOVERY_LIMIT_S:
            node = self._nodes.get(kill.node)
            if node is not None and node.state == "up" and node.pid not in (None, kill.pid):
                kill.recovered_s = round(time.monotonic() - struck, 2)
                return
            await anyio.sleep(_LOOK_S)

    def figures(self) -> dict[str, Any]:
        """Sum up the kills by role."""
        recoveries: dict[str, list[float | None]] = {}
        for kill in self.kills:
            recoveries.setdefault(kill.role, []).append(kill.recovered_s)
        known = {role: [value for value in values if value is not None] for role, values in recoveries.items()}
        return {
            "kills": len(self.kills),
            "kills_by_role": dict(Counter(kill.role for kill in self.kills)),
            "roles_skipped": dict(self.skipped),
            "worst recovery, s": max((value for values in known.values() for value in values), default=0.0),
            "worst_recovery_by_role_s": {role: max(values, default=None) for role, values in known.items()},
            "kills without recovery": sum(k.recovered_s is None and k.role != "supervisor" for k in self.kills),
            "fleet pictures that failed": self.unanswered,
        }

    def pids(self) -> dict[str, int | None]:
        """Give each process's pid as last seen."""
        return {node.id: node.pid for node in self._nodes.values()}


def _ours(region: Region, node: Node) -> bool:
    """Tell whether the pid lives and is the region's: by its command line, or by `supervisor.json`."""
    try:
        command = psutil.Process(node.pid or 0).cmdline()
    except psutil.Error:
        return False
    if node.role == "supervisor":
        known = json.loads((region.data / "supervisor.json").read_bytes())
        return known["pid"] == node.pid
    return any(str(region.data) in part for part in command)
