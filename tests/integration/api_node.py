"""An api node as a process of its own, for tests that kill it: `python api_node.py FOLDER PORT`."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
from api_region import OPERATOR, build

from redqueen.api.edge import edge
from redqueen.clock import SystemClock
from redqueen.serving import serving
from redqueen.store.drivers.sqlite import SqliteRecords


async def main(folder: Path, port: int) -> None:
    """Serve until killed."""
    clock = SystemClock()
    region = build(folder, SqliteRecords.open(folder / "store.sqlite3", clock), clock)
    await region.services.accounts.ensure_operator_token(OPERATOR)
    async with region.services.telemetry.opened():
        async with serving(edge(region.services), "127.0.0.1", port, linger_s=1):
            await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
