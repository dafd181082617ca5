"""How a trial lives: begin, look, widen, hold, drop an arm, end. A pure state machine.

It ends ROLLED_BACK when harm is proven (or a treatment's nodes are reported broken), PROMOTED when
every guardrail is proven harmless and the widest step was stood, INCONCLUSIVE at the horizon or
after a hold that lasts, STOPPED by a person; nothing ends it otherwise and nothing leaves an end.
It widens only after `step_s` at a step without a hold, with viewers seen there, and not while the
evidence of harm grows. Widening costs no error: it is decided from past looks only, each look is
judged by the share under which its viewers were drawn, and an e-value may be looked at, or its
trial's split be changed, by any rule that knows only the past. Enter at `step`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from redqueen.stats.model import Choice, Reading
from redqueen.trials import verdict
from redqueen.trials.life import (
    Alarm,
    Arm,
    Begin,
    Command,
    Disarm,
    Dropped,
    Ended,
    Event,
    Life,
    Looked,
    Problem,
    Renew,
    Stop,
    Stretch,
)
from redqueen.trials.model import Status, Subject, Trial

CALM = math.log(2.0)
"""Log of the E against "no harm" up to which evidence of harm is noise (it starts at E = 1)."""
RECEDED = math.log(2.0)
"""How far above `CALM` evidence must have fallen from its height at this step to be no longer growing."""
LEAST_SEEN = 10
"""Units (sessions; of a service without players, requests) of each treatment at a step before the next."""
SILENT_S = 120.0
"""Time without any look after which the trial is held."""
ALARMS_KEPT = 50


def step(trial: Trial, life: Life, event: Event, now_s: float) -> tuple[Life, tuple[Command, ...]]:
    """Return the state after an event, and what is to be done; an event out of place changes nothing."""
    if life.status.ended:
        return life, ()
    if isinstance(event, Stop):
        return _end(life, Status.STOPPED, verdict.stopped(event.by, event.because), now_s)
    if life.status is Status.PLANNED:
        if isinstance(event, Problem):
            return _end(life, Status.STOPPED, event.because, now_s)
        return _begun(trial, life, now_s) if isinstance(event, Begin) else (life, ())
    if isinstance(event, Problem):
        return _broken(trial, life, event, now_s)
    if isinstance(event, Looked):
        return _looked(trial, life, event, now_s)
    return _late(trial, life, now_s)


def _begun(trial: Trial, life: Life, now_s: float) -> tuple[Life, tuple[Command, ...]]:
    first = Stretch(now_s, trial.steps[0])
    begun = msgspec.structs.replace(
        life,
        status=Status.RUNNING,
        because=verdict.widened(trial, 0),
        started_s=now_s,
        since_s=now_s,
        heard_s=now_s,
        stretches=(first,),
    )
    return begun, (Arm(first),)


def _looked(trial: Trial, life: Life, event: Looked, now_s: float) -> tuple[Life, tuple[Command, ...]]:
    life = _noted(life, event, now_s)
    readings = {arm: one for arm, one in event.readings.items() if arm not in life.out}
    guilty = {arm: one.because for arm, one in readings.items() if one.choice is Choice.ROLL_BACK}
    if guilty:
        return _dropped(trial, life, guilty, now_s, proven=True)
    if not readings:
        return _late(trial, life, now_s)
    holds = [f"{arm}: {one.because}" for arm, one in readings.items() if one.choice is Choice.HOLD]
    if holds:
        return _held(trial, life, "; ".join(holds), now_s)
    life = _resumed(life, now_s)
    wait = _not_yet(trial, life, readings, now_s)
    if not wait and life.step + 1 == len(trial.steps) and trial.subject is not Subject.NOTHING:
        winner = _winner(trial, readings, event.goals)
        if winner:
            because = verdict.promoted(trial, winner, readings[winner], event.goals.get(winner))
            return _end(life, Status.PROMOTED, because, now_s, winner)
    if _over(trial, life, now_s):
        return _at_horizon(trial, life, readings, now_s)
    if not wait and life.step + 1 < len(trial.steps):
        return _widened(trial, life, now_s)
    because = wait or verdict.going_on(readings)
    return msgspec.structs.replace(life, because=because), ()


def _noted(life: Life, event: Looked, now_s: float) -> Life:
    """Count what a look of this step brings; a late look of the step before speaks only through its readings."""
    seen, highest = dict(life.seen), dict(life.highest)
    present = life.stretches[-1].from_s <= event.drawn_s
    for arm, reading in event.readings.items():
        seen[arm] = seen.get(arm, 0.0) + (event.units.get(arm, 0.0) if present else 0.0)
        highest[arm] = max(highest.get(arm, 0.0), reading.log_e_harm)
    return msgspec.structs.replace(life, seen=seen, highest=highest, heard_s=now_s)


def _not_yet(trial: Trial, life: Life, readings: Mapping[str, Reading], now_s: float) -> str:
    """Say why neither a wider step nor a promotion may come now; empty when they may."""
    left_s = life.since_s + trial.step_s - now_s
    if left_s > 0:
        what_next = "go wider" if life.step + 1 < len(trial.steps) else "be promoted"
        return f"at {trial.steps[life.step]:.0%} for another {left_s:.0f} s before it may {what_next}"
    for arm, reading in readings.items():
        if life.seen.get(arm, 0.0) < LEAST_SEEN:
            return f"{life.seen.get(arm, 0.0):.0f} of {LEAST_SEEN} seen of {arm} at this step"
        if _growing(reading.log_e_harm, life.highest.get(arm, 0.0)):
            return f"evidence of harm by {arm} grows: not widened until it recedes"
    return ""


def _growing(now: float, highest: float) -> bool:
    return now > CALM and now > highest - RECEDED


def _winner(trial: Trial, readings: Mapping[str, Reading], goals: Mapping[str, Reading]) -> str:
    """Return the treatment that may have everybody: harmless by every guardrail, and better where there is a goal."""
    harmless = [arm for arm, one in readings.items() if one.choice is Choice.PROMOTE and not verdict.open_segments(one)]
    if not any(metric.goal for metric in trial.metrics):
        return harmless[0] if harmless else ""
    better = [arm for arm in harmless if arm in goals and goals[arm].choice is Choice.ROLL_BACK]
    return max(better, key=lambda arm: verdict.gain(goals[arm]), default="")


def _widened(trial: Trial, life: Life, now_s: float) -> tuple[Life, tuple[Command, ...]]:
    wider = msgspec.structs.replace(life, step=life.step + 1, because=verdict.widened(trial, life.step + 1))
    return _redrawn(trial, wider, now_s)


def _redrawn(trial: Trial, life: Life, now_s: float) -> tuple[Life, tuple[Command, ...]]:
    """Start a stretch as the state now wants it; what is counted by step starts from nothing."""
    stretch = Stretch(now_s, trial.steps[life.step], life.out, life.turn)
    stretches = (*life.stretches, stretch)
    return msgspec.structs.replace(life, stretches=stretches, since_s=now_s, seen={}, highest={}), (Arm(stretch),)


def _dropped(
    trial: Trial, life: Life, guilty: Mapping[str, str], now_s: float, *, proven: bool
) -> tuple[Life, tuple[Command, ...]]:
    """Take treatments out; the trial is over with its last one. A permanent A/A trial counts an alarm instead."""
    because = "; ".join(guilty.values())
    if trial.for_ever and proven:
        alarms = (*life.alarms, Alarm(now_s, life.turn, because))[-ALARMS_KEPT:]
        return _renewed(trial, msgspec.structs.replace(life, alarms=alarms, alarms_ever=life.alarms_ever + 1), now_s)
    gone = tuple(Dropped(arm, why, now_s, proven) for arm, why in guilty.items())
    life = msgspec.structs.replace(life, dropped=(*life.dropped, *gone))
    live = [arm.name for arm in trial.treatments if arm.name not in life.out]
    if not live:
        return _end(life, Status.ROLLED_BACK, verdict.rolled_back(life.dropped), now_s)
    life = _resumed(msgspec.structs.replace(life, because=verdict.without(guilty, live)), now_s, keep=True)
    return _redrawn(trial, life, now_s)


def _broken(trial: Trial, life: Life, event: Problem, now_s: float) -> tuple[Life, tuple[Command, ...]]:
    names = [arm.name for arm in trial.treatments]
    if event.arm and event.arm not in names:
        return _end(life, Status.INCONCLUSIVE, f"{event.arm}: {event.because}", now_s)
    if event.arm in life.out:
        return life, ()
    guilty = {arm: event.because for arm in names if arm not in life.out and event.arm in ("", arm)}
    return _dropped(trial, life, guilty, now_s, proven=False)


def _held(trial: Trial, life: Life, because: str, now_s: float) -> tuple[Life, tuple[Command, ...]]:
    since = life.held_since_s if life.status is Status.HELD else now_s
    life = msgspec.structs.replace(life, status=Status.HELD, held_since_s=since, because=because)
    if now_s - since >= trial.hold_s:
        return _given_up(trial, life, verdict.held_too_long(trial, because), now_s)
    if _over(trial, life, now_s):
        return _given_up(trial, life, verdict.held_at_horizon(because), now_s)
    return life, ()


def _resumed(life: Life, now_s: float, *, keep: bool = False) -> Life:
    """End a hold: the time at this step counts anew. `keep` leaves the reason as it is."""
    if life.status is not Status.HELD:
        return life
    because = life.because if keep else "the measurement is sound again"
    return msgspec.structs.replace(life, status=Status.RUNNING, held_since_s=0.0, since_s=now_s, because=because)


def _late(trial: Trial, life: Life, now_s: float) -> tuple[Life, tuple[Command, ...]]:
    """Nothing was read: a silence holds, and what is due by the clock happens."""
    if life.status is Status.HELD or now_s - life.heard_s >= SILENT_S:
        silent = now_s - life.heard_s >= SILENT_S
        return _held(trial, life, verdict.silent(now_s - life.heard_s) if silent else life.because, now_s)
    return _at_horizon(trial, life, {}, now_s) if _over(trial, life, now_s) else (life, ())


def _over(trial: Trial, life: Life, now_s: float) -> bool:
    return now_s >= life.started_s + trial.horizon_s


def _at_horizon(
    trial: Trial, life: Life, readings: Mapping[str, Reading], now_s: float
) -> tuple[Life, tuple[Command, ...]]:
    reached = life.step + 1 == len(trial.steps)
    because = verdict.inconclusive(trial, readings, life.because if not reached else "", trial.steps[life.step])
    return _given_up(trial, life, because, now_s)


def _given_up(trial: Trial, life: Life, because: str, now_s: float) -> tuple[Life, tuple[Command, ...]]:
    if trial.for_ever:
        return _renewed(trial, life, now_s)
    return _end(life, Status.INCONCLUSIVE, because, now_s)


def _renewed(trial: Trial, life: Life, now_s: float) -> tuple[Life, tuple[Command, ...]]:
    turn = life.turn + 1
    anew = Life(turn=turn, alarms=life.alarms, alarms_ever=life.alarms_ever)
    first = Stretch(now_s, trial.steps[0], turn=turn)
    begun, _ = _begun(trial, anew, now_s)
    return msgspec.structs.replace(begun, stretches=(first,)), (Renew(turn), Arm(first))


def _end(life: Life, status: Status, because: str, now_s: float, winner: str = "") -> tuple[Life, tuple[Command, ...]]:
    armed = life.running
    ended = msgspec.structs.replace(life, status=status, because=because, ended_s=now_s, winner=winner)
    return ended, ((Disarm(),) if armed else ()) + (Ended(status, because, winner),)
