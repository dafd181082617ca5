"""Thousands of trials on a virtual clock: looks lost and late, leaders changing, groups dying, arms falling silent.

Each trial has a schedule of its own, drawn from a seed; all are judged in lockstep by the very judge
and lifecycle that serve a region. Whatever the schedule: no trial ends in a state that its stored
looks do not support, and each ends within its bounds.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest

from redqueen.stats import judge
from redqueen.stats.evidence import Evidence, begin
from redqueen.stats.model import Choice, Look, Reading
from redqueen.trials import arming, lifecycle, records
from redqueen.trials.history import History
from redqueen.trials.life import Begin, Ended, Event, Life, Looked, Problem, Stop, Tick
from redqueen.trials.lifecycle import SILENT_S
from redqueen.trials.model import MetricPlan, Status, Subject, Trial, TrialArm
from redqueen.trials.planning import planned

SCHEDULES = int(os.environ.get("REDQUEEN_SCHEDULES", "2000"))
TICK_S, STRATA = 40.0, 4
TRIAL = Trial(
    id="door-r1",
    subject=Subject.FLAG,
    target="door",
    owner="o",
    because="b",
    salt="s",
    layer="l",
    treatments=(TrialArm("canary"),),
    metrics=(MetricPlan("start_failures"),),
    horizon_s=2400.0,
)
MEASURES = planned(TRIAL, History())
PLAN = MEASURES.plan()
FAILING = 0.02
WORLDS = ("harmless", "harmful", "mute", "deaf arm", "idle", "leaves", "leaking split", "dies", "stopped")
"""mute: no player reports; deaf arm: those of the treatment do not; idle: nobody comes; leaves: traffic ends."""


@dataclass(slots=True)
class Schedule:
    """One trial, what becomes of it, and everything that was stored on the way."""

    world: str
    luck: random.Random
    rate: float
    lost: float
    late: int
    leaders: float
    turning_s: float
    """When what is wrong in this world begins."""
    life: Life = field(default_factory=Life)
    evidence: Evidence = field(default_factory=lambda: begin(PLAN))
    waiting: list[tuple[float, Look]] = field(default_factory=list[tuple[float, Look]])
    log: list[tuple[float, bytes, float, Event | None]] = field(
        default_factory=list[tuple[float, bytes, float, Event | None]]
    )
    ended: list[Ended] = field(default_factory=list[Ended])
    last: Reading | None = None

    def move(self, event: Event, now_s: float) -> None:
        self.life, commands = lifecycle.step(TRIAL, self.life, event, now_s)
        self.ended += [one for one in commands if isinstance(one, Ended)]
        if self.luck.random() < self.leaders:
            # The next leader knows only what was stored.
            self.life = msgspec.msgpack.decode(msgspec.msgpack.encode(self.life), type=Life)
            self.evidence = records.unpacked_evidence(records.packed_evidence({"canary": self.evidence}))["canary"]


def schedule(seed: int) -> Schedule:
    luck = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    return Schedule(
        world=WORLDS[seed % len(WORLDS)],
        luck=luck,
        rate=luck.choice([20.0, 300.0, 900.0]),
        lost=luck.choice([0.0, 0.0, 0.2, 0.9]),
        late=luck.choice([0, 0, 1, 9]),
        leaders=luck.choice([0.0, 0.1]),
        turning_s=luck.choice([0.0, 100.0, 400.0]),
    )


def seen(one: Schedule, now_s: float, rng: np.random.Generator) -> Look:
    """Draw what happened in the last tick."""
    turned = now_s >= one.turning_s
    gone = one.world == "idle" or (one.world == "leaves" and turned)
    share = arming.share_of(TRIAL, one.life.stretches[-1].share)
    drawn = share * (0.8 if one.world == "leaking split" else 1.0)
    rates = np.array([drawn, 1.0 - drawn])[:, None] * np.full(STRATA, one.rate / 60.0 * TICK_S / STRATA)
    exposed = rng.poisson(rates * (0.0 if gone else 1.0))
    told = np.full(2, 0.98)
    if turned and one.world in ("mute", "deaf arm"):
        told = np.array([0.0, 0.0 if one.world == "mute" else 0.98])
    reported = rng.binomial(exposed, told[:, None])
    failing = np.array([FAILING * (4.0 if one.world == "harmful" else 1.0), FAILING])
    failed = rng.binomial(reported, failing[:, None])
    return Look(TICK_S, share, exposed, reported, {"start_failures": np.stack([failed, reported], axis=-1)})


def happens(one: Schedule, now_s: float) -> Event | None:
    """Return what befalls the trial from outside."""
    if now_s >= one.turning_s + TICK_S and one.world == "dies":
        return Problem("its nodes exit again and again", "canary")
    if now_s >= one.turning_s + TICK_S and one.world == "stopped":
        return Stop("ann")
    return None


def due(one: Schedule, now_s: float, rng: np.random.Generator) -> tuple[float, Look] | None:
    """Return the look that arrives now; lost ones never do, late ones come in order."""
    if one.luck.random() >= one.lost:
        one.waiting.append((one.life.stretches[-1].from_s, seen(one, now_s, rng)))
    return one.waiting.pop(0) if len(one.waiting) > one.late else None


def run(seeds: range) -> list[Schedule]:
    """Let the trials of these seeds live until all have ended; the clock goes a tick past the horizon at most."""
    rng, trials, now_s = np.random.default_rng(seeds.start), [schedule(seed) for seed in seeds], 0.0
    for one in trials:
        one.move(Begin(), now_s)
    while any(not one.life.status.ended for one in trials):
        now_s += TICK_S
        assert now_s <= TRIAL.horizon_s + TICK_S
        looking: list[tuple[Schedule, float, Look]] = []
        for one in (one for one in trials if not one.life.status.ended):
            event, look = happens(one, now_s), due(one, now_s, rng)
            if event is not None or look is None:
                one.log.append((now_s, None, 0.0, event or Tick()))
                one.move(event or Tick(), now_s)
            else:
                looking.append((one, *look))
        looked(looking, now_s)
    return trials


def looked(looking: list[tuple[Schedule, float, Look]], now_s: float) -> None:
    """Judge all looks of a tick as one, and let each trial go on."""
    if not looking:
        return
    after, readings = judge.look_all(PLAN, [one.evidence for one, _, _ in looking], [look for _, _, look in looking])
    for (one, drawn_s, look), evidence, reading in zip(looking, after, readings, strict=True):
        one.evidence, one.last = evidence, reading
        one.log.append((now_s, look, drawn_s, None))
        one.move(event_of(reading, look, drawn_s), now_s)


def event_of(reading: Reading, look: Look, drawn_s: float) -> Looked:
    return Looked({"canary": reading}, {"canary": float(look.reported[0].sum())}, drawn_s)


def replayed(one: Schedule) -> tuple[Life, Evidence]:
    """Judge the stored looks again, one trial alone, from the beginning."""
    return replayed_log(one, lifecycle.step(TRIAL, Life(), Begin(), 0.0)[0])


def replayed_log(one: Schedule, life: Life | None = None) -> tuple[Life, Evidence]:
    """Judge what is in the log upon a life before it."""
    life, evidence = life or Life(), begin(PLAN)
    for now_s, look, drawn_s, event in one.log:
        if look is not None:
            look = records.unpacked_look(records.packed_look(look))
            evidence = judge.step(PLAN, evidence, look)
            event = event_of(judge.judge(PLAN, evidence), look, drawn_s)
        life, _ = lifecycle.step(TRIAL, life, event or Tick(), now_s)
    return life, evidence


pytestmark = pytest.mark.timeout(300 + SCHEDULES // 5)


@pytest.fixture(scope="module")
def trials() -> list[Schedule]:
    return [one for start in range(0, SCHEDULES, 500) for one in run(range(start, min(start + 500, SCHEDULES)))]


def test_every_trial_ends_once_and_within_its_bounds(trials: list[Schedule]) -> None:
    for one in trials:
        assert len(one.ended) == 1
        assert one.life.ended_s - one.life.started_s <= TRIAL.horizon_s + TICK_S
    seen_ends = {one.life.status for one in trials}
    assert seen_ends == {Status.PROMOTED, Status.ROLLED_BACK, Status.INCONCLUSIVE, Status.STOPPED}


def test_no_trial_ends_in_a_state_that_its_evidence_does_not_support(trials: list[Schedule]) -> None:
    for one in trials:
        own = judge.judge(PLAN, one.evidence)
        if one.life.status is Status.PROMOTED:
            assert own.choice is Choice.PROMOTE
            assert one.life.step == len(TRIAL.steps) - 1
        elif one.life.status is Status.ROLLED_BACK:
            assert own.choice is Choice.ROLL_BACK if one.life.dropped[0].proven else one.world == "dies"
        elif one.life.status is Status.INCONCLUSIVE:
            assert own.choice is not Choice.ROLL_BACK
        else:
            assert one.world == "stopped"


def test_without_telemetry_or_traffic_nothing_is_ever_promoted_and_the_hold_is_bounded(trials: list[Schedule]) -> None:
    for one in trials:
        if one.world in ("mute", "deaf arm", "idle") and one.turning_s == 0.0:
            assert one.life.status is Status.INCONCLUSIVE
        if one.world in ("mute", "deaf arm") and one.life.status is Status.PROMOTED:
            # What was proven before the reports ended stands for as long as a silence takes to be one.
            assert one.life.ended_s <= one.turning_s + SILENT_S + (one.late + 2) * TICK_S
        if one.world == "mute" and one.turning_s == 0.0 and one.rate >= 300.0 and one.lost < 0.5 and not one.late:
            assert one.life.ended_s <= SILENT_S + TRIAL.hold_s + 6 * TICK_S


def test_both_errors_stay_within_alpha_over_all_schedules(trials: list[Schedule]) -> None:
    sound = [one for one in trials if one.world in ("harmless", "leaves")]
    harmful = [one for one in trials if one.world == "harmful"]
    assert sum(one.life.status is Status.ROLLED_BACK for one in sound) <= 0.05 * len(sound)
    assert sum(one.life.status is Status.PROMOTED for one in harmful) <= 0.05 * len(harmful)
    busy = [one for one in trials if one.rate == 900.0 and one.lost < 0.5 and one.late < 9]
    assert all(one.life.status is Status.ROLLED_BACK for one in busy if one.world == "harmful")
    fine = [one.life.status is Status.PROMOTED for one in busy if one.world == "harmless"]
    assert sum(fine) >= 0.9 * len(fine)
    assert all(one.life.status is not Status.PROMOTED for one in busy if one.world == "leaking split")


def test_a_replay_of_the_stored_looks_gives_the_same_bits_whatever_leaders_came_and_went(
    trials: list[Schedule],
) -> None:
    for one in trials[::40]:
        life, evidence = replayed(one)
        assert life == one.life
        assert records.packed_evidence({"canary": evidence}) == records.packed_evidence({"canary": one.evidence})
