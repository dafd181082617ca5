"""The life every node shares: start, register STARTING, UP when ready, heartbeat, drain on SIGTERM, leave.

A role is a function that takes a `Node` and returns when the node is stopping. The node opens
the stores lazily, so that a role which needs none opens none. Refuses nothing: a role that
raises ends the process, and the fleet starts it again. Enter at `serve_node`.
"""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import anyio

from redqueen import config, processes
from redqueen.clock import Clock, SystemClock
from redqueen.errors import RedQueenError
from redqueen.events import Emit, LogLines
from redqueen.fleet.datadir import registry_key
from redqueen.fleet.drivers import logfiles
from redqueen.fleet.model import NodeSpec, Role
from redqueen.fleet.nodefiles import load_spec, mark_ready
from redqueen.lean import loading
from redqueen.registry.client import Registrar
from redqueen.registry.model import Instance, Status, with_metadata
from redqueen.registry.rights import REGION, mint

if TYPE_CHECKING:
    from redqueen.roles.stores import Stores


class Node:
    """One running node: its spec and settings, the region's stores, and whether it is to leave."""

    def __init__(self, spec: NodeSpec, region: config.Region, clock: Clock, emit: Emit) -> None:
        self.spec = spec
        self.region = region
        self.clock = clock
        self.emit = emit
        self.stopping = anyio.Event()
        self.replaced = False
        """Whether the next process of this node takes over at once what outlives this one."""

    @cached_property
    def stores(self) -> Stores:
        """Return the region's stores, loaded and opened when they are first asked for."""
        from redqueen.roles.stores import Stores

        return Stores.open(self.spec.data_path, self.region, self.clock, self.emit)

    @cached_property
    def registry_token(self) -> str:
        """Return what proves to the registries that this node is the region's own."""
        return mint(registry_key(self.spec.data_path), REGION)

    @contextlib.asynccontextmanager
    async def registered(
        self, *, port: int = 0, metadata: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Registrar]:
        """Be UP in the registries until the block ends; `port` 0 says that nobody can call it.

        `metadata` is told beside what every node tells.
        """
        urls, instance = self.spec.registry_urls, with_metadata(_instance(self, port), metadata or {})
        registrar = Registrar(urls, instance, self.clock, self.emit, token=self.registry_token)
        async with anyio.create_task_group() as group:
            await group.start(registrar.run)
            await registrar.set_status(Status.UP)
            mark_ready(self.spec)
            try:
                yield registrar
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(2):
                    await registrar.leave()
                group.cancel_scope.cancel()

    async def drained(self, registrar: Registrar) -> None:
        """Wait until the node is stopping, then say OUT_OF_SERVICE and let gateways let go."""
        await self.stopping.wait()
        await registrar.set_status(Status.OUT_OF_SERVICE)
        await self.clock.sleep(self.region.timings.drain_s)

    async def pause(self, delay_s: float) -> None:
        """Wait for `delay_s` seconds, or less when the node is stopping."""
        with anyio.move_on_after(delay_s):
            await self.stopping.wait()


def _instance(node: Node, port: int) -> Instance:
    spec, timings = node.spec, node.region.timings
    return Instance(
        app=spec.service.upper(),
        instance_id=spec.node_id,
        host=spec.host,
        ip=spec.host,
        port=port,
        port_enabled=port > 0,
        vip=spec.service,
        status=Status.STARTING,
        zone=spec.zone,
        version=spec.version,
        metadata={"zone": spec.zone, "version": spec.version, "role": spec.role.value, "node": spec.node_id},
        lease_s=timings.lease_s,
        renewal_s=timings.heartbeat_s,
    )


def serve_node(spec_file: Path) -> NoReturn:
    """Run the node of a spec file until it is told to leave, then end the process."""
    try:
        spec = load_spec(spec_file)
        region = config.load(spec.data_path)
        # Only the role's own module is imported: a worker starts without the web server.
        with loading():
            module = importlib.import_module(f"redqueen.roles.{spec.role.value}")
        # The registry answers thousands of small calls a second: uvloop halves what each costs.
        options = {"use_uvloop": spec.role is Role.REGISTRY}
        serve = getattr(module, f"serve_{spec.role.value}")
        anyio.run(_live, spec, region, serve, backend_options=options)
    except RedQueenError as error:
        sys.stderr.write(f"{error}\n")
        processes.leave(error.exit_code)
    processes.leave(0)


async def _live(spec: NodeSpec, region: config.Region, serve: Callable[[Node], Awaitable[None]]) -> None:
    node = Node(spec, region, SystemClock(), LogLines(spec.node_id))
    async with anyio.create_task_group() as group:
        group.start_soon(_stop_on_signal, node)
        # Each node bounds its own log, so that a region without a supervisor does not fill the disk.
        group.start_soon(partial(logfiles.keep, spec.data_path / "logs", node.clock, only=spec.node_id))
        try:
            await serve(node)
        finally:
            if "stores" in node.__dict__:
                with anyio.CancelScope(shield=True):
                    await node.stores.records.close()
        group.cancel_scope.cancel()


async def _stop_on_signal(node: Node) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for number in signals:
            node.replaced = number is signal.SIGHUP
            node.stopping.set()
