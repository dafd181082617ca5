"""Releases under thousands of schedules: ships, rollbacks, node deaths, verdicts, lost commands, other leaders.

The world is a model of fleet, trials, pins and flags in which each command may be lost; leaders
come and go (everything they know is read again from its encoding), and a leader that was replaced
still acts once more by what it knew. What must hold is checked after every event.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import msgspec
import pytest

from redqueen.delivery import acting
from redqueen.delivery.acting import Nodes, Observation, TrialSeen
from redqueen.delivery.duties import LET_GO_S
from redqueen.delivery.groups import build_of
from redqueen.delivery.lifecycle import ahead_of, due, step
from redqueen.delivery.manifest import Manifest
from redqueen.delivery.model import Artifact, Ask, Build, Order, Part, Phase, Release, ReleaseRecord, State
from redqueen.trials.model import Status

SEEDS = int(os.environ.get("REDQUEEN_SCHEDULES", "500"))
LEASE_S = 2.0
"""So long a leader may go on after its lease was lost (`roles.control`)."""
DIGEST = "ab" * 32


@dataclass
class Group:
    """Declared nodes: how many are up, and what ails them."""

    build: Build
    count: int
    ready: int = 0
    restarts: int = 0
    sick: bool = False
    leaving: bool = False


@dataclass
class World:
    """Fleet, trials, pins, flags and the records, as far as delivery can see and move them."""

    rng: random.Random
    now: float = 1000.0
    services: dict[str, Group] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    trials: dict[str, TrialSeen] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    pins: dict[str, str] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, bytes] = field(default_factory=dict)
    loss: float = 0.0
    sick_releases: set[str] = field(default_factory=set)
    waking: bool = False
    unpinned: dict[str, float] = field(default_factory=dict)
    late: list[tuple[float, acting.Command]] = field(default_factory=list)
    """What a leader that hangs has written down but not yet done."""

    def records(self) -> list[ReleaseRecord]:
        return [decoded(row) for row in self.rows.values()]

    def keep(self, record: ReleaseRecord) -> None:
        self.rows[record.release.trial] = msgspec.json.encode(record)


@lru_cache(maxsize=4096)
def decoded(row: bytes) -> ReleaseRecord:
    """What any leader knows of a release is what its row says."""
    return msgspec.json.decode(row, type=ReleaseRecord)


def nodes(group: Group) -> Nodes:
    if group.leaving:
        return Nodes(Build(), "replacing", 0, 0)
    state = "up" if group.ready == group.count else "failing" if group.sick else "starting"
    return Nodes(group.build, state, group.count, group.ready, group.restarts, "it exits" if group.sick else "")


def observed(world: World, record: ReleaseRecord) -> Observation:
    release = record.release
    own = world.services.get(release.service)
    return Observation(
        service=nodes(own) if own else None,
        groups={part: nodes(world.groups[name]) for part in Part if (name := release.group(part)) in world.groups},
        trial=world.trials.get(release.trial),
        flags={key: world.flags.get(key) for key in release.manifest.flags},
        pinned=world.pins.get(release.service, ""),
        ahead=ahead_of(release, world.records()),
    )


def carry_out(world: World, command: acting.Command) -> None:
    match command:
        case acting.StartGroup(name, build, count):
            if name not in world.groups:
                assert build.file is None or name.endswith("-canary") or not build.file.routes, "only the canary's"
                world.groups[name] = Group(build, count, sick=name.split("--")[1] in _sick_names(world, name))
        case acting.RemoveGroup(name):
            check_nobody_is_sent_there(world, name)
            if name in world.groups:
                world.groups[name].leaving = True
        case acting.StartTrial(trial):
            world.trials.setdefault(trial.id, TrialSeen(Status.RUNNING, "it runs", armed=True))
        case acting.ReportTrial(trial_id, problem):
            end_trial(world, trial_id, Status.ROLLED_BACK, problem)
        case acting.StopTrial(trial_id, because):
            end_trial(world, trial_id, Status.STOPPED, because)
        case acting.DeclareService(service, build):
            known = world.services.get(service)
            count = known.count if known else 2
            # A rolling replacement never takes a node before the next is up: in the model the old ones serve on.
            if known is None or known.build != build:
                same = known is not None and _process(known.build) == _process(build)
                sick = _release_id(build) in _sick_of(world, service)
                world.services[service] = Group(build, count, count if same else 0, sick=sick and not same)
        case acting.RemoveService(service):
            world.services.pop(service, None)
        case acting.PutFlags(flags):
            world.flags.update(flags)
        case acting.Pin(service, group):
            # What a leader that hung still does may be too late by then: the next turn takes it back.
            assert world.waking or world.groups[group].ready, "pinned to nobody"
            world.pins[service] = group
        case acting.Unpin(service):
            world.pins.pop(service, None)
            world.unpinned[service] = world.now


def _process(build: Build) -> object:
    return None if build.file is None else (build.file.program, build.file.version)


def _release_id(build: Build) -> str:
    return build.file.version.rpartition("+")[2] if build.file else ""


def _sick_of(world: World, service: str) -> set[str]:
    return {name.rpartition("-")[2] for name in world.sick_releases if name.rpartition("-")[0] == service}


def _sick_names(world: World, group: str) -> set[str]:
    service, _, rest = group.partition("--")
    release, _, part = rest.partition("-")
    return {rest} if part == "canary" and release in _sick_of(world, service) else set()


def end_trial(world: World, trial_id: str, status: Status, because: str) -> None:
    seen = world.trials.get(trial_id)
    if seen is not None and not seen.status.ended:
        world.trials[trial_id] = TrialSeen(status, because, armed=status is Status.PROMOTED)
        world.ended[trial_id] = world.now
    elif seen is not None and seen.armed:
        world.trials[trial_id] = replace(seen, armed=False)
        world.ended[trial_id] = world.now


def check_nobody_is_sent_there(world: World, name: str) -> None:
    service, _, rest = name.partition("--")
    trial_id = f"{service}-{rest.partition('-')[0]}"
    seen = world.trials.get(trial_id)
    if not name.endswith("-warm") and seen is not None:
        assert not seen.armed, f"{name} leaves while viewers are sent there"
        assert world.now >= world.ended[trial_id] + LET_GO_S - 1e-6, f"{name} leaves before gateways let go"
    assert world.pins.get(service) != name, f"{name} leaves while it is pinned"
    record = decoded(world.rows[trial_id])
    own = world.services.get(service)
    if name.endswith("-warm") and record.state.phase is Phase.ROLLED_BACK and own is not None:
        assert own.build != record.release.build, f"{name} leaves while the service still runs the release"
        back = own.build == record.state.previous and any(one.phase is Phase.PROMOTED for one in record.state.history)
        assert not back or world.waking or own.ready == own.count, f"{name} leaves before the old version is whole"
    if name.endswith("-warm") and service in world.unpinned:
        assert world.now >= world.unpinned[service] + LET_GO_S - 1e-6, f"{name} leaves before gateways let go"


def turn(world: World, *, hang: bool = False) -> None:
    """One turn of a leader; `hang`: it stops after the states are written, and goes on when another leads."""
    for record in sorted(world.records(), key=lambda one: (one.release.service, one.release.number)):
        record = decoded(world.rows[record.release.trial])
        if not due(record):
            continue
        state, commands = step(record, observed(world, record), world.now)
        check_step(world, record, state)
        world.keep(ReleaseRecord(record.release, state, record.order))
        for command in commands:
            if hang:
                world.late.append((world.now + world.rng.choice([0.3, 1.0, LEASE_S]), command))
                continue
            if world.rng.random() < world.loss:
                continue
            carry_out(world, command)
            if world.rng.random() < 0.05:
                carry_out(world, command)  # twice must be as once
        check(world)


def wake(world: World) -> None:
    """A leader that hung goes on before it learns that it leads no more."""
    woken = [command for when, command in world.late if when >= world.now and world.rng.random() < 0.5]
    world.late = [(when, command) for when, command in world.late if when >= world.now and command not in woken]
    world.waking = True
    for command in woken:
        carry_out(world, command)
    world.waking = False


def check_step(world: World, record: ReleaseRecord, state: State) -> None:
    before, after = record.state.phase, state.phase
    if after is not before and after in (Phase.PROMOTING, Phase.PROMOTED):
        first = state.started_s > 0 and state.previous is None
        seen = world.trials.get(record.release.trial)
        assert first or (seen is not None and seen.status is Status.PROMOTED), "promoted without a promoted trial"
    if after is Phase.PROMOTING and before is not after:
        own = world.services.get(record.release.service)
        assert own is not None and own.build == state.previous, "judged beside something that nobody runs"
    if after is Phase.PROMOTED and before is not after and state.previous is not None:
        warm = world.groups.get(record.release.group(Part.WARM))
        assert warm is not None and not warm.leaving, "promoted without the old version warm"
    assert state.because, "a phase without a reason"
    if before.ended and not (before is Phase.PROMOTED and after is Phase.ROLLED_BACK):
        assert after is before, f"{before} became {after}"


def check(world: World) -> None:
    """What must hold at every moment."""
    canaries: dict[str, int] = {}
    for name, group in world.groups.items():
        if name.endswith("-canary") and not group.leaving:
            canaries[name.partition("--")[0]] = canaries.get(name.partition("--")[0], 0) + 1
    assert all(count == 1 for count in canaries.values()), f"two canaries: {sorted(world.groups)}"
    armed: dict[str, int] = {}
    for record in world.records():
        seen = world.trials.get(record.release.trial)
        if seen is not None and seen.armed:
            armed[record.release.service] = armed.get(record.release.service, 0) + 1
            canary = world.groups.get(record.release.group(Part.CANARY))
            assert canary is not None and not canary.leaving, "viewers are sent to a canary that is not there"
        warm = world.groups.get(record.release.group(Part.WARM))
        own = world.services.get(record.release.service)
        if record.state.phase is Phase.PROMOTED and record.state.warm_until_s > world.now and own is not None:
            if own.build == record.release.build and record.state.previous is not None:
                assert warm is not None and not warm.leaving, "the old version went cold before its time"
    assert all(count == 1 for count in armed.values()), "two trials of one service"


def live(world: World) -> None:
    """Let the fleet do some of what it was asked."""
    for group in [*world.services.values(), *world.groups.values()]:
        if group.leaving:
            continue
        if group.sick:
            group.restarts += world.rng.random() < 0.3
            group.ready = 0
        elif group.ready < group.count and world.rng.random() < 0.5:
            group.ready += 1
    for name in [name for name, group in world.groups.items() if group.leaving]:
        if world.rng.random() < 0.5:
            del world.groups[name]


def disturb(world: World) -> None:
    """Something happens that nobody asked for."""
    rng = world.rng
    kind = rng.random()
    everything = [group for group in [*world.services.values(), *world.groups.values()] if not group.leaving]
    if kind < 0.25 and everything:
        victim = rng.choice(everything)
        victim.ready, victim.restarts = max(0, victim.ready - 1), victim.restarts + 1
    elif kind < 0.55:
        running = [name for name, seen in world.trials.items() if not seen.status.ended]
        if running:
            verdict = rng.choice(
                [Status.PROMOTED, Status.PROMOTED, Status.ROLLED_BACK, Status.INCONCLUSIVE, Status.STOPPED]
            )
            end_trial(world, rng.choice(running), verdict, "it was found so")
    elif kind < 0.7:
        order(world, rng.choice([Ask.ROLL_BACK, Ask.ROLL_BACK, Ask.STOP]))
    elif kind < 0.72 and world.services:
        name = rng.choice(sorted(world.services))
        build = world.services[name].build
        assert build.file is not None
        world.services[name] = Group(Build(file=msgspec.structs.replace(build.file, version=f"mine{world.now}")), 2)


def order(world: World, ask: Ask) -> None:
    records = world.records()
    warm = [one for one in records if one.state.phase is Phase.PROMOTED and one.state.warm_until_s > world.now]
    if records:
        record = world.rng.choice(warm if warm and world.rng.random() < 0.7 else records)
        world.keep(ReleaseRecord(record.release, record.state, Order(ask, "ada", world.now)))


def ship(world: World, service: str) -> Release:
    number = 1 + sum(record.release.service == service for record in world.records())
    manifest = Manifest(
        service,
        "ada",
        command=("run",),
        flags={f"{service}.polite": number} if world.rng.random() < 0.5 else {},
        routes=[{"path": f"/{service}"}],
        warm_s=60.0,
        step_s=10.0,
        horizon_s=120.0,
    )
    build = build_of(manifest, f"r{number}", f"/releases/{DIGEST}")
    release = Release(service, number, Artifact(DIGEST, 1, 1, 1), manifest, build, "ada", world.now)
    if world.rng.random() < 0.2:
        world.sick_releases.add(release.trial)
    world.keep(ReleaseRecord(release, State(since_s=world.now)))
    return release


def run(seed: int) -> World:
    rng = random.Random(seed)  # noqa: S311 - schedules, not secrets
    world = World(rng, loss=rng.choice([0.0, 0.1, 0.5]))
    for _ in range(rng.randrange(40, 160)):
        world.now += rng.choice([0.3, 0.3, 1.0, 5.0])
        if rng.random() < 0.06:
            ship(world, rng.choice(["shop", "cart"]))
        if rng.random() < 0.25:
            disturb(world)
        live(world)
        wake(world)
        turn(world, hang=rng.random() < 0.1)
    return world


def calm(world: World) -> None:
    """No more losses, no more harm: everything comes to an end."""
    world.loss = 0.0
    for _ in range(900):
        world.now += 2.0
        for trial_id, seen in list(world.trials.items()):
            tried = decoded(world.rows[trial_id]).state.phase is Phase.TRYING
            if tried and not seen.status.ended and world.rng.random() < 0.05:
                end_trial(world, trial_id, Status.INCONCLUSIVE, "its time is over")
        live(world)
        turn(world)
        if not world.groups and all(record.state.settled for record in world.records()):
            return
    left = [
        f"{one.release.trial} {one.state.phase}: {one.state.because}"
        for one in world.records()
        if not one.state.settled
    ]
    raise AssertionError(f"not settled: {left}, groups {sorted(world.groups)}, pins {world.pins}")


@pytest.mark.parametrize("part", range(5))
def test_no_schedule_makes_two_canaries_or_promotes_without_a_verdict_and_all_is_cleaned_up(part: int) -> None:
    ends: set[Phase] = set()
    for seed in range(part, SEEDS, 5):
        try:
            world = run(seed)
            calm(world)
            assert not world.pins
            assert all(seen.status.ended for seen in world.trials.values())
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        ends |= {record.state.phase for record in world.records()}
    assert ends == {phase for phase in Phase if phase.ended}, "the schedules reach every end"
