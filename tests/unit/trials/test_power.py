"""What a trial will be able to see, said before it starts."""

from __future__ import annotations

from redqueen.trials.history import History
from redqueen.trials.model import MetricPlan, Subject, Trial, TrialArm
from redqueen.trials.planning import planned
from redqueen.trials.power import Forecast, forecast


def told(per_minute: float, steps: tuple[float, ...] = (0.05, 0.25, 0.5), metric: str = "start_failures") -> Forecast:
    trial = Trial("t", Subject.FLAG, "f", "o", "b", "s", "l", (TrialArm("on"),), (MetricPlan(metric),), steps=steps)
    return forecast(trial, planned(trial, History()), History(), per_minute, runs=40)


def test_much_traffic_sees_both_harm_and_its_absence() -> None:
    seen = told(600.0)
    assert (seen.minutes, seen.share) == (59, 0.5)
    assert seen.chances[0].harm > 0.95
    assert seen.chances[0].harmless > 0.95
    assert seen.chances[0].advice == ""


def test_a_thin_slice_is_told_the_wider_one_that_would_do() -> None:
    seen = told(400.0, steps=(0.02,))
    assert seen.chances[0].harm < 0.8
    assert seen.chances[0].advice == "widen the slice to 10%"
    assert told(400.0, steps=(0.1,)).chances[0].harm > 0.7


def test_little_traffic_is_told_what_would_do() -> None:
    seen = told(10.0)
    assert seen.chances[0].harm < 0.5
    assert "a minute would do, or" in seen.chances[0].advice
    assert seen.sentence.startswith("At 10 a minute, 50% of the viewers in it: harm to start_failures (1.00% today)")


def test_of_means_alone_nothing_is_promised() -> None:
    assert told(600.0, metric="played").chances == ()
    assert "only the trial shows" in told(600.0, metric="played").sentence
