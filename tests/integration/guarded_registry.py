"""A registry with a secret and a reserved name, in a process of its own: `python guarded_registry.py PORT SNAPSHOT`."""

from __future__ import annotations

import sys
from pathlib import Path

from registry_node import RegistryProcess

SECRET = b"the region's secret, of tests only"
RESERVED = ("api",)


class GuardedRegistry(RegistryProcess):
    """One registry that knows owners."""

    def __init__(self, port: int, folder: Path) -> None:
        super().__init__(port, [], folder)
        self.port = port
        self._command = [sys.executable, __file__, str(port), str(folder / f"{port}.json")]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid


def main() -> None:
    """Run until killed."""
    import anyio

    from redqueen.clock import SystemClock
    from redqueen.events import discard
    from redqueen.registry import service

    port, snapshot = sys.argv[1:]

    async def run() -> None:
        clock = SystemClock()
        await service.serve(
            "127.0.0.1", int(port), [], Path(snapshot), clock, discard, lambda _: None, secret=SECRET, reserved=RESERVED
        )

    anyio.run(run, backend_options={"use_uvloop": True})


if __name__ == "__main__":
    main()
