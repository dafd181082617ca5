"""A trial's life, step by step: what it waits for, how it ends, what it never does."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redqueen.stats.model import Choice, Harm, Kind, Metric, MetricReading, Reading, Rules
from redqueen.trials.life import (
    Arm,
    Begin,
    Command,
    Disarm,
    Ended,
    Event,
    Life,
    Looked,
    Problem,
    Renew,
    Stop,
    Tick,
)
from redqueen.trials.lifecycle import LEAST_SEEN, SILENT_S, step
from redqueen.trials.model import MetricPlan, Status, Subject, Trial, TrialArm

RULES = Rules()
TRIAL = Trial(
    id="door-r7",
    subject=Subject.RELEASE,
    target="door",
    owner="o",
    because="b",
    salt="s",
    layer="l",
    treatments=(TrialArm("canary", "g"),),
    metrics=(MetricPlan("start_failures"),),
)
MANY = msgspec.structs.replace(
    TRIAL,
    id="abc",
    subject=Subject.FLAG,
    treatments=(TrialArm("red"), TrialArm("blue")),
    metrics=(MetricPlan("played", goal=True),),
)
FOR_EVER = msgspec.structs.replace(
    TRIAL, id="aa-even", subject=Subject.NOTHING, steps=(0.5,), for_ever=True, treatments=(TrialArm("same"),)
)


def metric(
    name: str = "start_failures", *, safe: bool = False, units: float = 500.0, device: bool = False
) -> MetricReading:
    own = Metric(name, Kind.PROPORTION, Harm.MORE, 2.0, 2.0, guardrail=not device, strata=(1,) if device else ())
    log_e_safe = math.log(25.0 if safe else 5.0)
    return MetricReading(own, (5.0, units), (5.0, units), 1.0, 0.5, 2.0, 0.0, log_e_safe, False, safe, RULES)


def reading(choice: Choice, *metrics: MetricReading, harm: float = 0.0) -> Reading:
    shown = metrics or (metric(safe=choice is Choice.PROMOTE),)
    return Reading(choice, f"because of {choice.value}", shown, (), harm, 0.0, 0.0)


def looked(choice: Choice, life: Life, *, harm: float = 0.0, units: float = 50.0, arm: str = "canary") -> Looked:
    return Looked({arm: reading(choice, harm=harm)}, {arm: units}, life.stretches[-1].from_s)


def begun(trial: Trial = TRIAL, at_s: float = 1000.0) -> Life:
    return step(trial, Life(), Begin(), at_s)[0]


def at_last_step(trial: Trial = TRIAL) -> Life:
    life, now_s = begun(trial), 1000.0
    for _ in trial.steps[1:]:
        now_s += trial.step_s
        life, _ = step(trial, life, looked(Choice.GO_ON, life), now_s)
    assert life.step + 1 == len(trial.steps)
    return life


def test_a_trial_begins_at_its_first_step() -> None:
    life, commands = step(TRIAL, Life(), Begin(), 1000.0)
    assert (life.status, life.step, life.started_s) == (Status.RUNNING, 0, 1000.0)
    assert commands == (Arm(life.stretches[0]),)
    assert life.because == "5% of the viewers are in it"


def test_it_widens_after_its_time_at_a_step_and_not_before() -> None:
    life = begun()
    early, nothing = step(TRIAL, life, looked(Choice.GO_ON, life), 1059.0)
    assert (early.step, nothing) == (0, ())
    assert early.because == "at 5% for another 1 s before it may go wider"
    wider, commands = step(TRIAL, early, looked(Choice.GO_ON, life), 1060.0)
    assert wider.step == 1
    assert commands == (Arm(wider.stretches[-1]),)
    assert wider.stretches[-1].share == 0.25


def test_it_does_not_widen_before_somebody_was_seen_at_this_step() -> None:
    life = begun()
    few, commands = step(TRIAL, life, looked(Choice.GO_ON, life, units=LEAST_SEEN - 1), 1100.0)
    assert (few.step, commands) == (0, ())
    assert few.because == "9 of 10 seen of canary at this step"


def test_a_late_look_of_the_step_before_is_no_viewer_seen_at_this_one() -> None:
    life = at_last_step()
    late = Looked({"canary": reading(Choice.GO_ON)}, {"canary": 1000.0}, life.stretches[-2].from_s)
    assert step(TRIAL, life, late, life.since_s + 1)[0].seen["canary"] == 0.0


def test_it_does_not_widen_while_the_evidence_of_harm_grows_but_does_once_it_recedes() -> None:
    life = begun()
    growing, commands = step(TRIAL, life, looked(Choice.GO_ON, life, harm=math.log(8.0)), 1100.0)
    assert (growing.step, commands) == (0, ())
    assert growing.because == "evidence of harm by canary grows: not widened until it recedes"
    still, _ = step(TRIAL, growing, looked(Choice.GO_ON, life, harm=math.log(5.0)), 1101.0)
    assert still.step == 0
    receding, _ = step(TRIAL, still, looked(Choice.GO_ON, life, harm=math.log(3.0)), 1102.0)
    assert receding.step == 1


def test_a_harmless_change_is_promoted_only_after_the_widest_step() -> None:
    life = begun()
    early, commands = step(TRIAL, life, looked(Choice.PROMOTE, life), 1060.0)
    assert early.status is Status.RUNNING
    assert isinstance(commands[0], Arm)
    life = at_last_step()
    too_early, _ = step(TRIAL, life, looked(Choice.PROMOTE, life), life.since_s + 59.0)
    assert too_early.status is Status.RUNNING
    ended, commands = step(TRIAL, too_early, looked(Choice.PROMOTE, life), life.since_s + 60.0)
    assert (ended.status, ended.winner) == (Status.PROMOTED, "canary")
    assert commands == (Disarm(), Ended(Status.PROMOTED, ended.because, "canary"))
    assert "because of promote (start_failures x1, between 0.5 and 2)" in ended.because


def test_a_device_with_many_viewers_must_be_proven_harmless_by_itself() -> None:
    life = at_last_step()
    tv, phones = (
        metric("play_delay:tv", units=100.0, device=True),
        metric("play_delay:mobile", units=900.0, device=True),
    )
    slow = Looked({"canary": reading(Choice.PROMOTE, metric(safe=True), tv, phones)}, {"canary": 99.0}, life.since_s)
    waiting, _ = step(TRIAL, life, slow, life.since_s + 100.0)
    assert waiting.status is Status.RUNNING
    assert waiting.because == "because of promote, not yet for play_delay:tv, play_delay:mobile"
    known = metric("play_delay:mobile", units=900.0, device=True, safe=True)
    rare = metric("play_delay:tv", units=50.0, device=True)
    fine = Looked({"canary": reading(Choice.PROMOTE, metric(safe=True), rare, known)}, {"canary": 99.0}, life.since_s)
    assert step(TRIAL, waiting, fine, life.since_s + 101.0)[0].status is Status.PROMOTED


@pytest.mark.parametrize("life", [begun(), at_last_step()], ids=["first step", "last step"])
def test_proven_harm_rolls_back_at_any_moment(life: Life) -> None:
    ended, commands = step(TRIAL, life, looked(Choice.ROLL_BACK, life), life.since_s + 1.0)
    assert ended.status is Status.ROLLED_BACK
    assert commands == (Disarm(), Ended(Status.ROLLED_BACK, "because of roll back"))


def test_a_hold_stops_the_ladder_and_ends_the_trial_when_it_lasts() -> None:
    life = begun()
    held, _ = step(TRIAL, life, looked(Choice.HOLD, life), 1100.0)
    assert (held.status, held.because) == (Status.HELD, "canary: because of hold")
    longer, _ = step(TRIAL, held, looked(Choice.HOLD, life), 1399.0)
    assert longer.status is Status.HELD
    ended, commands = step(TRIAL, longer, looked(Choice.HOLD, life), 1400.0)
    assert ended.status is Status.INCONCLUSIVE
    assert ended.because == "held for 300 s and given up: canary: because of hold"
    assert commands[0] == Disarm()


def test_after_a_hold_the_time_at_the_step_counts_anew() -> None:
    life = begun()
    held, _ = step(TRIAL, life, looked(Choice.HOLD, life), 1055.0)
    again, _ = step(TRIAL, held, looked(Choice.GO_ON, life), 1070.0)
    assert (again.status, again.step, again.since_s) == (Status.RUNNING, 0, 1070.0)
    assert step(TRIAL, again, looked(Choice.GO_ON, life), 1129.0)[0].step == 0
    assert step(TRIAL, again, looked(Choice.GO_ON, life), 1130.0)[0].step == 1


def test_no_look_at_all_holds_and_then_ends() -> None:
    life = begun()
    assert step(TRIAL, life, Tick(), 1000.0 + SILENT_S - 1)[0] == life
    held, _ = step(TRIAL, life, Tick(), 1000.0 + SILENT_S)
    assert (held.status, held.because) == (Status.HELD, "nothing was measured for 120 s")
    ended, _ = step(TRIAL, held, Tick(), 1000.0 + SILENT_S + TRIAL.hold_s)
    assert ended.status is Status.INCONCLUSIVE


def test_at_the_horizon_it_says_what_was_missing_and_what_would_do() -> None:
    life = at_last_step()
    ended, _ = step(TRIAL, life, looked(Choice.GO_ON, life), 1000.0 + TRIAL.horizon_s)
    assert ended.status is Status.INCONCLUSIVE
    assert ended.because == (
        "its 3600 s are up and neither harm nor safety is proven; missing: start_failures "
        "(E 5 of 20 against a ratio >= 2; at this traffic about 112 minutes would do)"
    )


def test_nodes_that_never_served_roll_back_whatever_the_evidence() -> None:
    ended, _ = step(TRIAL, begun(), Problem("its nodes never became healthy", "canary"), 1005.0)
    assert (ended.status, ended.because) == (Status.ROLLED_BACK, "its nodes never became healthy")
    assert not ended.dropped[0].proven
    before, _ = step(TRIAL, Life(), Problem("it cannot be started"), 1005.0)
    assert before.status is Status.STOPPED
    fresh, _ = step(TRIAL, begun(), Problem("exited", "baseline"), 1005.0)
    assert (fresh.status, fresh.because) == (Status.INCONCLUSIVE, "baseline: exited")


def test_a_person_ends_it() -> None:
    ended, commands = step(TRIAL, begun(), Stop("ann", "lunch"), 1005.0)
    assert (ended.status, ended.because) == (Status.STOPPED, "stopped by ann: lunch")
    assert commands[0] == Disarm()
    assert step(TRIAL, Life(), Stop("ann"), 1.0)[1] == (Ended(Status.STOPPED, "stopped by ann"),)


def both(life: Life, red: Choice, blue: Choice, *winners: str, gains: dict[str, float] | None = None) -> Looked:
    goals = {
        arm: Reading(
            Choice.ROLL_BACK if arm in winners else Choice.GO_ON,
            "better",
            (
                MetricReading(
                    Metric("played", Kind.MEAN, Harm.MORE, 1.0, 1.0),
                    (1.0, 1.0),
                    (1.0, 1.0),
                    (gains or {}).get(arm, 1.0),
                    0.0,
                    2.0,
                    5.0,
                    0.0,
                    True,
                    False,
                    RULES,
                ),
            ),
            (),
            5.0,
            0.0,
            0.0,
        )
        for arm in ("red", "blue")
    }
    own = {"red": reading(red), "blue": reading(blue)}
    return Looked(own, {"red": 50.0, "blue": 50.0}, life.stretches[-1].from_s, goals)


def test_a_harmful_treatment_leaves_and_the_others_go_on() -> None:
    life = begun(MANY)
    fewer, commands = step(MANY, life, both(life, Choice.ROLL_BACK, Choice.GO_ON), 1010.0)
    assert (fewer.status, fewer.out) == (Status.RUNNING, ("red",))
    assert commands == (Arm(fewer.stretches[-1]),)
    assert (fewer.stretches[-1].dropped, fewer.stretches[-1].share) == (("red",), 0.05)
    assert fewer.because == "red is out: because of roll back; blue stays"
    late, nothing = step(MANY, fewer, both(life, Choice.ROLL_BACK, Choice.GO_ON), 1011.0)
    assert (late.out, nothing) == (("red",), ())
    ended, _ = step(MANY, late, both(life, Choice.ROLL_BACK, Choice.ROLL_BACK), 1012.0)
    assert ended.status is Status.ROLLED_BACK
    assert ended.because == "red: because of roll back; blue: because of roll back"


def test_with_a_goal_harmless_is_not_enough_and_the_better_of_two_wins() -> None:
    life, now_s = begun(MANY), 1000.0
    for _ in MANY.steps[1:]:
        now_s += 60.0
        life, _ = step(MANY, life, both(life, Choice.PROMOTE, Choice.PROMOTE), now_s)
    later = life.since_s + 60.0
    assert step(MANY, life, both(life, Choice.PROMOTE, Choice.PROMOTE), later)[0].status is Status.RUNNING
    assert step(MANY, life, both(life, Choice.PROMOTE, Choice.GO_ON, "blue"), later)[0].status is Status.RUNNING
    chosen, _ = step(
        MANY, life, both(life, Choice.PROMOTE, Choice.PROMOTE, "red", "blue", gains={"red": 1.0, "blue": 2.0}), later
    )
    assert (chosen.status, chosen.winner) == (Status.PROMOTED, "blue")
    assert chosen.because.startswith("blue is better: played difference 2")


def test_a_permanent_trial_counts_its_alarm_and_starts_anew() -> None:
    life = begun(FOR_EVER)
    anew, commands = step(FOR_EVER, life, looked(Choice.ROLL_BACK, life, arm="same"), 1500.0)
    assert (anew.status, anew.turn, anew.alarms_ever) == (Status.RUNNING, 1, 1)
    assert anew.alarms[0].because == "because of roll back"
    assert commands == (Renew(1), Arm(anew.stretches[-1]))
    assert anew.stretches[-1].turn == 1
    later, _ = step(FOR_EVER, anew, looked(Choice.PROMOTE, anew, arm="same"), anew.started_s + 3599.0)
    assert later.status is Status.RUNNING
    renewed, _ = step(FOR_EVER, later, looked(Choice.PROMOTE, anew, arm="same"), anew.started_s + 3600.0)
    assert (renewed.turn, renewed.alarms_ever) == (2, 1)


def events(trial: Trial) -> st.SearchStrategy[Event | str]:
    names = [arm.name for arm in trial.treatments]
    looks = st.builds(
        lambda choices, harm, units, drawn: ("look", choices, harm, units, drawn),
        st.tuples(*(st.sampled_from(Choice) for _ in names)),
        st.floats(-3.0, 6.0),
        st.sampled_from([0.0, 3.0, 30.0]),
        st.booleans(),
    )
    others = st.sampled_from([Tick(), Begin(), Tick(), Problem("gone", names[0])])
    return st.one_of(looks, looks, looks, others, st.just(Stop("ann")))  # type: ignore[arg-type]


def made(told: object, trial: Trial, life: Life) -> Event:
    if not isinstance(told, tuple):
        return told  # type: ignore[return-value]
    _, choices, harm, units, present = told
    names = [arm.name for arm in trial.treatments]
    drawn = (life.stretches[-1 if present else 0].from_s) if life.stretches else 0.0
    readings = {arm: reading(choice, harm=harm) for arm, choice in zip(names, choices, strict=True)}
    return Looked(readings, dict.fromkeys(names, units), drawn)


@pytest.mark.parametrize("trial", [TRIAL, msgspec.structs.replace(MANY, metrics=()), FOR_EVER], ids=lambda one: one.id)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_whatever_happens_ends_have_their_evidence_and_nothing_leaves_them(trial: Trial, data: st.DataObject) -> None:
    life, now_s, every = Life(), 0.0, []
    for told in data.draw(st.lists(st.tuples(events(trial), st.floats(0.0, 400.0)), max_size=40)):
        now_s += told[1]
        event = made(told[0], trial, life)
        before, (life, commands) = life, step(trial, life, event, now_s)
        every += commands
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(life), type=Life) == life
        check(trial, before, event, life, commands, now_s)
    assert sum(isinstance(command, Ended) for command in every) <= 1


def check(trial: Trial, before: Life, event: Event, after: Life, commands: tuple[Command, ...], now_s: float) -> None:
    if before.status.ended:
        assert (after, commands) == (before, ())
        return
    assert after.because
    if after.stretches != before.stretches:
        assert any(isinstance(command, Arm) and command.stretch == after.stretches[-1] for command in commands)
    if after.step > before.step and after.turn == before.turn:
        assert isinstance(event, Looked)
        assert now_s - before.since_s >= trial.step_s
        assert before.status is Status.RUNNING
    if after.status is Status.PROMOTED:
        assert isinstance(event, Looked)
        assert event.readings[after.winner].choice is Choice.PROMOTE
        assert after.winner not in before.out
        assert trial.subject is not Subject.NOTHING
    if after.status is Status.ROLLED_BACK:
        assert {one.arm for one in after.dropped} == {arm.name for arm in trial.treatments}
        assert isinstance(event, Looked | Problem)
    if after.status is Status.INCONCLUSIVE:
        over = now_s >= before.started_s + trial.horizon_s
        assert over or after.because.startswith(("held for", "baseline"))
    if after.status is Status.STOPPED:
        assert isinstance(event, Stop) or before.status is Status.PLANNED
    if isinstance(event, Tick | Looked) and before.running and not after.status.ended and after.turn == before.turn:
        assert now_s < before.started_s + trial.horizon_s
