"""Ships and their trials in one world: nodes killed, bins lost, events late, leaders changing, people in between.

The fleet and its releases are those of `test_delivery_lifecycle`, the trials and their judge those of
`test_trials`; here no verdict is drawn by lot: each comes from what viewers of that very release
showed. CI runs a few schedules; REDQUEEN_SCHEDULES=5000 runs as many as one likes.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import test_delivery_lifecycle as fleet
import test_trials as trials

from redqueen.delivery.groups import build_of
from redqueen.delivery.manifest import Manifest
from redqueen.delivery.model import Artifact, Ask, Phase, Release, ReleaseRecord, State
from redqueen.stats import judge
from redqueen.stats.model import Choice
from redqueen.trials.life import Begin, Problem, Stop, Tick
from redqueen.trials.model import Status

SCHEDULES = int(os.environ.get("REDQUEEN_SCHEDULES", "8"))
PARTS = 2
KINDS = ("harmless", "harmful", "mute", "deaf arm", "idle", "leaves")
QUIET_S = 1.5 * trials.TRIAL.horizon_s
"""So long each release that waits for its turn may take."""


@dataclass
class World(fleet.World):
    """Releases whose verdicts come from their viewers."""

    seed: int = 0
    judged: dict[str, trials.Schedule] = field(default_factory=dict[str, trials.Schedule])
    look_s: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def dice(self) -> np.random.Generator:
        """Give what viewers do next."""
        return np.random.default_rng(self.rng.getrandbits(64))


def tell(world: World, trial_id: str) -> None:
    """Let the releases see how a trial is."""
    life = world.judged[trial_id].life
    armed = not life.status.ended or life.status is Status.PROMOTED
    world.trials[trial_id] = fleet.TrialSeen(life.status, life.because, armed=armed)
    if life.status.ended:
        world.ended.setdefault(trial_id, world.now)


def ended(world: World, trial_id: str, status: Status, because: str) -> None:
    """End a trial as a release asks for it."""
    one, seen = world.judged.get(trial_id), world.trials.get(trial_id)
    if seen is not None and seen.status is Status.PROMOTED and seen.armed:
        world.trials[trial_id] = replace(seen, armed=False)
        world.ended[trial_id] = world.now
    if one is not None and not one.life.status.ended:
        event = Problem(because, "canary") if status is Status.ROLLED_BACK else Stop("redqueen", because)
        one.log.append((world.now, None, 0.0, event))
        one.move(event, world.now)
        tell(world, trial_id)


def watch(world: World) -> None:
    """Begin the trials that were asked for, and take the looks that are due."""
    for trial_id, seen in list(world.trials.items()):
        if trial_id not in world.judged and not seen.status.ended:
            luck = random.Random(f"{world.seed} {trial_id}")  # noqa: S311 - a schedule, not a secret
            one = trials.schedule(luck.getrandbits(30))
            one.world, one.luck = luck.choice(KINDS), luck
            one.turning_s += world.now
            one.log.append((world.now, None, 0.0, Begin()))
            one.move(Begin(), world.now)
            world.judged[trial_id], world.look_s[trial_id] = one, world.now + trials.TICK_S
        one = world.judged.get(trial_id)
        if one is not None and not one.life.status.ended and world.now >= world.look_s[trial_id]:
            look(world, one)
            world.look_s[trial_id] += trials.TICK_S
            tell(world, trial_id)


def look(world: World, one: trials.Schedule) -> None:
    """Let a tick of viewers be judged, or be lost."""
    found = trials.due(one, world.now, world.dice)
    if found is None:
        one.log.append((world.now, None, 0.0, Tick()))
        one.move(Tick(), world.now)
    else:
        trials.looked([(one, *found)], world.now)


def ship(world: World, service: str) -> None:
    number = 1 + sum(record.release.service == service for record in world.records())
    manifest = Manifest(
        service, "ada", command=("run",), routes=[{"path": f"/{service}"}], warm_s=60.0,
        steps=trials.TRIAL.steps, horizon_s=trials.TRIAL.horizon_s, hold_s=trials.TRIAL.hold_s,
    )  # fmt: skip
    build = build_of(manifest, f"r{number}", f"/releases/{fleet.DIGEST}")
    release = Release(service, number, Artifact(fleet.DIGEST, 1, 1, 1), manifest, build, "ada", world.now)
    if world.rng.random() < 0.1:
        world.sick_releases.add(release.trial)
    world.keep(ReleaseRecord(release, State(since_s=world.now)))


def disturb(world: World) -> None:
    """Kill a node, or let somebody change their mind; more seldom than trials last."""
    kind = world.rng.random()
    up = [group for group in [*world.services.values(), *world.groups.values()] if not group.leaving]
    if kind < 0.9 and up:
        victim = world.rng.choice(up)
        victim.ready, victim.restarts = max(0, victim.ready - 1), victim.restarts + 1
    elif kind > 0.96:
        fleet.order(world, world.rng.choice([Ask.ROLL_BACK, Ask.STOP]))


def run(seed: int) -> World:
    rng = random.Random(seed)  # noqa: S311 - schedules, not secrets
    world = World(rng, loss=rng.choice([0.0, 0.1, 0.5]), seed=seed)
    busy_until = world.now + rng.choice([600.0, 2400.0])
    kills = rng.choice([0.0, 0.004, 0.02])
    while world.now < busy_until + QUIET_S * (1 + len(world.rows)):
        busy = world.now < busy_until
        world.now += rng.choice([0.3, 1.0, 10.0, 20.0])
        if busy and rng.random() < 0.03:
            ship(world, rng.choice(["shop", "cart"]))
        if busy and rng.random() < kills:
            disturb(world)
        world.loss = world.loss if busy else 0.0
        fleet.live(world)
        fleet.wake(world)
        fleet.turn(world, hang=busy and rng.random() < 0.05)
        watch(world)
        if not busy and not world.groups and all(record.state.settled for record in world.records()):
            return world
    left = [f"{one.release.trial} {one.state.phase}: {one.state.because}" for one in world.records()]
    raise AssertionError(f"not settled: {left}, groups {sorted(world.groups)}")


def supported(record: ReleaseRecord, one: trials.Schedule | None) -> bool:
    """Tell whether a release's end is what its trial's stored looks say, judged once more by themselves."""
    past = {change.phase for change in record.state.history}
    if one is None:  # no viewer was ever asked
        return Phase.TRYING not in past or Phase.PROMOTING not in past
    life, evidence = trials.replayed_log(one)
    choice = judge.judge(trials.PLAN, evidence).choice
    if Phase.PROMOTING in past or (Phase.PROMOTED in past and record.state.previous is not None):
        silent_s = one.turning_s + trials.SILENT_S + (one.late + 2) * trials.TICK_S
        heard = one.world != "idle" and (one.world not in ("mute", "deaf arm") or life.ended_s <= silent_s)
        return life.status is Status.PROMOTED and choice is Choice.PROMOTE and heard
    if life.status is Status.ROLLED_BACK and life.dropped[0].proven:
        return choice is Choice.ROLL_BACK and record.state.phase is not Phase.PROMOTED
    return record.state.phase is not Phase.PROMOTED or record.state.previous is None


@pytest.mark.timeout(300 + 10 * SCHEDULES)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_release_ends_in_a_state_that_its_viewers_do_not_support(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "end_trial", ended)
    ends: set[Phase] = set()
    harmful = promoted = 0
    for seed in range(part, SCHEDULES, PARTS):
        try:
            world = run(seed)
            for record in world.records():
                one = world.judged.get(record.release.trial)
                assert supported(record, one), f"{record.release.trial} {record.state} {one and one.life}"
                ends.add(record.state.phase)
                if one is not None and one.world == "harmful":
                    harmful += 1
                    promoted += one.life.status is Status.PROMOTED
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert promoted <= max(1, 0.05 * harmful)
    assert Phase.PROMOTED in ends and len(ends) > 1
