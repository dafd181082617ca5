"""What a trial judges: from the catalogue, its wishes and today, fixed before the start."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from redqueen.errors import InvalidInput
from redqueen.stats.dispersion import Noise
from redqueen.telemetry.model import LATENCY_BOUNDS_MS
from redqueen.trials import metrics
from redqueen.trials.history import History
from redqueen.trials.measures import Measure, Measures
from redqueen.trials.metrics import CATALOGUE, PLAYED
from redqueen.trials.model import MetricPlan, Subject, Trial, TrialArm
from redqueen.trials.planning import planned

TODAY = History(
    sessions=2000,
    affected={"start_failures": (20, 2000), "playback_errors": (2, 1980), "request_errors": (0, 9000)},
    delays_ms={"": np.arange(1.0, 2001.0), "tv": np.arange(1.0, 401.0), "other": np.arange(1.0, 11.0)},
    bitrates=1980,
    latency=tuple(900 if k == 4 else 100 if k == 9 else 0 for k in range(len(LATENCY_BOUNDS_MS) + 1)),
    seconds=540,
)


def trial(*names: str | MetricPlan, subject: Subject = Subject.FLAG, **more: object) -> Trial:
    wishes = tuple(name if isinstance(name, MetricPlan) else MetricPlan(name) for name in names)
    told = Trial("t", subject, "door", "o", "b", "s", "l", (TrialArm("on"),), wishes)
    return msgspec.structs.replace(told, **more)


def named(measures: Measures) -> dict[str, Measure]:
    return {one.name: one for one in measures.judged}


@pytest.mark.parametrize("today", [TODAY, History()], ids=["history", "none"])
@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_metric_of_the_catalogue_can_be_judged_as_declared(name: str, today: History) -> None:
    measures = planned(trial(MetricPlan(name), "start_failures"), today, zones=("a", "b"))
    assert len(measures.plan().metrics) == len(measures.judged)
    assert measures.strata == 8
    assert all(one.words and one.unit for one in measures.judged)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(measures), type=Measures) == measures


def test_play_delay_brings_its_tail_and_each_kind_of_device_within_its_part_of_the_error() -> None:
    found = named(planned(trial("play_delay"), TODAY))
    assert list(found) == [
        "play_delay",
        "play_delay:tail",
        *(f"play_delay:{one}" for one in ("desktop", "mobile", "tv", "other")),
    ]
    assert [one.guardrail for one in found.values()] == [True, True, False, False, False, False]
    assert sum(one.weight for one in found.values()) == pytest.approx(2.0)
    assert found["play_delay:tv"].judged(2).strata == (2, 6)


def test_thresholds_are_todays_quantiles_and_floors_today_at_the_margin_a_standard_error_below() -> None:
    found = named(planned(trial("play_delay", "start_failures"), TODAY))
    assert found["play_delay:tail"].thresholds == (1001, 1501, 1801, 1901, 1981)
    assert found["play_delay:tv"].thresholds == (201, 241, 281, 321, 361)
    assert found["play_delay:tail"].floors[4] == pytest.approx(2 * (0.0095 - math.sqrt(0.0095 / 2000)), rel=0.02)
    assert found["start_failures"].floors[0] == pytest.approx(1.8 * (0.01 - math.sqrt(0.0099 / 2000)), rel=0.02)


def test_a_bad_day_is_no_licence_to_fail() -> None:
    bad = History(sessions=1000, affected={"start_failures": (400, 1000)})
    assert named(planned(trial("start_failures"), bad))["start_failures"].floors == (0.05,)


def test_without_a_history_declared_thresholds_stand_and_the_trial_says_so() -> None:
    measures = planned(trial("play_delay", "start_failures"), History())
    found = named(measures)
    assert found["play_delay:tail"].thresholds == metrics.TAILS["play_delay:tail"].thresholds
    assert found["start_failures"].floors == (0.01,)
    assert measures.notes == ("only 0 plays are known of the last minutes: declared thresholds are used",)
    few = named(planned(trial("play_delay"), TODAY))["play_delay:other"]
    assert few.thresholds == metrics.TAILS["play_delay:device"].thresholds


def test_latencys_thresholds_are_bounds_of_the_gateways_histogram() -> None:
    found = named(planned(trial("request_latency", subject=Subject.RELEASE), TODAY))["request_latency"]
    assert found.thresholds == (5, 5, 5, 30, 30)
    assert all(0.0 < floor < 1.0 for floor in found.floors)


def test_every_release_is_judged_by_its_failed_requests_too() -> None:
    measures = planned(trial("play_delay", subject=Subject.RELEASE), TODAY)
    assert "request_errors" in named(measures)
    assert measures.by_sessions
    assert not planned(trial(subject=Subject.RELEASE), TODAY).by_sessions
    assert "start_failures" in named(planned(trial(subject=Subject.RELEASE, target="api"), TODAY))


def test_what_players_do_not_tell_is_not_judged_unless_it_is_the_goal() -> None:
    silent = msgspec.structs.replace(trial("bitrate", "start_failures"))
    measures = planned(silent, History())
    assert "bitrate" not in named(measures)
    assert "bitrate is not judged: players have not been telling it" in measures.notes
    assert "bitrate" in named(planned(silent, TODAY))
    assert "bitrate" in named(planned(trial(MetricPlan("bitrate", goal=True)), History()))


def test_the_goals_test_is_turned_about() -> None:
    measures = planned(trial(MetricPlan("start_failures", goal=True), "play_delay"), TODAY)
    assert measures.goal is not None
    assert (measures.goal.harm, measures.goal.margin, measures.goal.guardrail) == ("less", 1 / 1.8, False)
    assert measures.goal_plan() is not None
    delay = planned(trial(MetricPlan("play_delay", goal=True)), TODAY).goal
    assert delay is not None
    assert delay.margin == -CATALOGUE["play_delay"].margin
    assert planned(trial("play_delay"), TODAY).goal_plan() is None


def test_several_treatments_share_the_error() -> None:
    many = trial("start_failures", treatments=(TrialArm("a"), TrialArm("b")))
    measures = planned(many, TODAY)
    assert measures.alpha == 0.025
    assert measures.plan().rules.alpha == 0.025


def test_noise_that_the_permanent_trials_have_shown_is_used_once_there_is_enough() -> None:
    little, much = Noise(8.0, 40.0), Noise(100.0, 250.0)
    for noise, phi in ((little, 1.0), (much, 2.5)):
        found = named(planned(trial("start_failures", "request_errors"), TODAY, {"start_failures": noise}))
        assert found["start_failures"].dispersion == pytest.approx(phi, rel=0.02)
        assert found["request_errors"].dispersion == 2.0


def test_what_a_trial_sets_itself_is_taken_ratios_for_means_too() -> None:
    own = named(planned(trial(MetricPlan("play_delay", margin=1.5, weight=2.0, guardrail=False)), TODAY))
    delay = own["play_delay"]
    assert (delay.margin, delay.expected) == (math.log(1.5), math.log(1.5))
    assert (delay.weight, delay.guardrail) == (2.0, False)
    tight = named(planned(trial(MetricPlan("play_delay", margin=1.01)), TODAY))["play_delay"]
    assert tight.tolerated is None
    assert named(planned(trial(MetricPlan("played", margin=-2.0)), TODAY))[PLAYED.name].margin == -2.0


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (MetricPlan("plays"), "There is no metric 'plays'. Known: bitrate, "),
        (MetricPlan("start_failures", margin=0.5), "Give ratios above 1 and within a factor 6"),
        (MetricPlan("start_failures", margin=0.0), "Give ratios above 1"),
        (MetricPlan("start_failures", margin=9.0), "Give ratios above 1"),
        (MetricPlan("play_delay", margin=0.9), "such as 1.15"),
        (MetricPlan("play_delay", margin=-1.0), "such as 1.15"),
        (MetricPlan("bitrate", margin=1.2, goal=True), "Give ratios below 1"),
        (MetricPlan("request_latency", goal=True), "a tail has no single size"),
        (MetricPlan("start_failures", weight=0.0), "Give a number above 0 and at most 100"),
    ],
)
def test_a_wish_that_cannot_be_judged_is_refused_with_what_would_do(wish: MetricPlan, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        planned(trial(wish), TODAY)
    assert says in str(refused.value).replace("  ", " ")
