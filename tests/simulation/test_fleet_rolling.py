"""Replacements of a service with a spare under any schedule: whole at every instant, and done in the end."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.fleet.backoff import History, Pace, after_exit, after_start
from redqueen.fleet.model import Role
from redqueen.fleet.reconcile import Drain, Start, Stop, reconcile
from redqueen.fleet.rolling import Observed, Wanted, needed

PACE = Pace()


@dataclass
class Slot:
    digest: str
    alive: bool = True
    since: float = 0.0
    ready_at: float = 0.0
    draining_since: float | None = None
    leaves_at: float = 0.0
    history: History = field(default_factory=History)


@dataclass
class World:
    """One service in virtual time; versions in `broken` never become ready and end after a moment."""

    chance: random.Random
    count: int
    broken: frozenset[str] = frozenset()
    now: float = 0.0
    slots: dict[str, Slot] = field(default_factory=dict)

    def wanted(self, digest: str) -> dict[str, Wanted]:
        made = {f"shop-{n}": Wanted(Role.SERVICE, digest, "shop") for n in range(self.count)}
        return {**made, "spare": Wanted(Role.SERVICE, digest, "shop", spare=True)}

    def observed(self) -> dict[str, Observed]:
        return {
            node_id: Observed(
                Role.SERVICE,
                slot.digest,
                slot.alive,
                self.is_ready(slot),
                slot.draining_since,
                slot.history,
                slot.ready_at,
            )
            for node_id, slot in self.slots.items()
        }

    def is_ready(self, slot: Slot) -> bool:
        return slot.alive and self.now >= slot.ready_at and slot.digest not in self.broken

    def serving(self) -> int:
        """Count those that gateways send requests to."""
        return sum(self.is_ready(slot) and slot.draining_since is None for slot in self.slots.values())

    def turn(self, digest: str) -> int:
        desired = self.wanted(digest)
        actions = reconcile(desired, self.observed(), self.now, PACE)
        for action in actions:
            if isinstance(action, Start):
                self._start(action.node_id, digest)
            elif isinstance(action, Drain):
                slot = self.slots[action.node_id]
                slot.draining_since, slot.leaves_at = self.now, self.now + self.chance.uniform(0, 20)
            elif isinstance(action, Stop):
                self.slots[action.node_id].leaves_at = self.now
        if "spare" in self.slots and not self.slots["spare"].alive:
            if "spare" not in needed(desired, self.observed(), self.now, PACE):
                del self.slots["spare"]
        return sum(isinstance(action, Start | Drain | Stop) for action in actions)

    def _start(self, node_id: str, digest: str) -> None:
        known = self.slots.get(node_id)
        assert known is None or not known.alive, "a slot never holds two processes"
        history = after_start(known.history) if known else History()
        self.slots[node_id] = Slot(
            digest, True, self.now, self.now + self.chance.choice((0.1, 2.0, 8.0)), history=history
        )

    def advance(self, step_s: float, crash: float = 0.0) -> None:
        self.now += step_s
        for slot in self.slots.values():
            if not slot.alive:
                continue
            if slot.draining_since is not None:
                if self.now >= slot.leaves_at:
                    slot.alive, slot.draining_since, slot.history = False, None, History()
            elif slot.digest in self.broken or self.chance.random() < crash:
                slot.alive = False
                lived_s = self.now - slot.since
                slot.history = after_exit(slot.history, now=self.now, lived_s=lived_s, because="it died", pace=PACE)

    def settle(self, digest: str) -> None:
        quiet = 0
        for _ in range(600):
            quiet = 0 if self.turn(digest) or self.serving() != self.count or "spare" in self.slots else quiet + 1
            if quiet > 3:
                return
            self.advance(1.0)
        raise AssertionError(f"not settled: {self.slots}")


STEPS = (0.05, 0.5, 3.0)


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 5), changes=st.integers(1, 4))
def test_while_nothing_crashes_a_service_is_never_below_its_count(seed: int, count: int, changes: int) -> None:
    world = World(random.Random(seed), count)  # noqa: S311 - a schedule, not a secret
    world.settle("0")
    assert world.serving() == count
    most = 0
    for change in range(changes):
        for _ in range(world.chance.randint(1, 60)):
            world.turn(str(change + 1))
            assert world.serving() >= count
            most = max(most, sum(slot.alive for slot in world.slots.values()))
            world.advance(world.chance.choice(STEPS))
    assert most <= count + 1, "one more than wanted at most"
    world.settle(str(changes))
    assert {slot.digest for slot in world.slots.values()} == {str(changes)}
    assert set(world.slots) == set(world.wanted("")) - {"spare"}
    assert world.turn(str(changes)) == 0


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 4))
def test_a_broken_version_costs_nobody_and_the_next_good_one_gets_through(seed: int, count: int) -> None:
    world = World(random.Random(seed), count, frozenset({"broken"}))  # noqa: S311
    world.settle("good")
    for _ in range(200):
        world.turn("broken")
        assert world.serving() >= count
        world.advance(world.chance.choice(STEPS))
    assert {slot.digest for node_id, slot in world.slots.items() if node_id != "spare"} == {"good"}
    world.settle("better")
    assert [slot.digest for slot in world.slots.values()] == ["better"] * count


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 4), crash=st.floats(0, 0.2))
def test_crashes_in_the_middle_of_a_replacement_only_delay_it(seed: int, count: int, crash: float) -> None:
    world = World(random.Random(seed), count)  # noqa: S311
    world.settle("old")
    for _ in range(80):
        world.turn("new")
        world.advance(world.chance.choice(STEPS), crash)
    world.settle("new")
    assert [slot.digest for slot in world.slots.values()] == ["new"] * count
    assert world.turn("new") == 0
