"""Serves an ASGI application on Granian inside the node's own event loop."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import anyio
from granian.constants import Interfaces
from granian.server.embed import Server

_LINGER_S = 1.0
"""Seconds that open connections are given to finish when the server stops."""


@contextlib.asynccontextmanager
async def serving(app: Any, host: str, port: int) -> AsyncGenerator[None]:
    """Accept connections while the block runs, then let open requests finish for a moment."""
    started = anyio.Event()
    server = Server(
        app, address=host, port=port, interface=Interfaces.ASGI, websockets=False, log_enabled=False, backlog=1024
    )
    server.workers_kill_timeout = _LINGER_S  # pyright: ignore[reportAttributeAccessIssue] - seconds, may be fractional
    server.on_startup(started.set)
    async with anyio.create_task_group() as group:
        group.start_soon(_run, server)
        await started.wait()
        try:
            yield
        finally:
            server.stop()


async def _run(server: Server) -> None:
    # Granian's embedded server must be told to stop: cancelling it would leave it running.
    with anyio.CancelScope(shield=True), contextlib.suppress(TimeoutError):
        await server.serve()
