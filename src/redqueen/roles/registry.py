"""A registry node: one of the symmetrical peers that know who is alive."""

from __future__ import annotations

import anyio

from redqueen.fleet.datadir import registry_key
from redqueen.fleet.model import Role
from redqueen.fleet.nodefiles import known_specs
from redqueen.registry.service import serve
from redqueen.roles.node import Node

_BUILT_IN = tuple(role.value for role in Role)
"""The region's own names: nobody else may register them, not even before its first instance has."""


async def serve_registry(node: Node) -> None:
    """Serve the registry until the node is stopping; it is an instance like any other."""
    spec = node.spec
    own = f"http://{spec.host}:{spec.port}"
    peers = [url for url in spec.registry_urls if url != own]
    serving = anyio.Event()

    def ready(port: int) -> None:
        serving.set()

    async def registry() -> None:
        await serve(
            spec.host,
            spec.port,
            peers,
            spec.folder / "snapshot.json",
            node.clock,
            node.emit,
            ready,
            secret=registry_key(spec.data_path),
            reserved=_BUILT_IN,
            declared=lambda: {known.service for known in known_specs(spec.data_path).values()},
        )

    async with anyio.create_task_group() as group:
        group.start_soon(registry)
        await serving.wait()
        async with node.registered(port=spec.port):
            await node.stopping.wait()
        group.cancel_scope.cancel()
