"""The supervisor: the loop that keeps the nodes that live equal to the nodes that shall live.

Adopts what lives already, starts what is missing, hears of an exit within milliseconds, tells the
registries and the board. Neither of them can hold it up. Its own death stops nobody; told to
stop, it drains the region in stages: gateways and workers, then api and control, then registries.
Decisions are `reconcile.py`'s; this file only carries them out. Enter at `Supervisor.run`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from redqueen.clock import Clock
from redqueen.errors import RedQueenError
from redqueen.events import Emit, Event
from redqueen.fleet.announce import Announcer
from redqueen.fleet.backoff import History, Pace, after_exit, after_start
from redqueen.fleet.living import envoy_view, node_view, supervisor_view
from redqueen.fleet.model import NodeSpec, NodeState, NodeView, Role
from redqueen.fleet.ports import ExitNotice, NodeBoard, NodeProcesses
from redqueen.fleet.reconcile import Drain, Observed, Start, Stop, Wait, Wanted, reconcile
from redqueen.fleet.rolling import needed
from redqueen.processes import ProcessId

DRAIN_STAGES = (frozenset({Role.GATEWAY, Role.WORKER}), frozenset({Role.API, Role.CONTROL, Role.SERVICE}))
"""Who leaves first: those who let viewers in, then those who answer them; the registries last."""
_BUSY_S, _QUIET_S = 0.1, 0.5
_OWN_S = 3.0
_USE_S = 2.0


@dataclass(frozen=True, slots=True)
class NodeStarted(Event):
    """A node's process was started."""

    node_id: str
    pid: int
    because: str


@dataclass(frozen=True, slots=True)
class NodeAdopted(Event):
    """A node that lived already was taken over."""

    node_id: str
    pid: int


@dataclass(frozen=True, slots=True)
class NodeEnded(Event):
    """A node's process ended; asked for, or not."""

    node_id: str
    pid: int
    because: str
    asked: bool
    lived_s: float


@dataclass(frozen=True, slots=True)
class NodeAsked(Event):
    """A node was asked to leave, or killed because it did not."""

    node_id: str
    pid: int
    because: str
    killed: bool


@dataclass(slots=True)
class _Slot:
    """What the supervisor knows about one node; changed only between two awaits."""

    spec: NodeSpec
    process: ProcessId | None = None
    ready: bool = False
    note: str = ""
    since: float = 0.0
    ready_at: float = 0.0
    was_ready: bool = False
    sentence: str = ""
    """Why it is being ended at once, though it was not asked to leave."""
    draining_since: float | None = None
    history: History = field(default_factory=History)
    waiting: str = ""


