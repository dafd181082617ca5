"""A gateway that stands through a whole module of hostile tests, run in a thread beside them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from anyio.from_thread import start_blocking_portal
from gateway_rig import SECRET, Endpoints, Gateway, Routes, gateway, put_media, token
from hostile_wire import Recorder, recording

from redqueen.gateway.model import Endpoint, Policy, Route, RouteInputs
from redqueen.gateway.routes import default_routes

WHOLE = bytes(range(256)) * 40
"""What lies in t1/v/1.m4s."""
HURRIED = Route("/hurried/", "api", Policy(timeout_s=1.0, per_try_timeout_s=1.0, idle_timeout_s=1.0))


@dataclass
class Door:
    """A running gateway, what its backend saw, and the Envoy that must outlive every test."""

    gateway: Gateway
    backend: Recorder
    pid: int

    @property
    def port(self) -> int:
        return self.gateway.settings.listen_port

    def serves(self) -> None:
        """Assert that an honest viewer and an honest caller are served, quickly, by the same Envoy."""
        began = time.monotonic()
        with httpx.Client(trust_env=False, timeout=15) as client:
            film = client.get(f"{self.gateway.url}/v/{token('t1')}/t1/v/1.m4s")
            told = client.get(f"{self.gateway.url}/api/honest")
        assert (film.status_code, film.content) == (200, WHOLE)
        assert (told.status_code, told.text) == (200, "seen GET /api/honest HTTP/1.1")
        assert time.monotonic() - began < 20
        assert [envoy.pid for envoy in self.gateway.envoys if envoy] == [self.pid]

    def clean(self, answer: bytes) -> None:
        """Assert that no byte of what must stay hidden is in an answer."""
        assert SECRET.encode() not in answer
        assert b"root:" not in answer


@contextmanager
def door(folder: Path) -> Iterator[Door]:
    """Run one gateway before one recording backend until the block ends."""
    put_media(folder)
    routes = Routes()
    routes.now = RouteInputs((*default_routes(), HURRIED), routes.now.media)
    with recording() as backend, start_blocking_portal() as portal:
        where = Endpoints(Endpoint("api", "api-a-1", "127.0.0.1", backend.port, "a"))
        with portal.wrap_async_context_manager(gateway(folder, where, routes)) as running:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"{running.url}/hurried/", trust_env=False).status_code == 200:
                        break
                time.sleep(0.05)
            envoy = running.envoys[-1]
            assert envoy is not None
            yield Door(running, backend, envoy.pid)
