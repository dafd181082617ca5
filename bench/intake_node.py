"""One api node as a region runs it, on one core, without registries: `intake_node.py CORE PORT FOLDER`.

Decides nothing: the role's own services, server and telemetry. Prints "ready" when it answers.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio

from redqueen.api.edge import edge
from redqueen.clock import SystemClock
from redqueen.config import Region
from redqueen.events import LogLines
from redqueen.fleet.model import NodeSpec, Role
from redqueen.roles.api import make_services
from redqueen.roles.node import Node
from redqueen.serving import serving


async def run(port: int, folder: Path) -> None:
    """Serve until ended."""
    spec = NodeSpec(
        node_id="api-a-1",
        role=Role.API,
        service="api",
        version="bench",
        zone="a",
        region="local",
        host="127.0.0.1",
        port=port,
        data_dir=str(folder),
        public_host="127.0.0.1",
        public_port=port,
    )
    services = make_services(Node(spec, Region(), SystemClock(), LogLines("api-a-1")))
    async with (
        services.telemetry.opened(),
        serving(edge(services), "127.0.0.1", port, linger_s=1.0),
    ):
        print("ready", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})  # every thread of the process, the server's and DuckDB's too
    anyio.run(run, int(sys.argv[2]), Path(sys.argv[3]))