class Supervisor:
    """Keeps one region's nodes; `plan(moved)` gives the wanted specs, `moved` being a node whose port was lost.

    `excess` says why a node's process uses too much of the machine, empty if it does not.
    """

    def __init__(
        self,
        plan: Callable[[str | None], Mapping[str, NodeSpec]],
        processes: NodeProcesses,
        *,
        board: NodeBoard,
        notice: ExitNotice,
        clock: Clock,
        emit: Emit,
        pace: Pace | None = None,
        on_views: Callable[[Sequence[NodeView]], None] = lambda views: None,
        excess: Callable[[NodeSpec, ProcessId], str] = lambda spec, process: "",
    ) -> None:
        self._plan = plan
        self._processes = processes
        self._clock = clock
        self._emit = emit
        self._pace = pace or Pace()
        self._announcer = Announcer(board, notice, clock, emit)
        self._on_views = on_views
        self._excess = excess
        self._shown: tuple[NodeView, ...] = ()
        self._slots: dict[str, _Slot] = {}
        self._wanted: dict[str, NodeSpec] = {}
        self._planned: frozenset[str] = frozenset()
        self._changed = anyio.Event()
        self._leaving = False

    def replan(self) -> None:
        """Ask for the wanted specs again, since something else is wished for; ignored once the region drains."""
        if self._leaving or not self._planned:
            return
        self._wanted = dict(self._plan(None))
        self._planned = frozenset(self._wanted)
        self._changed.set()

    async def run(self, stop: anyio.Event, hurry: anyio.Event | None = None) -> None:
        """Keep the region until `stop` is set, then drain it; `hurry` kills what still drains."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._announcer.run)
            group.start_soon(self._bound_use)
            group.start_soon(self._wake_at, stop)
            if hurry is not None:
                group.start_soon(self._wake_at, hurry)
            self._wanted = dict(self._plan(None))
            # What a drained region keeps on disk, so that it starts again where it was.
            self._planned = frozenset(self._wanted)
            await self._adopt(group)
            while not stop.is_set():
                await self._turn(group)
            self._leaving = True
            await self._drain(group, hurry or anyio.Event())
            self._announcer.show(())
            await self._announcer.flush()
            group.cancel_scope.cancel()

    async def _drain(self, group: TaskGroup, hurry: anyio.Event) -> None:
        for leaving in (*DRAIN_STAGES, frozenset(Role)):
            self._wanted = {node_id: spec for node_id, spec in self._wanted.items() if spec.role not in leaving}
            while any(slot.process for node_id, slot in self._slots.items() if node_id not in self._wanted):
                if hurry.is_set():
                    self._kill_all()
                running = {node_id for node_id, slot in self._slots.items() if slot.process}
                self._wanted = {node_id: spec for node_id, spec in self._wanted.items() if node_id in running}
                await self._turn(group)
        self._look()
        self._show()

    def _kill_all(self) -> None:
        for slot in self._slots.values():
            if slot.process:
                self._processes.end(slot.process, at_once=True)

    async def _bound_use(self) -> None:
        """End our own nodes that use too much; a service's node watches its command itself."""
        while True:
            await self._clock.sleep(_USE_S)
            for slot in self._slots.values():
                if slot.process is None or slot.draining_since is not None or slot.spec.role is Role.SERVICE:
                    continue
                slot.sentence = self._excess(slot.spec, slot.process)
                if slot.sentence:
                    self._processes.end(slot.process, at_once=True)

    async def _wake_at(self, event: anyio.Event) -> None:
        await event.wait()
        self._changed.set()

    async def _adopt(self, group: TaskGroup) -> None:
        before = await self._announcer.before()
        for node_id, (spec, process) in self._processes.adopt().items():
            view = before.get(node_id)
            slot = _Slot(spec, history=History(restarts=view.restarts if view else 0))
            self._slots[node_id] = slot
            self._watch(group, node_id, slot, process)
            self._emit(NodeAdopted(node_id, process.pid))
        for node_id, spec in self._wanted.items():
            view = before.get(node_id)
            if view is not None and view.state is NodeState.QUARANTINED and node_id not in self._slots:
                # It gets its one try now; a new supervisor is no reason for another crash loop.
                self._slots[node_id] = _Slot(
                    spec, history=History(view.restarts, self._pace.crashes, quarantined=True, because=view.because)
                )

    def _watch(self, group: TaskGroup, node_id: str, slot: _Slot, process: ProcessId) -> None:
        slot.process, slot.ready, slot.was_ready, slot.note, slot.draining_since = process, False, False, "", None
        slot.since, slot.waiting = self._clock.monotonic(), ""
        group.start_soon(self._await_exit, node_id, slot, process)

    async def _await_exit(self, node_id: str, slot: _Slot, process: ProcessId) -> None:
        because = await self._processes.wait_exit(node_id, process)
        because, slot.sentence = slot.sentence or because, ""
        now = self._clock.monotonic()
        asked, lived_s = slot.draining_since is not None, now - slot.since
        if asked:
            slot.history = History(restarts=slot.history.restarts)
        else:
            slot.history = after_exit(slot.history, now=now, lived_s=lived_s, because=because, pace=self._pace)
        slot.process, slot.ready, slot.draining_since = None, False, None
        self._emit(NodeEnded(node_id, process.pid, because, asked, round(lived_s, 3)))
        self._announcer.exited(slot.spec, because)
        self._changed.set()

    async def _turn(self, group: TaskGroup) -> None:
        """Decide, act, show, then wait until something happens."""
        self._changed = anyio.Event()
        self._look()
        now = self._clock.monotonic()
        wanted = self._desired()
        for slot in self._slots.values():
            slot.waiting = slot.waiting if slot.draining_since is not None else ""
        wake_at = now + (_BUSY_S if self._is_busy() else _QUIET_S)
        for action in reconcile(wanted, self._observed(), now, self._pace):
            match action:
                case Start():
                    self._start(group, action)
                case Drain() | Stop():
                    self._ask(action, now)
                case Wait():
                    self._explain(action)
                    wake_at = min(wake_at, action.until or wake_at)
        self._show()
        with anyio.move_on_after(max(0.0, wake_at - self._clock.monotonic())):
            await self._changed.wait()

    def _desired(self) -> dict[str, Wanted]:
        return {
            node_id: Wanted(spec.role, spec.digest, spec.service, spec.spare) for node_id, spec in self._wanted.items()
        }

    def _look(self) -> None:
        now = self._clock.monotonic()
        for node_id, slot in self._slots.items():
            # A service may become unready again; our own nodes end instead.
            if slot.process is not None and (not slot.ready or slot.spec.role is Role.SERVICE):
                seen = self._processes.readiness(node_id, slot.process)
                slot.ready_at = slot.ready_at if slot.ready else now
                slot.ready, slot.note = seen.ready, seen.because
                slot.was_ready = slot.was_ready or seen.ready
        spares = needed(self._desired(), self._observed(), now, self._pace)
        for node_id, slot in list(self._slots.items()):
            wanted = self._wanted.get(node_id)
            if slot.process is None and (wanted is None or (wanted.spare and node_id not in spares)):
                if node_id not in self._planned or slot.spec.spare:
                    self._processes.forget(node_id)
                del self._slots[node_id]

    def _is_busy(self) -> bool:
        wanted = sum(not spec.spare for spec in self._wanted.values())
        return len(self._slots) < wanted or any(not slot.ready for slot in self._slots.values())

    def _observed(self) -> dict[str, Observed]:
        return {
            node_id: Observed(
                role=slot.spec.role,
                digest=slot.spec.digest,
                alive=slot.process is not None,
                ready=slot.ready,
                draining_since=slot.draining_since,
                history=slot.history,
                ready_at=slot.ready_at,
                stop_s=_stop_s(slot.spec),
            )
            for node_id, slot in self._slots.items()
        }

    def _start(self, group: TaskGroup, action: Start) -> None:
        spec = self._wanted[action.node_id]
        if not self._processes.may_listen(spec):
            self._wanted = dict(self._plan(action.node_id))
            spec = self._wanted[action.node_id]
        slot = self._slots.get(action.node_id)
        if slot is None:
            slot = self._slots[action.node_id] = _Slot(spec)
        else:
            slot.spec, slot.history = spec, after_start(slot.history)
        try:
            process = self._processes.start(spec)
        except RedQueenError as error:
            now = self._clock.monotonic()
            slot.history = after_exit(slot.history, now=now, lived_s=0, because=str(error), pace=self._pace)
            self._emit(NodeEnded(action.node_id, 0, str(error), asked=False, lived_s=0))
            return
        self._watch(group, action.node_id, slot, process)
        self._emit(NodeStarted(action.node_id, process.pid, action.because))

    def _ask(self, action: Drain | Stop, now: float) -> None:
        slot = self._slots[action.node_id]
        if slot.process is None:
            return
        killed = isinstance(action, Stop)
        # Only a gateway has something that its successor can take over while viewers use it.
        replaced = slot.spec.role is Role.GATEWAY and action.node_id in self._wanted
        self._processes.end(slot.process, at_once=killed, replaced=replaced)
        slot.draining_since = now
        slot.waiting = action.because
        self._emit(NodeAsked(action.node_id, slot.process.pid, action.because, killed))

    def _explain(self, action: Wait) -> None:
        slot = self._slots[action.node_id]
        if slot.draining_since is None:
            slot.waiting = action.because

    def _show(self) -> None:
        views = tuple(self._views())
        if views != self._shown:
            self._shown = views
            self._announcer.show(views)
            self._on_views(views)

    def _views(self) -> list[NodeView]:
        views = [supervisor_view()]
        for node_id, slot in sorted(self._slots.items()):
            restarts = slot.history.restarts
            views.append(node_view(slot.spec, slot.process, _state(slot), restarts=restarts, because=_because(slot)))
            envoy = self._processes.envoy(node_id) if slot.spec.role is Role.GATEWAY else None
            if envoy is not None:
                views.append(envoy_view(slot.spec, envoy))
        return views


def _state(slot: _Slot) -> NodeState:
    if slot.process is None:
        return NodeState.QUARANTINED if slot.history.quarantined else NodeState.BACKOFF
    if slot.draining_since is not None:
        return NodeState.DRAINING
    if slot.ready:
        return NodeState.UP
    return NodeState.DOWN if slot.was_ready else NodeState.STARTING


def _because(slot: _Slot) -> str:
    told = slot.waiting or slot.note
    if told or not slot.history.because:
        return told
    return f"started again: {slot.history.because}" if slot.process else slot.history.because


def _stop_s(spec: NodeSpec) -> float | None:
    """Return the seconds a node may take to leave: a service says so itself, and its node needs a moment more."""
    return None if spec.program is None else spec.program.drain_s + spec.program.stop_s + _OWN_S
