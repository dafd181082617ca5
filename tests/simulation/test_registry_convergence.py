"""Two registries, a few nodes and a bad network, in virtual time: thousands of schedules.

Messages are lost, doubled and delayed, links fail, nodes and registries die and come back. At
all times no registry evicts an instance that it has itself heard within its lease; and once
the network is well again, both registries hold exactly the living.
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
from redqueen.registry.eviction import Probe
from redqueen.registry.ledger import Ledger, Outbox
from redqueen.registry.model import Action, Identity, Instance, Moment, Record, Status

SCHEDULES = int(os.environ.get("REDQUEEN_SCHEDULES", "1000"))
BATCHES = 10
START_MS = 1_700_000_000_000
TROUBLE_S = 14.0
END_S = 26.0


@dataclass
class Node:
    name: str
    dirty_at_ms: int
    alive: bool = True
    at: int = 0
    heard_s: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def instance(self) -> Instance:
        return Instance("API", self.name, "h", 1, status=Status.UP, dirty_at_ms=self.dirty_at_ms)


@dataclass
class Registry:
    name: str
    ledger: Ledger
    outbox: Outbox
    snapshot: tuple[Record, ...] = ()
    lives: int = 0
    up: bool = True


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
        self.registries = [self.registry("r0", 0), self.registry("r1", 0)]
        self.nodes = [
            Node(f"n{n}", START_MS - 5, at=self.random.randrange(2)) for n in range(self.random.randint(1, 7))
        ]
        for node in self.nodes:
            self.after(self.random.random(), lambda node=node: self.heartbeat(node, node.dirty_at_ms))
        for registry in self.registries:
            self.after(self.random.random() * 0.2, lambda r=registry: self.sweep(r))
            self.after(self.random.random() * 2, lambda r=registry: self.question(r))
            self.after(self.random.random(), lambda r=registry: self.save(r))
        self.after(1.0, self.trouble)
        self.after(TROUBLE_S, self.heal)

    def registry(self, name: str, lives: int) -> Registry:
        ledger, outbox = Ledger(f"{name}.{lives}", self.moment()), Outbox()
        ledger.outboxes.append(outbox)
        return Registry(name, ledger, outbox, lives=lives)

    def moment(self) -> Moment:
        return Moment(self.now_s, START_MS + int(self.now_s * 1000))

    def after(self, delay_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self.calendar, (self.now_s + delay_s, next(self.order), do))

    def run(self) -> None:
        while self.calendar and self.calendar[0][0] <= END_S:
            self.now_s, _, do = heapq.heappop(self.calendar)
            do()

    def reaches(self, one: str, other: str) -> bool:
        return frozenset((one, other)) not in self.cut

    def send(self, one: str, other: str, deliver: Callable[[], None]) -> None:
        """Deliver once, twice or never, a little later; what a cut link holds is lost."""
        copies = 0 if self.random.random() < self.loss else 2 if self.random.random() < self.loss / 2 else 1
        for _ in range(copies):
            delay_s = self.random.random() * self.random.choice([0.02, 0.02, 0.6])
            self.after(delay_s, lambda: deliver() if self.reaches(one, other) else None)

    def apply(self, registry: Registry, event: calls.Event) -> calls.Outcome:
        outcome = registry.ledger.apply(event, self.moment())
        self.check(registry, outcome)
        self.push(registry)
        return outcome

    def check(self, registry: Registry, outcome: calls.Outcome) -> None:
        for change in outcome.changes:
            node = next(n for n in self.nodes if n.name == change.record.instance.instance_id)
            silent_s = self.now_s - node.heard_s.get(registry.name, -99.0)
            innocent = node.alive and change.record.instance.dirty_at_ms == node.dirty_at_ms
            assert not (change.action is Action.DELETED and innocent and silent_s < 3.0), (
                self.seed,
                self.now_s,
                registry.name,
                node,
                change.because,
            )

    # What registries do.

    def sweep(self, registry: Registry) -> None:
        if registry.up:
            outcome = self.apply(registry, calls.Sweep())
            if outcome.probes:
                found = {i.identity: self.probe(registry, i) for i in outcome.probes}
                self.after(0.3, lambda: self.probed(registry, registry.lives, found))
        self.after(0.2, lambda: self.sweep(registry))

    def probe(self, registry: Registry, instance: Instance) -> Probe:
        if not self.reaches(registry.name, instance.instance_id):
            return Probe.SILENT
        alive = next(n.alive for n in self.nodes if n.name == instance.instance_id)
        return Probe.ACCEPTED if alive else Probe.REFUSED

    def probed(self, registry: Registry, life: int, found: dict[Identity, Probe]) -> None:
        if registry.lives == life:
            self.apply(registry, calls.Probed(found))

    def save(self, registry: Registry) -> None:
        if registry.up:
            registry.snapshot = tuple(registry.ledger.table.records())
        self.after(1.0, lambda: self.save(registry))

    def other(self, registry: Registry) -> Registry:
        return self.registries[1 - self.registries.index(registry)]

    def push(self, registry: Registry) -> None:
        if registry.outbox.records or registry.outbox.beats:
            records, beats = registry.outbox.take(peering.MOST_AT_ONCE)
            request = peering.news(registry.ledger, records, beats, self.moment())
            self.send(registry.name, self.other(registry).name, lambda: self.serve(self.other(registry), request, None))

    def question(self, registry: Registry) -> None:
        if registry.up:
            registry.outbox.beats.update(dict.fromkeys(e for e in registry.ledger.table.entries() if e.living))
            request, life = peering.question(registry.ledger), registry.lives
            peer = self.other(registry)
            self.send(registry.name, peer.name, lambda: self.serve(peer, request, (registry, life)))
        self.after(2.0, lambda: self.question(registry))

    def serve(self, peer: Registry, request: peering.SyncRequest, asker: tuple[Registry, int] | None) -> None:
        if not peer.up:
            return
        response = peering.reply(peer.ledger, request, self.moment())
        if asker is not None:
            self.send(peer.name, asker[0].name, lambda: self.take(asker[0], asker[1], response))

    def take(self, registry: Registry, life: int, response: peering.SyncResponse) -> None:
        if registry.lives != life or not registry.up:
            return
        peering.take(registry.ledger, response.records, (), self.moment())
        for told, wanted in peering.settlement(registry.ledger, response):
            request = peering.settling(registry.ledger, told, wanted, self.moment())
            peer = self.other(registry)
            self.send(registry.name, peer.name, lambda r=request: self.serve(peer, r, (registry, life)))

    # What nodes do.

    def heartbeat(self, node: Node, life: int) -> None:
        if not node.alive or node.dirty_at_ms != life:
            return
        for _ in self.registries:
            registry = self.registries[node.at]
            if registry.up and self.reaches(node.name, registry.name):
                renewal = calls.Renew(node.instance.identity, node.dirty_at_ms)
                if self.apply(registry, renewal).reply is Reply.UNKNOWN:
                    self.apply(registry, calls.Register(node.instance))
                node.heard_s[registry.name] = self.now_s
                break
            node.at = 1 - node.at
        self.after(1.0, lambda: self.heartbeat(node, life))

    # What goes wrong, and how it ends.

    def trouble(self) -> None:
        self.random.choice([self.cut_link, self.cut_link, self.mend_links, self.kill_node, self.bounce_registry])()
        self.after(self.random.random() * 2.5, self.trouble) if self.now_s < TROUBLE_S - 3 else None

    def cut_link(self) -> None:
        names = [r.name for r in self.registries] + [n.name for n in self.nodes]
        self.cut.add(frozenset((self.random.choice(names[:2]), self.random.choice(names))))

    def mend_links(self) -> None:
        self.cut.clear()

    def kill_node(self) -> None:
        node = self.random.choice(self.nodes)
        node.alive = False
        node.heard_s.clear()
        if self.random.random() < 0.5:
            event = calls.Exited(node.instance.identity, "it exited", self.moment().wall_ms)
            for registry in self.registries:
                delay_s = self.random.random() * 3
                self.after(delay_s, lambda r=registry: self.apply(r, event) if r.up else None)
        if self.random.random() < 0.5:
            self.after(0.1 + self.random.random(), lambda: self.revive(node))

    def revive(self, node: Node) -> None:
        node.alive, node.dirty_at_ms = True, self.moment().wall_ms
        self.heartbeat(node, node.dirty_at_ms)

    def bounce_registry(self) -> None:
        registry = self.random.choice(self.registries)
        registry.up = False
        registry.lives += 1
        for node in self.nodes:
            node.heard_s.pop(registry.name, None)
        self.after(self.random.random() * 4, lambda: self.start(registry))

    def start(self, registry: Registry) -> None:
        fresh = self.registry(registry.name, registry.lives)
        registry.ledger, registry.outbox, registry.up = fresh.ledger, fresh.outbox, True
        if self.random.random() < 0.7:
            registry.ledger.load(registry.snapshot, self.moment())

    def heal(self) -> None:
        self.cut.clear()
        self.loss = 0.0


def sets(world: World) -> list[list[tuple[str, int]]]:
    return [[(x.instance.instance_id, x.instance.dirty_at_ms) for x in r.ledger.living()] for r in world.registries]


@pytest.mark.parametrize("batch", range(BATCHES))
def test_registries_converge_and_never_evict_whom_they_hear(batch: int) -> None:
    for seed in range(batch, SCHEDULES, BATCHES):
        world = World(seed)
        world.run()
        living = [(n.name, n.dirty_at_ms) for n in world.nodes if n.alive]
        assert sets(world) == [living, living], seed


def test_a_schedule_replays_exactly() -> None:
    one, other = World(7), World(7)
    one.run()
    other.run()
    assert [r.ledger.table.living() for r in one.registries] == [r.ledger.table.living() for r in other.registries]
