"""The sentences of a trial: why it goes on, waits or has ended, and what would have been needed.

The same words go to log, API, command line and console. An end without a conclusion says for each
guardrail that was not settled how much is missing, and about how much longer this traffic would
have taken. Pure. Enter at the function named after what happened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from redqueen.stats.model import Choice, Harm, Kind, MetricReading, Reading, shown_e
from redqueen.trials.life import Dropped
from redqueen.trials.model import Trial

HOPELESS = 0.2
"""Log E below which no rate can be told from how it grew."""
SEGMENT = 0.08
"""Share of the plays from which on a kind of device must be proven harmless by itself before a promotion."""
LONGEST_TOLD = 50.0
"""A need of more than so many times the time passed is told as "much more"."""


def stopped(by: str, because: str) -> str:
    """Say who stopped it."""
    return f"stopped by {by}" + (f": {because}" if because else "")


def widened(trial: Trial, step: int) -> str:
    """Say how many viewers are in it."""
    last = " (the widest step)" if step + 1 == len(trial.steps) else ""
    return f"{trial.steps[step]:.0%} of the viewers are in it{last}"


def going_on(readings: Mapping[str, Reading]) -> str:
    """Say what is still open."""
    return "; ".join(dict.fromkeys(_open(one) for one in readings.values()))


def open_segments(reading: Reading) -> list[str]:
    """Name the metrics of devices not proven harmless, of devices with at least SEGMENT of the plays.

    Decided by numbers of viewers alone, never by what was observed of them: so no error is spent.
    """
    segments = [one for one in reading.metrics if one.metric.strata]
    everybody = sum(_units(one) for one in segments)
    return [one.name for one in segments if not one.safe and _units(one) >= max(1.0, SEGMENT * everybody)]


def _units(one: MetricReading) -> float:
    return one.treatment[1] + one.control[1]


def _open(reading: Reading) -> str:
    names = open_segments(reading) if reading.choice is Choice.PROMOTE else []
    return f"{reading.because}, not yet for {', '.join(names)}" if names else reading.because


def promoted(trial: Trial, winner: str, reading: Reading, goal: Reading | None) -> str:
    """Say what was proven."""
    proofs = [f"{one.name} {told(one)}" for one in reading.metrics if one.metric.guardrail]
    better = f"{winner} is better: {goal.metrics[0].name} {told(goal.metrics[0])}; " if goal else ""
    return f"{better}{reading.because} ({', '.join(proofs)})"


def rolled_back(dropped: Sequence[Dropped]) -> str:
    """Say which treatment did what harm."""
    return "; ".join(one.because if len(dropped) == 1 else f"{one.arm}: {one.because}" for one in dropped)


def without(guilty: Mapping[str, str], live: Sequence[str]) -> str:
    """Say that it goes on with fewer treatments."""
    gone = "; ".join(f"{arm} is out: {because}" for arm, because in guilty.items())
    return f"{gone}; {', '.join(live)} stays"


def silent(seconds: float) -> str:
    """Say that nothing is known."""
    return f"nothing was measured for {seconds:.0f} s"


def held_too_long(trial: Trial, because: str) -> str:
    """Say why nothing could be concluded."""
    return f"held for {trial.hold_s:.0f} s and given up: {because}"


def held_at_horizon(because: str) -> str:
    """Say why nothing could be concluded by the end."""
    return f"its time is up while it was held: {because}"


def inconclusive(trial: Trial, readings: Mapping[str, Reading], waits: str, share: float) -> str:
    """Say what was missing at the horizon, and what would have been needed."""
    lacks = [
        f"{one.name} ({one.missing}; {needed(one, trial.horizon_s)})"
        for reading in readings.values()
        for one in reading.metrics
        if one.missing
    ]
    lacks += [
        name for reading in readings.values() if reading.choice is Choice.PROMOTE for name in open_segments(reading)
    ]
    parts = [f"its {trial.horizon_s:.0f} s are up and neither harm nor safety is proven"]
    if waits:
        parts.append(f"it stood at {share:.0%}: {waits}")
    if lacks:
        parts.append("missing: " + ", ".join(dict.fromkeys(lacks)))
    elif not readings:
        parts.append("no look was judged")
    return "; ".join(parts)


def needed(one: MetricReading, passed_s: float) -> str:
    """Say about how long this traffic would take to rule out harm at the margin, by how its E has grown."""
    if one.treatment[1] == 0:
        return "no viewer of the treatment was counted"
    goal = -math.log(one.rules.alpha)
    if one.log_e_safe < HOPELESS or goal / one.log_e_safe > LONGEST_TOLD:
        return "much more traffic, a longer horizon or a larger margin would be needed"
    factor = goal / one.log_e_safe
    return f"at this traffic about {math.ceil(factor * passed_s / 60.0)} minutes would do"


def told(one: MetricReading) -> str:
    """Write an estimate with its bounds."""
    if one.metric.kind is Kind.MEAN:
        return f"difference {one.estimate:.3g}, between {one.low:.3g} and {one.high:.3g}"
    return f"x{one.estimate:.3g}, between {one.low:.3g} and {one.high:.3g}"


def evidence(one: MetricReading) -> str:
    """Write both E of a metric."""
    return f"E {shown_e(one.log_e_harm)} against no harm, {shown_e(one.log_e_safe)} against harm at the margin"


def gain(goal: Reading) -> float:
    """Return how much better a treatment is by its goal's flipped test (log ratio, or difference)."""
    one = goal.metrics[0]
    size = one.estimate if one.metric.kind is Kind.MEAN else math.log(max(one.estimate, 1e-300))
    return size if one.metric.harm is Harm.MORE else -size
