"""Registries, nodes and a bad network, in virtual time: a thousand schedules.

Exchanges are lost, doubled, late, or answered in vain; links fail; nodes and registries die, hang
and come back, with or without their snapshots; each registry's wall clock is off, by hours even,
and jumps. At all times no registry evicts an instance that it has itself heard within its lease.
Once the network is well again: within `SOON_S` every registry shows all the living, within
`LATE_S` nobody else, and nobody dead ever returns.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

import pytest

from redqueen.registry import calls, peering
from redqueen.registry.calls import Reply
from redqueen.registry.conversation import RETRY_S, Conversation
from redqueen.registry.eviction import Probe
from redqueen.registry.ledger import Ledger
from redqueen.registry.messages import SyncRequest, SyncResponse
from redqueen.registry.model import Action, Identity, Instance, Moment, Record, Status

SCHEDULES = int(os.environ.get("REDQUEEN_SCHEDULES", "1000"))
BATCHES = 10
START_MS = 1_700_000_000_000
TROUBLE_S = 12.0
LEASE_S = 3.0
SOON_S = 4.5
"""A hung registry's heartbeats time out, a heartbeat, a question and its settlement."""
LATE_S = LEASE_S + 4.0
"""The lease, then probes, a question and its settlement."""
END_S = TROUBLE_S + LATE_S + 2.0
LIMIT_S = 1.0


@dataclass
class Node:
    name: str
    dirty_at_ms: int
    alive: bool = True
    at: int = 0
    heard_s: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def instance(self) -> Instance:
        return Instance("API", self.name, "h", 1, status=Status.UP, lease_s=LEASE_S, dirty_at_ms=self.dirty_at_ms)


class Registry:
    """One registry and its conversations, as one life of a process has them."""

    def __init__(self, name: str, skew_ms: int, boot_s: float) -> None:
        self.name, self.skew_ms, self.boot_s = name, skew_ms, boot_s
        self.lives, self.up, self.hung_until_s = 0, True, 0.0
        self.snapshot: tuple[Record, ...] = ()
        self.ledger = Ledger(f"{name}.0", Moment(0.0, 0))
        self.talks: dict[str, Conversation] = {}

    def begin(self, others: list[str], now: Moment) -> None:
        self.ledger = Ledger(f"{self.name}.{self.lives}", now)
        self.talks = {other: Conversation(self.ledger) for other in others}


