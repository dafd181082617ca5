"""A control node: one leads by a fenced lease and runs the loops, the other stands ready.

The loops only improve things: they unstick titles, complete uploads whose node died at the last
byte, remove what has expired or is not kept any longer, and judge the trials. With no control node
at all, everything that runs goes on, trials as they stand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import anyio
import anyio.to_thread

from redqueen.delivery.service import EVERY_S
from redqueen.errors import Conflict, RedQueenError
from redqueen.events import Event, LoopFailed
from redqueen.experiments import running as experiments
from redqueen.roles.collecting import NodeSources, make_sources, make_trials
from redqueen.roles.delivery import make_delivery
from redqueen.roles.experiments import make_experiments
from redqueen.roles.node import Node
from redqueen.roles.product import Product
from redqueen.roles.retention import retention_loops
from redqueen.roles.telemetry import COMPACT_EVERY_S, compacted, make_lake
from redqueen.stats import special
from redqueen.store.leases import Leases
from redqueen.store.model import Lease

LEADER = "control"
"""The name of the lease that the leading control node holds."""
_TTL_S, _RENEW_S, _STANDBY_S, _JUDGE_S = 3.0, 1.0, 0.5, 1.0


class Bell:
    """Ends a loop's rest early, also one that has not begun."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        """Let the next turn come at once."""
        self._rung.set()

    async def rest(self, most_s: float) -> None:
        """Wait until the bell rings, at most so many seconds."""
        with anyio.move_on_after(most_s):
            await self._rung.wait()
        self._rung = anyio.Event()


@dataclass(frozen=True, slots=True)
class Loop:
    """One turn of a loop, the seconds between two of them, and what shortens these."""

    every_s: float
    turn: Callable[[], Awaitable[object]]
    bell: Bell = field(default_factory=Bell)


Loops = Mapping[str, Loop]


@dataclass(frozen=True, slots=True)
class LeadershipTaken(Event):
    """This node leads from now on, with this fence."""

    fence: int


@dataclass(frozen=True, slots=True)
class LeadershipLost(Event):
    """Another node leads, or the store does not answer: the loops here have stopped."""

    because: str


async def serve_control(node: Node) -> None:
    """Lead when the lease is free, stand by otherwise, until the node is stopping."""
    leases = Leases(node.stores.records, node.clock)
    sources = make_sources(node)
    async with node.registered(), anyio.create_task_group() as group:
        group.start_soon(sources.follow)  # who stands by knows the nodes already when it comes to lead
        group.start_soon(anyio.to_thread.run_sync, special.load)  # and can judge at once
        while not node.stopping.is_set():
            lease = await _acquire(node, leases)
            if lease is not None:
                # Made anew each time: what a leader remembers is of its own time.
                await _lead(node, leases, lease, make_loops(node, sources))
            await node.pause(_STANDBY_S)
        group.cancel_scope.cancel()


def make_loops(node: Node, sources: NodeSources) -> Loops:
    """Give what the leader does over and over."""
    product, trials = Product(node.stores), Loop(_JUDGE_S, make_trials(node, sources).turn)
    delivery = make_delivery(node, on_trial=trials.bell.ring)
    return {
        "studio.sweep": Loop(2.0, product.studio.sweep),
        "uploads.finish": Loop(2.0, product.uploads.finish_pending),
        "uploads.expire": Loop(600.0, product.uploads.expire),
        "delivery": Loop(EVERY_S, delivery.turn),
        "experiments": Loop(experiments.EVERY_S, make_experiments(node).turn),
        "telemetry.compact": Loop(COMPACT_EVERY_S, partial(compacted, node, make_lake(node))),
        "trials": trials,
        **{name: Loop(every_s, turn) for name, (every_s, turn) in retention_loops(node).items()},
    }


async def _acquire(node: Node, leases: Leases) -> Lease | None:
    try:
        return await leases.acquire(LEADER, node.spec.node_id, _TTL_S)
    except RedQueenError as error:
        node.emit(LoopFailed("control.acquire", str(error), _STANDBY_S))
        return None


async def _lead(node: Node, leases: Leases, lease: Lease, loops: Loops) -> None:
    node.emit(LeadershipTaken(lease.fence))
    because = ""
    async with anyio.create_task_group() as group:
        for name, loop in loops.items():
            group.start_soon(_repeat, node, name, loop)
        because = await _hold(node, leases, lease)
        group.cancel_scope.cancel()
    node.emit(LeadershipLost(because))


async def _hold(node: Node, leases: Leases, lease: Lease) -> str:
    """Renew the lease until it is lost or the node is stopping; return why it ended."""
    while not node.stopping.is_set():
        try:
            with anyio.fail_after(_TTL_S - _RENEW_S):
                lease = await leases.renew(lease, _TTL_S)
        except Conflict as error:
            return str(error)
        except (RedQueenError, TimeoutError) as error:
            return f"the lease could not be renewed: {error}"
        await node.pause(_RENEW_S)
    await leases.release(lease)
    return "the node is stopping"


async def _repeat(node: Node, name: str, loop: Loop) -> None:
    while True:
        try:
            await loop.turn()
        except Exception as error:  # noqa: BLE001 - one loop's fault must not stop the others; it is logged and tried again
            node.emit(LoopFailed(name, f"{type(error).__name__}: {error}", loop.every_s))
        await loop.bell.rest(loop.every_s)
