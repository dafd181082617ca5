"""The registry node's only loop: sweeps, peers, snapshots and the HTTP server around one ledger.

It serves at once from its last snapshot, and learns from the peer meanwhile. When cancelled it
ends its streams (watchers turn to the peer), stops accepting, writes a last snapshot and
returns. Refuses a port that is taken. Enter at `serve`.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Collection, Sequence
from contextlib import closing as closed_after
from pathlib import Path

import anyio

from redqueen.clock import Clock
from redqueen.errors import Unavailable
from redqueen.events import Emit
from redqueen.registry import app, calls
from redqueen.registry.drivers import probing, snapshots
from redqueen.registry.drivers.peers import Peer
from redqueen.registry.happenings import InstanceChanged, MassEvictionHeld
from redqueen.registry.ledger import Ledger
from redqueen.registry.model import Change, Moment, visible
from redqueen.registry.rights import REGION, Gate, mint
from redqueen.serving import serving

SWEEP_S = 0.2
SNAPSHOT_S = 1.0
_LINGER_S = 0.5
"""Seconds that open connections are given to finish after the streams have ended."""


async def serve(
    host: str,
    port: int,
    peers: Sequence[str],
    snapshot_path: Path,
    clock: Clock,
    emit: Emit,
    ready: Callable[[int], None],
    *,
    secret: bytes = b"",
    reserved: Collection[str] = (),
) -> None:
    """Run one registry until cancelled; `ready` is told the port once connections are accepted.

    `port` 0 takes a free one. `peers` are the other registries' base URLs. `secret` is what the
    region's tokens are minted from (without one, this machine may do everything), `reserved` names
    what only the region may register. Raises Unavailable
    (`registry.port`) when the port is taken.
    """

    def moment() -> Moment:
        return Moment(clock.monotonic(), int(clock.now() * 1000))

    with closed_after(_reserve(host, port)) as held:
        ledger = Ledger(secrets.token_hex(8), moment())
        ledger.apply(calls.Reserve(frozenset(name.lower() for name in reserved)), moment())
        ledger.load(snapshots.read(snapshot_path, emit), moment())
        token = mint(secret, REGION) if secret else ""
        registry = _Registry(ledger, clock, emit, moment)
        try:
            async with anyio.create_task_group() as group:
                for url in peers:
                    group.start_soon(Peer(url, ledger, clock, emit, moment, token).run)
                group.start_soon(registry.sweep)
                group.start_soon(registry.report)
                group.start_soon(registry.keep, snapshot_path)
                await _serve_http(ledger, Gate(secret), host, held, moment, ready)
        finally:
            snapshots.write(snapshot_path, ledger.epoch, ledger.table.records(), emit)


def _reserve(host: str, port: int) -> socket.socket:
    """Hold a port that nobody listens on, so that the server (which shares ports) can share it with us only."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        reserved = socket.socket(family)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((host, port))
    except OSError as error:
        raise Unavailable(
            "registry.port", f"Cannot listen on {host}:{port}", why=str(error), hint="Choose another port"
        ) from error
    return reserved


async def _serve_http(
    ledger: Ledger,
    gate: Gate,
    host: str,
    held: socket.socket,
    moment: Callable[[], Moment],
    ready: Callable[[int], None],
) -> None:
    """Serve until cancelled; streams end first, so that watchers turn to the peer."""
    number: int = held.getsockname()[1]
    closing = anyio.Event()
    async with serving(app.build(ledger, gate, moment, closing), host, number, linger_s=_LINGER_S):
        ready(number)
        try:
            await anyio.sleep_forever()
        finally:
            closing.set()
            ledger.wake()


class _Registry:
    """The loops that give the rules their turns."""

    def __init__(self, ledger: Ledger, clock: Clock, emit: Emit, moment: Callable[[], Moment]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._emit = emit
        self._moment = moment

    async def sweep(self) -> None:
        """End what has run out, five times a second; ask the instances first where the rules want it."""
        async with anyio.create_task_group() as group:
            while True:
                outcome = self._ledger.apply(calls.Sweep(), self._moment())
                if outcome.probes:
                    self._emit(MassEvictionHeld(len(outcome.probes), outcome.because))
                    group.start_soon(self._probe, outcome)
                await self._clock.sleep(SWEEP_S)

    async def _probe(self, asked: calls.Outcome) -> None:
        found = await probing.probe_all(asked.probes)
        self._ledger.apply(calls.Probed(found), self._moment())

    async def report(self) -> None:
        """Tell the log what readers see change."""
        version = self._ledger.version
        while True:
            changed = self._ledger.changed
            for entry in list(self._ledger.history.entries):
                if entry.version > version:
                    self._emit(_told(entry.change))
            version = self._ledger.version
            await changed.wait()

    async def keep(self, path: Path) -> None:
        """Write a snapshot every second in which anything changed."""
        while True:
            await self._clock.sleep(SNAPSHOT_S)
            if self._ledger.dirty:
                self._ledger.dirty = False
                records = tuple(self._ledger.table.records())
                written = await anyio.to_thread.run_sync(snapshots.write, path, self._ledger.epoch, records, self._emit)
                self._ledger.dirty |= not written


def _told(change: Change) -> InstanceChanged:
    instance = visible(change.record)
    return InstanceChanged(instance.app, instance.instance_id, str(change.action), str(instance.status), change.because)