class World:
    """One schedule: virtual time, a seeded network, and everybody on it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - a replayable schedule
        self.seed = seed
        self.now_s = 0.0
        self.calendar: list[tuple[float, int, Callable[[], None]]] = []
        self.order = count()
        self.loss = self.random.choice([0.0, 0.1, 0.3])
        self.cut: set[frozenset[str]] = set()
        self.registries = {f"r{n}": self.registry(f"r{n}") for n in range(self.random.choice([2, 2, 3]))}
        self.names = list(self.registries)
        self.nodes = [
            Node(f"n{n}", START_MS - 5, at=self.random.randrange(len(self.names)))
            for n in range(self.random.randint(1, 7))
        ]
        for registry in self.registries.values():
            self.start(registry, lives=0)
            self.after(self.random.random(), lambda r=registry: self.save(r))
        for node in self.nodes:
            self.after(self.random.random(), lambda node=node: self.heartbeat(node, node.dirty_at_ms))
        self.after(1.0, self.trouble)
        self.after(TROUBLE_S, self.heal)

    def registry(self, name: str) -> Registry:
        skew_ms = self.random.choice([0, 40, -900, 3_600_000, -86_400_000])
        return Registry(name, skew_ms, self.random.random() * 1000)

    def moment(self, registry: Registry) -> Moment:
        return Moment(registry.boot_s + self.now_s, START_MS + registry.skew_ms + int(self.now_s * 1000))

    def after(self, delay_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self.calendar, (self.now_s + delay_s, next(self.order), do))

    def run(self) -> None:
        while self.calendar and self.calendar[0][0] <= END_S:
            self.now_s, _, do = heapq.heappop(self.calendar)
            do()

    def reaches(self, one: str, other: str) -> bool:
        return frozenset((one, other)) not in self.cut

    def inside(self, registry: Registry, do: Callable[[], None]) -> None:
        """Do something in a registry's process: later if it hangs, never if this life of it ended."""
        life, wait_s = registry.lives, registry.hung_until_s - self.now_s
        if wait_s > 0:
            self.after(wait_s, lambda: self.inside(registry, do) if registry.lives == life else None)
        elif registry.up:
            do()

    def apply(self, registry: Registry, event: calls.Event) -> calls.Outcome:
        outcome = registry.ledger.apply(event, self.moment(registry))
        for change in outcome.changes:
            self.check(registry, change.action, change.record, change.because)
        return outcome

    def check(self, registry: Registry, action: Action, record: Record, because: str) -> None:
        node = next(n for n in self.nodes if n.name == record.instance.instance_id)
        silent_s = self.now_s - node.heard_s.get(registry.name, -99.0)
        innocent = node.alive and record.instance.dirty_at_ms == node.dirty_at_ms
        where = (self.seed, self.now_s, registry.name, node, because)
        assert not (action is Action.DELETED and innocent and silent_s < LEASE_S - 1e-6), where
        assert not (action is not Action.DELETED and not innocent and self.now_s > TROUBLE_S + LATE_S), where

    # What registries do.

    def start(self, registry: Registry, lives: int) -> None:
        if registry.lives != lives:
            return
        registry.up = True
        registry.begin(
            [n for n in self.names if n != registry.name]
            if self.now_s
            else [n for n in self.registries if n != registry.name],
            self.moment(registry),
        )
        if self.random.random() < 0.7:
            registry.ledger.load(registry.snapshot, self.moment(registry))
        self.after(self.random.random() * 0.2, lambda: self.sweep(registry, lives))
        for other in registry.talks:
            self.after(self.random.random() * 0.2, lambda other=other: self.talk(registry, lives, other))

    def sweep(self, registry: Registry, life: int) -> None:
        if registry.lives != life:
            return
        if registry.hung_until_s <= self.now_s:
            outcome = self.apply(registry, calls.Sweep())
            if outcome.probes:
                found = {i.identity: self.probe(registry, i) for i in outcome.probes}
                self.after(0.3, lambda: self.probed(registry, life, found))
        self.after(max(0.2, registry.hung_until_s - self.now_s), lambda: self.sweep(registry, life))

    def probe(self, registry: Registry, instance: Instance) -> Probe:
        if not self.reaches(registry.name, instance.instance_id):
            return Probe.SILENT
        alive = next(n.alive for n in self.nodes if n.name == instance.instance_id)
        return Probe.ACCEPTED if alive else Probe.REFUSED

    def probed(self, registry: Registry, life: int, found: dict[Identity, Probe]) -> None:
        if registry.lives == life:
            self.inside(registry, lambda: self.apply(registry, calls.Probed(found)) and None)

    def save(self, registry: Registry) -> None:
        if registry.up and registry.hung_until_s <= self.now_s:
            registry.snapshot = tuple(registry.ledger.table.records())
        self.after(1.0, lambda: self.save(registry))

    def talk(self, registry: Registry, life: int, other: str) -> None:
        """Say what the conversation wants said, and wait for the answer, as the driver does."""
        if registry.lives != life:
            return
        wait_s = registry.hung_until_s - self.now_s
        if wait_s > 0:
            self.after(wait_s, lambda: self.talk(registry, life, other))
            return
        talk, now = registry.talks[other], self.moment(registry)
        request = talk.next(now)
        if request is None:
            pause_s = min(0.25, max(0.02, talk.wait_s(now)))
            self.after(pause_s, lambda: self.talk(registry, life, other))
            return
        self.exchange(registry, life, other, request)

    def exchange(self, registry: Registry, life: int, other: str, request: SyncRequest) -> None:
        peer, settled = self.registries[other], [False]

        def settle(response: SyncResponse | None) -> None:
            if settled[0] or registry.lives != life:
                return
            settled[0] = True
            talk = registry.talks[other]
            if response is None:
                talk.failed()
            else:
                talk.answered(response, self.moment(registry))
            self.after(0.0 if response is not None else RETRY_S, lambda: self.talk(registry, life, other))

        def serve() -> None:
            answer = peering.reply(peer.ledger, request, self.moment(peer))
            if self.reaches(registry.name, other) and self.random.random() >= self.loss:
                self.after(self.delay_s(), lambda: self.inside(registry, lambda: settle(answer)))

        copies = 0 if self.random.random() < self.loss else 2 if self.random.random() < self.loss / 2 else 1
        for _ in range(copies if self.reaches(registry.name, other) else 0):
            self.after(self.delay_s(), lambda: self.inside(peer, serve))
        self.after(LIMIT_S, lambda: self.inside(registry, lambda: settle(None)))

    def delay_s(self) -> float:
        return self.random.random() * self.random.choice([0.01, 0.01, 0.01, 0.6])

    # What nodes do.

    def heartbeat(self, node: Node, life: int) -> None:
        if not node.alive or node.dirty_at_ms != life:
            return
        waited_s = 0.0
        for _ in self.names:
            registry = self.registries[self.names[node.at]]
            hung = registry.hung_until_s > self.now_s
            if registry.up and self.reaches(node.name, registry.name):
                self.inside(registry, lambda r=registry: self.heard(r, node, life))
                if not hung:
                    break
            waited_s += 0.7 if hung else 0.0
            node.at = (node.at + 1) % len(self.names)
        self.after(1.0 + waited_s, lambda: self.heartbeat(node, life))

    def heard(self, registry: Registry, node: Node, life: int) -> None:
        instance = Instance("API", node.name, "h", 1, status=Status.UP, lease_s=LEASE_S, dirty_at_ms=life)
        if self.apply(registry, calls.Renew(instance.identity, life)).reply is Reply.UNKNOWN:
            self.apply(registry, calls.Register(instance))
        if life == node.dirty_at_ms:
            node.heard_s[registry.name] = self.now_s

    # What goes wrong, and how it ends.

    def trouble(self) -> None:
        self.random.choice(
            [self.cut_link, self.cut_link, self.mend_links, self.kill_node, self.bounce, self.hang, self.set_clock]
        )()
        self.after(self.random.random() * 2.0, self.trouble) if self.now_s < TROUBLE_S - 3 else None

    def cut_link(self) -> None:
        everybody = self.names + [n.name for n in self.nodes]
        self.cut.add(frozenset((self.random.choice(self.names), self.random.choice(everybody))))

    def mend_links(self) -> None:
        self.cut.clear()

    def kill_node(self) -> None:
        node = self.random.choice(self.nodes)
        if not node.alive:
            return
        node.alive = False
        node.heard_s.clear()
        if self.random.random() < 0.5:
            for registry in self.registries.values():
                seen_ms = START_MS + registry.skew_ms + int(self.now_s * 1000)
                event = calls.Exited(node.instance.identity, "it exited", min(seen_ms, self.wall_ms()))
                self.after(self.random.random(), lambda r=registry, e=event: self.inside(r, lambda: self.told(r, e)))
        if self.random.random() < 0.5:
            self.after(0.1 + self.random.random(), lambda: self.revive(node))

    def told(self, registry: Registry, event: calls.Exited) -> None:
        self.apply(registry, event)

    def wall_ms(self) -> int:
        return START_MS + int(self.now_s * 1000)

    def revive(self, node: Node) -> None:
        node.alive, node.dirty_at_ms = True, self.wall_ms()
        self.heartbeat(node, node.dirty_at_ms)

    def bounce(self) -> None:
        registry = self.registries[self.random.choice(self.names)]
        registry.up, registry.hung_until_s = False, 0.0
        registry.lives += 1
        for node in self.nodes:
            node.heard_s.pop(registry.name, None)
        life = registry.lives
        self.after(self.random.random() * 3, lambda: self.start(registry, life))

    def hang(self) -> None:
        registry = self.registries[self.random.choice(self.names)]
        if registry.up:
            registry.hung_until_s = self.now_s + self.random.random() * 3

    def set_clock(self) -> None:
        registry = self.registries[self.random.choice(self.names)]
        registry.skew_ms += self.random.choice([-7_200_000, -500, 500, 7_200_000])

    def heal(self) -> None:
        self.cut.clear()
        self.loss = 0.0
        steps = int((END_S - TROUBLE_S) / 0.25)
        for n in range(steps):
            self.after(n * 0.25, self.look)

    def look(self) -> None:
        living = {(n.name, n.dirty_at_ms) for n in self.nodes if n.alive}
        since_s = self.now_s - TROUBLE_S
        for registry in self.registries.values():
            shown = self.shown(registry)
            where = (self.seed, self.now_s, registry.name, sorted(living), sorted(shown))
            assert since_s < SOON_S or living <= shown, where
            assert since_s < LATE_S or shown <= living, where

    def shown(self, registry: Registry) -> set[tuple[str, int]]:
        return {(r.instance.instance_id, r.instance.dirty_at_ms) for r in registry.ledger.living()}


@pytest.mark.parametrize("batch", range(BATCHES))
def test_registries_converge_and_never_evict_whom_they_hear(batch: int) -> None:
    for seed in range(batch, SCHEDULES, BATCHES):
        World(seed).run()


def test_a_schedule_replays_exactly() -> None:
    one, other = World(7), World(7)
    one.run()
    other.run()
    tables = [[r.ledger.table.records() for r in world.registries.values()] for world in (one, other)]
    assert tables[0] == tables[1] and tables[0]
