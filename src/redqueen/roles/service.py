"""A declared service's node: runs the command as its child, vouches for it, and ends with it.

The instance is UP in the registries only while its health path answers. The child's end, its use
of too much, and a health that stays bad end the node, at once and with the reason; the fleet
starts it again. Told to leave, it says OUT_OF_SERVICE, lets gateways let go, and only then ends
the child. The child dies with this process, whatever kills it. Enter at `serve_service`.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import anyio
import httpx

from redqueen import processes
from redqueen.errors import Unavailable
from redqueen.events import Event
from redqueen.fleet import limits
from redqueen.fleet.drivers import command, strays
from redqueen.fleet.drivers.local import exit_reason
from redqueen.fleet.health import Health, Patience, Standing, judged
from redqueen.fleet.limits import Allowance, exceeded
from redqueen.fleet.model import Program
from redqueen.fleet.nodefiles import mark_ready, unmark_ready, write_note
from redqueen.lean import trust
from redqueen.processes import ProcessId
from redqueen.registry.client import Registrar
from redqueen.registry.model import Status
from redqueen.roles.board import RegistryNotice
from redqueen.roles.node import Node
from redqueen.roles.output import carry

_STARTING_S, _STEADY_S, _DOUBTFUL_S = 0.1, 1.0, 0.5
_ANSWER_S = 2.0
_USE_S = 0.5
_LOST_S = 3.0
"""After so long without an answer it is worth looking where the command listens."""


@dataclass(frozen=True, slots=True)
class CommandStarted(Event):
    """The service's command runs."""

    pid: int
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CommandEnded(Event):
    """The service's command ended, or must."""

    pid: int
    because: str


@dataclass(frozen=True, slots=True)
class HealthChanged(Event):
    """The instance may be sent requests from now on, or no longer."""

    health: str
    because: str


async def serve_service(node: Node) -> None:
    """Run the declared command until it ends or the node is stopping."""
    program = node.spec.program
    path = None if program is None else command.program_of(program)
    if program is None or path is None:
        _give_up(node, f"there is no program {program.command[0]}" if program else "its spec names no command")
        return
    try:
        await Companion(node, program).run([path, *program.command[1:]])
    except Unavailable as error:
        _give_up(node, str(error))


def _give_up(node: Node, because: str) -> None:
    """Say why nothing could be started; the fleet tries again later."""
    write_note(node.spec, because, ended=True)
    node.emit(CommandEnded(0, because))


