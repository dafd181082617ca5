"""One registry as a region runs it (its secret, its loop), for benchmarks: `registry_alone.py PORT FOLDER`.

Decides nothing: a node's role does the same with its settings. Prints "ready" when it answers.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import anyio

from redqueen.clock import SystemClock
from redqueen.events import LogLines
from redqueen.registry import service


async def run(port: int, folder: Path) -> None:
    """Serve until ended."""
    await service.serve(
        "127.0.0.1",
        port,
        [],
        folder / "registry.json",
        SystemClock(),
        LogLines("registry-a-1"),
        lambda _: print("ready", flush=True),
        secret=secrets.token_bytes(32),
    )


if __name__ == "__main__":
    anyio.run(run, int(sys.argv[1]), Path(sys.argv[2]), backend_options={"use_uvloop": True})
