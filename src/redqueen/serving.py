"""Serves an ASGI application on Granian inside the process's own event loop.

Decides how a server ends: told to stop, it closes its port at once and gives open requests a
moment. Granian shares ports (SO_REUSEPORT), so a caller that must not share checks the port
itself. Enter at `serving`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import anyio
from granian.constants import Interfaces
from granian.server.embed import Server


@contextlib.asynccontextmanager
async def serving(app: Any, host: str, port: int, *, linger_s: float) -> AsyncGenerator[None]:
    """Accept connections while the block runs; then open requests have `linger_s` seconds to finish."""
    started = anyio.Event()
    server = Server(
        app, address=host, port=port, interface=Interfaces.ASGINL, websockets=False, log_enabled=False, backlog=1024
    )
    server.workers_kill_timeout = linger_s  # pyright: ignore[reportAttributeAccessIssue] - seconds, may be fractional
    server.on_startup(started.set)
    async with anyio.create_task_group() as group:
        group.start_soon(_run, server)
        await started.wait()
        try:
            yield
        finally:
            server.stop()


async def _run(server: Server) -> None:
    # Granian's embedded server must be told to stop: cancelling it would leave it listening. Its
    # TimeoutError says that a client held its connection for longer than we linger.
    with anyio.CancelScope(shield=True), contextlib.suppress(TimeoutError):
        await server.serve()
