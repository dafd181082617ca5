"""Schedules of crashes, changes and slow leavers against the reconciler, in virtual time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.fleet.backoff import History, Pace, after_exit, after_start
from redqueen.fleet.model import Role
from redqueen.fleet.reconcile import Drain, Observed, Start, Stop, Wait, Wanted, reconcile

PACE = Pace()


@dataclass
class Slot:
    digest: str
    alive: bool = False
    ready_at: float = 0.0
    since: float = 0.0
    leaves_at: float | None = None
    draining_since: float | None = None
    history: History = field(default_factory=History)


@dataclass
class World:
    """A fleet in virtual time: starts take a while, nodes crash when `crash` says so, some never leave."""

    chance: random.Random
    loops: frozenset[str]
    stubborn: frozenset[str]
    now: float = 0.0
    slots: dict[str, Slot] = field(default_factory=dict)
    starts: list[tuple[str, float]] = field(default_factory=list)

    def observed(self) -> dict[str, Observed]:
        return {
            node_id: Observed(
                Role.API,
                slot.digest,
                slot.alive,
                slot.alive and self.now >= slot.ready_at,
                slot.draining_since,
                slot.history,
            )
            for node_id, slot in self.slots.items()
        }

    def turn(self, wanted: dict[str, Wanted]) -> int:
        actions = reconcile(wanted, self.observed(), self.now, PACE)
        named = [action.node_id for action in actions]
        assert len(named) == len(set(named)), "at most one action a node"
        for action in actions:
            assert action.because
            if isinstance(action, Start):
                self._start(action.node_id, wanted)
            elif isinstance(action, Drain):
                self._drain(action.node_id)
            elif isinstance(action, Stop):
                slot = self.slots[action.node_id]
                assert slot.draining_since is not None and self.now >= slot.draining_since + PACE.stop_s
                slot.leaves_at = self.now
        replaced = [s for n, s in self.slots.items() if n in wanted and s.draining_since is not None and s.alive]
        assert len(replaced) <= 1, "replacements are made one at a time"
        return sum(not isinstance(action, Wait) for action in actions)

    def _start(self, node_id: str, wanted: dict[str, Wanted]) -> None:
        slot = self.slots.setdefault(node_id, Slot(wanted[node_id].digest))
        assert not slot.alive, "a slot never holds two processes"
        assert self.now >= slot.history.retry_at, "nothing is started early"
        slot.history = after_start(slot.history) if slot.since else slot.history
        slot.digest, slot.alive, slot.draining_since, slot.leaves_at = wanted[node_id].digest, True, None, None
        slot.since, slot.ready_at = self.now, self.now + self.chance.choice((0.1, 1.0, 3.0))
        self.starts.append((node_id, self.now))

    def _drain(self, node_id: str) -> None:
        slot = self.slots[node_id]
        slot.draining_since = self.now
        slot.leaves_at = None if node_id in self.stubborn else self.now + self.chance.uniform(0, 4)

    def advance(self, step_s: float, crash: float) -> None:
        self.now += step_s
        for node_id, slot in self.slots.items():
            if slot.alive and slot.leaves_at is not None and self.now >= slot.leaves_at:
                slot.alive, slot.history = False, History(restarts=slot.history.restarts)
            elif slot.alive and (node_id in self.loops or self.chance.random() < crash):
                self._crash(slot)

    def _crash(self, slot: Slot) -> None:
        lived_s = self.now - slot.since
        slot.alive = False
        if slot.draining_since is None:
            slot.history = after_exit(slot.history, now=self.now, lived_s=lived_s, because="it died", pace=PACE)


def wanted(ids: list[str], digest: str = "1") -> dict[str, Wanted]:
    return {node_id: Wanted(Role.API, digest) for node_id in ids}


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), before=st.integers(1, 6), after=st.integers(1, 6), crash=st.floats(0, 0.3))
def test_the_fleet_converges_after_any_schedule_of_crashes_and_changes(
    seed: int, before: int, after: int, crash: float
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    ids = [f"api-{n}" for n in range(6)]
    world = World(chance, frozenset(), frozenset(chance.sample(ids, 2)))
    for _ in range(60):
        world.turn(wanted(ids[:before]))
        world.advance(chance.choice((0.05, 0.5, 5.0)), crash)
    goal = wanted(ids[:after], "2")
    for _ in range(60):
        world.turn(goal)
        world.advance(chance.choice((0.05, 0.5, 5.0)), crash)
    for _ in range(200):
        world.turn(goal)
        world.advance(1.0, 0.0)
    living = {node_id: slot.digest for node_id, slot in world.slots.items() if slot.alive}
    assert living == {node_id: "2" for node_id in goal}
    assert world.turn(goal) == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), step_s=st.sampled_from((0.1, 0.2, 1.0)))
def test_a_crash_loop_is_started_seldom_and_never_before_its_quarantine_ends(seed: int, step_s: float) -> None:
    world = World(random.Random(seed), frozenset({"api-0"}), frozenset())  # noqa: S311
    goal = wanted(["api-0", "api-1"])
    while world.now < 400:
        world.turn(goal)
        world.advance(step_s, 0.0)
    starts = [at for node_id, at in world.starts if node_id == "api-0"]
    tries = starts[PACE.crashes :]
    assert tries, "after the quarantine it gets a try"
    for earlier, later in zip(starts[PACE.crashes - 1 :], tries, strict=False):
        assert later - earlier >= PACE.quarantine_s
    assert len(starts) <= PACE.crashes + 400 / PACE.quarantine_s
    assert [node_id for node_id, _ in world.starts].count("api-1") == 1
