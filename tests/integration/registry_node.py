"""Registry processes for tests: `python registry_node.py PORT SNAPSHOT PEER…`, and how to start and kill them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
import httpx

from redqueen.registry.client import Registrar
from redqueen.registry.model import Status


class RegistryProcess:
    """One registry in a process of its own."""

    def __init__(self, port: int, peers: Sequence[int], folder: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / f"{port}.log"
        self._command = [sys.executable, __file__, str(port), str(folder / f"{port}.json"), *map(str, peers)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def wait_ready(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                httpx.get(f"{self.url}/registry/v1/health", timeout=1, trust_env=False)
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(self._log.read_text())

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def wait(self, limit_s: float) -> int:
        assert self._process is not None
        code = self._process.wait(limit_s)
        self._process = None
        return code


async def say(registrar: Registrar, status: Status) -> None:
    """Tell the status until some registry has heard it: one that the machine holds up misses a call's 0.7 s."""
    with anyio.fail_after(60):
        while not await registrar.set_status(status):
            await anyio.sleep(0.1)


def main() -> None:
    """Run one registry until SIGTERM."""
    from redqueen import processes
    from redqueen.clock import SystemClock
    from redqueen.events import LogLines
    from redqueen.registry import service

    port, snapshot, *peers = sys.argv[1:]
    urls = [f"http://127.0.0.1:{peer}" for peer in peers]

    async def run() -> None:
        async with anyio.create_task_group() as group:

            async def registry() -> None:
                await service.serve(
                    "127.0.0.1", int(port), urls, Path(snapshot), SystemClock(), LogLines(port), lambda _: None
                )

            group.start_soon(registry)
            with anyio.open_signal_receiver(signal.SIGTERM) as signals:
                async for _ in signals:
                    group.cancel_scope.cancel()

    anyio.run(run, backend_options={"use_uvloop": True})
    processes.leave(0)


if __name__ == "__main__":
    main()