class Companion:
    """One command and what is known about it."""

    def __init__(self, node: Node, program: Program) -> None:
        self._node = node
        self._program = program
        self._standing = Standing()
        self._because = ""
        self._changed = anyio.Event()
        self._over = anyio.Event()
        """Set once the instance cannot go on; `_because` says why."""

    async def run(self, argv: list[str]) -> None:
        """Start the command, vouch for it, end it."""
        node, program = self._node, self._program
        child, output = processes.attach(
            argv,
            env=command.environment(node.spec, program, os.environ),
            cwd=program.path,
            data_bytes=self._allowance.data_bytes,
            descriptors=program.descriptors,
        )
        node.emit(CommandStarted(child.pid, program.command))
        try:
            async with anyio.create_task_group() as group:
                printed = anyio.Event()

                async def listen() -> None:
                    await carry(output, node.emit)
                    printed.set()

                group.start_soon(listen)
                group.start_soon(self._await_exit, child)
                group.start_soon(self._watch_use, child)
                group.start_soon(self._probe, child)
                await self._vouch()
                with anyio.CancelScope(shield=True):
                    await processes.stop(child, grace_s=program.stop_s if node.stopping.is_set() else 1.0)
                strays.end(node.spec.data_path, node.spec.node_id)
                with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                    await printed.wait()  # its last words say why it ended
                group.cancel_scope.cancel()
        finally:
            os.close(output)

    @property
    def _allowance(self) -> Allowance:
        return Allowance(self._program.memory_bytes, self._program.descriptors)

    async def _vouch(self) -> None:
        """Be in the registries from the first good answer until the command ends or the node has drained."""
        while self._standing.health is not Health.UP and not self._is_over:
            await self._news()
        if self._is_over:
            return
        async with self._node.registered(port=self._node.spec.port) as registrar:
            write_note(self._node.spec, "")
            told = Health.UP
            while not self._is_over:
                if self._standing.health is not told:
                    told = self._standing.health
                    await self._tell(registrar, told)
                await self._news()
            if self._over.is_set():
                await RegistryNotice(self._node.registry_token).exited(self._node.spec, self._because)
            else:
                await registrar.set_status(Status.OUT_OF_SERVICE)
                with anyio.move_on_after(self._program.drain_s):
                    await self._over.wait()

    @property
    def _is_over(self) -> bool:
        return self._over.is_set() or self._node.stopping.is_set()

    async def _news(self) -> None:
        """Wait until the standing changes, the command ends, or the node is to leave."""
        async with anyio.create_task_group() as group:

            async def hear(event: anyio.Event) -> None:
                await event.wait()
                group.cancel_scope.cancel()

            for event in (self._changed, self._over, self._node.stopping):
                group.start_soon(hear, event)

    async def _tell(self, registrar: Registrar, health: Health) -> None:
        self._node.emit(HealthChanged(health.value, self._standing.because))
        if health is Health.UP:
            await registrar.set_status(Status.UP)
            mark_ready(self._node.spec)
            write_note(self._node.spec, "")
        else:
            await registrar.set_status(Status.DOWN)
            write_note(self._node.spec, self._standing.because)
            unmark_ready(self._node.spec)

    def _end(self, child: ProcessId, because: str) -> None:
        if self._over.is_set() or self._node.stopping.is_set():
            return
        self._because = because
        with contextlib.suppress(OSError):  # a full disk must not keep a dead instance registered
            write_note(self._node.spec, because, ended=True)
        self._node.emit(CommandEnded(child.pid, because))
        self._over.set()

    async def _await_exit(self, child: ProcessId) -> None:
        code = await processes.wait_exit(child)
        self._end(child, f"its command {exit_reason(code).removeprefix('it ')}")
        self._over.set()

    async def _watch_use(self, child: ProcessId) -> None:
        verdict = limits.Verdict()
        while not verdict.because:
            await self._node.clock.sleep(_USE_S)
            verdict = exceeded(command.use_of(child), self._allowance, verdict)
        self._end(child, verdict.because)

    async def _probe(self, child: ProcessId) -> None:
        patience = Patience(start_s=self._program.start_s)
        began = self._node.clock.monotonic()
        async with httpx.AsyncClient(timeout=_ANSWER_S, trust_env=False, verify=trust()) as client:
            while self._standing.health is not Health.GIVEN_UP:
                answer = await self._answer(client)
                age_s = self._node.clock.monotonic() - began
                if answer and self._standing.health is Health.STARTING and age_s > min(_LOST_S, patience.start_s / 2):
                    answer += self._elsewhere(child)
                self._stand(judged(self._standing, answer, age_s, patience))
                await self._node.clock.sleep(self._pause_s())
        self._end(child, self._standing.because)

    def _pause_s(self) -> float:
        if self._standing.health is Health.STARTING:
            return _STARTING_S
        return _DOUBTFUL_S if self._standing.bad else _STEADY_S

    def _stand(self, standing: Standing) -> None:
        before, self._standing = self._standing, standing
        if before.health is Health.STARTING and standing.because not in ("", before.because):
            write_note(self._node.spec, standing.because)
        if before.health is not standing.health:
            self._changed.set()
            self._changed = anyio.Event()

    async def _answer(self, client: httpx.AsyncClient) -> str:
        """Ask the health path; return what is wrong with the answer, or nothing."""
        spec = self._node.spec
        asked = f"GET {self._program.health} at {spec.host}:{spec.port}"
        try:
            async with client.stream("GET", f"http://{spec.host}:{spec.port}{self._program.health}") as response:
                return "" if response.is_success else f"{asked} was answered {response.status_code}"
        except httpx.TimeoutException:
            return f"{asked} was not answered within {_ANSWER_S:g} s"
        except httpx.ConnectError:
            return f"{asked} was refused"
        except (httpx.HTTPError, OSError) as error:
            return f"{asked} failed: {type(error).__name__}"

    def _elsewhere(self, child: ProcessId) -> str:
        spec = self._node.spec
        there = command.listens_on(child)
        if not there or any(port == spec.port for _, port in there):
            return ""
        listed = ", ".join(f"{host}:{port}" for host, port in there[:3])
        return f"; it listens on {listed}, but must on $HOST:$PORT"
