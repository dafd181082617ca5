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
from redqueen.registry import app, calls, history
from redqueen.registry.drivers import http, probing, snapshots
from redqueen.registry.drivers.peers import Peer
from redqueen.registry.happenings import InstanceChanged, ManyChanged, MassEvictionHeld
from redqueen.registry.ledger import Ledger
from redqueen.registry.model import Change, Instance, Moment, visible
from redqueen.registry.rights import REGION, Gate, mint

SWEEP_S = 0.2
SNAPSHOT_S = 1.0
_CLAIM_S = 1.0
_LEARN_S = 0.5
"""Seconds for which a registry without a snapshot lets callers wait for what its peers know."""
_LOGGED, _LOG_S = 50, 0.1
"""So many changes are logged one by one, each so many seconds; of more, only the number."""
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
    declared: Callable[[], Collection[str]] = tuple,
) -> None:
    """Run one registry until cancelled; `ready` is told the port once connections are accepted.

    `port` 0 takes a free one. `peers` are the other registries' base URLs. `secret` is what the
    region's tokens are minted from (without one, this machine may do everything), `reserved` names
    what only the region may register, `declared` more of that (asked in a thread, every second). Raises Unavailable
    (`registry.port`) when the port is taken.
    """

    def moment() -> Moment:
        return Moment(clock.monotonic(), int(clock.now() * 1000))

    with closed_after(_reserve(host, port)) as held:
        number: int = held.getsockname()[1]
        ledger = Ledger(secrets.token_hex(8), moment(), (host, number))
        ledger.apply(calls.Reserve(_lower(reserved)), moment())
        ledger.load(snapshots.read(snapshot_path, emit), moment())
        token = mint(secret, REGION) if secret else ""
        registry = _Registry(ledger, clock, emit, moment)
        try:
            async with anyio.create_task_group() as group:
                known = [Peer(url, ledger, clock, emit, moment, token) for url in peers]
                for peer in known:
                    group.start_soon(peer.run)
                if not len(ledger.table):
                    await _learn(known)
                group.start_soon(registry.sweep)
                group.start_soon(registry.report)
                group.start_soon(registry.keep, snapshot_path)
                group.start_soon(registry.claim, reserved, declared)
                await registry.answer(Gate(secret), held, lambda: ready(number))
        finally:
            with anyio.CancelScope(shield=True):
                await snapshots.write(snapshot_path, ledger, emit)


async def _learn(peers: Sequence[Peer]) -> None:
    """Let peers tell an empty registry what they know, before anybody reads from it that nothing lives."""
    with anyio.move_on_after(_LEARN_S):
        for peer in peers:
            await peer.settled.wait()


def _reserve(host: str, port: int) -> socket.socket:
    try:
        return http.reserve(host, port)
    except OSError as error:
        raise Unavailable(
            "registry.port", f"Cannot listen on {host}:{port}", why=str(error), hint="Choose another port"
        ) from error


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

    async def answer(self, gate: Gate, held: socket.socket, ready: Callable[[], None]) -> None:
        """Answer calls until cancelled; streams end first, so that watchers turn to the peer."""
        closing = anyio.Event()
        async with anyio.create_task_group() as group:

            def ask(instance: Instance, because: str) -> None:
                group.start_soon(self._ask, instance, because)

            face = app.App(self._ledger, gate, self._moment, closing, ask)
            async with http.serving(face, held, linger_s=_LINGER_S):
                ready()
                try:
                    await anyio.sleep_forever()
                finally:
                    closing.set()
                    self._ledger.wake()

    async def _ask(self, instance: Instance, because: str) -> None:
        found = await probing.probe_suspect(instance)
        self._ledger.apply(calls.SuspectProbed(instance.identity, found, because), self._moment())

    async def _probe(self, asked: calls.Outcome) -> None:
        found = await probing.probe_all(asked.probes)
        self._ledger.apply(calls.Probed(found), self._moment())

    async def report(self) -> None:
        """Tell the log what readers see change."""
        version = self._ledger.version
        while True:
            changed = self._ledger.changed
            changes = history.after(self._ledger.history, version)
            version = self._ledger.version
            for change in changes[:_LOGGED]:
                self._emit(_told(change))
            if len(changes) > _LOGGED:
                self._emit(ManyChanged(len(changes) - _LOGGED))
            await changed.wait()
            await self._clock.sleep(_LOG_S)

    async def claim(self, reserved: Collection[str], declared: Callable[[], Collection[str]]) -> None:
        """Keep the region's names for it; also those that it declares while the registry runs."""
        while True:
            names = _lower(reserved) | _lower(await anyio.to_thread.run_sync(declared))
            if names != self._ledger.table.reserved:
                self._ledger.apply(calls.Reserve(names), self._moment())
            await self._clock.sleep(_CLAIM_S)

    async def keep(self, path: Path) -> None:
        """Write a snapshot every second in which anything changed."""
        while True:
            await self._clock.sleep(SNAPSHOT_S)
            if self._ledger.dirty:
                self._ledger.dirty = False
                self._ledger.dirty |= not await snapshots.write(path, self._ledger, self._emit)


def _lower(names: Collection[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def _told(change: Change) -> InstanceChanged:
    instance = visible(change.record)
    return InstanceChanged(instance.app, instance.instance_id, str(change.action), str(instance.status), change.because)
