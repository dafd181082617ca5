"""From rows to looks: who counts where, once, and against whom."""

from __future__ import annotations

import math

import msgspec
import pytest

from redqueen.stats import judge
from redqueen.stats.evidence import begin
from redqueen.telemetry.model import LATENCY_BOUNDS_MS, FigureBin, SessionRow
from redqueen.trials import looks as making
from redqueen.trials.history import History, history
from redqueen.trials.life import Stretch
from redqueen.trials.model import MetricPlan, Subject, Trial, TrialArm
from redqueen.trials.planning import planned

TRIAL = Trial(
    id="api-r2",
    subject=Subject.RELEASE,
    target="api",
    owner="o",
    because="b",
    salt="s",
    layer="l",
    treatments=(TrialArm("canary", "g", baseline="fresh"),),
    metrics=tuple(
        MetricPlan(name)
        for name in (
            "start_failures",
            "play_delay",
            "rebuffering",
            "playback_errors",
            "starts",
            "played",
            "request_errors",
            "request_latency",
        )
    ),
)
ZONES = ("a", "b")
MEASURES = planned(TRIAL, History(), zones=ZONES)
NOW = Stretch(0.0, 0.05)
PLAYED = SessionRow(1, 5, 9, 100, "tv", "b", {"api-r2": "canary"}, ("api-r2",), False, 1200, 18_000, 0, 0, 0, 3_000_000)
BINS = len(LATENCY_BOUNDS_MS) + 1
TV_IN_B = 4 + 2


def row(**more: object) -> SessionRow:
    return msgspec.structs.replace(PLAYED, **more)


def figures(arm: str, *, slow: int = 0, trial: str = "api-r2", **more: int) -> FigureBin:
    latency = [0] * BINS
    latency[4], latency[-1] = 100 - slow, slow
    told = {"requests": 100, "first": 8, "errors": 0} | more
    return FigureBin(100, "g1", "a", "api", trial, arm, told["requests"], told["first"], told["errors"], tuple(latency))


def one(*rows: SessionRow, bins: tuple[FigureBin, ...] = ()) -> making.Look:
    return making.looks(TRIAL, MEASURES, NOW, 1.0, rows, bins)["canary"]


def test_a_session_counts_in_its_arm_and_stratum_once_in_every_metric() -> None:
    look = one(PLAYED, row(session=2, arms={"api-r2": "control"}), row(session=3, arms={"other": "canary"}))
    assert look.exposed[:, TV_IN_B].tolist() == [1, 1]
    assert look.exposed.sum() == look.reported.sum() == 2
    assert look.bins["start_failures"][:, TV_IN_B].tolist() == [[0, 1], [0, 1]]
    assert look.bins["starts"][:, TV_IN_B].tolist() == [1, 1]
    y = math.log(1200)
    assert look.bins["play_delay"][0, TV_IN_B].tolist() == [1, y, y * y]
    assert look.bins["play_delay:tail"][0, TV_IN_B].tolist() == [1, 1, 0, 0, 0, 0]
    assert look.bins["play_delay:tv"][0, TV_IN_B].tolist() == [1, 1, 0, 0, 0, 0]
    assert look.bins["play_delay:mobile"].sum() == 0
    assert making.units(look) == 1


def test_of_a_session_unheard_of_only_the_exposure_is_known() -> None:
    look = one(row(seq=0))
    assert (look.exposed.sum(), look.reported.sum(), making.units(look)) == (1, 0, 0)
    assert all(bins.sum() == 0 for bins in look.bins.values())


def test_a_viewer_who_returns_brings_units_but_is_neither_exposed_nor_a_start_again() -> None:
    look = one(row(first=()))
    assert (look.exposed.sum(), look.bins["starts"].sum()) == (0, 0)
    assert (making.units(look), look.bins["start_failures"].sum()) == (1, 1)


def test_a_failed_start_is_a_failure_and_has_no_delay_and_no_playback() -> None:
    look = one(row(failed=True, delay_ms=-1, errors=1))
    assert look.bins["start_failures"][0, TV_IN_B].tolist() == [1, 1]
    assert look.bins["starts"].sum() == look.bins["play_delay"].sum() == look.bins["playback_errors"].sum() == 0


@pytest.mark.parametrize(("stalled_ms", "affected"), [(100, 0), (200, 1)])
def test_standing_still_for_a_hundredth_of_the_time_is_rebuffering(stalled_ms: int, affected: int) -> None:
    assert one(row(stalls=1, stalled_ms=stalled_ms)).bins["rebuffering"][0, TV_IN_B].tolist() == [affected, 1]


def test_baseline_is_control_but_latency_is_compared_with_the_baseline_alone() -> None:
    bins = (figures("canary", errors=3), figures("baseline", errors=1, slow=10), figures("control", slow=50))
    look = one(row(arms={"api-r2": "baseline"}), bins=(*bins, figures("canary", trial="other")))
    assert look.exposed.sum(axis=1).tolist() == [0, 1]
    assert look.bins["request_errors"].sum(axis=1).tolist() == [[3, 100], [1, 200]]
    assert look.bins["request_latency"][:, 3].tolist() == [[100, 0, 0, 0, 0, 0], [100, 10, 10, 10, 10, 10]]


def test_of_a_service_without_players_the_gateways_tell_who_was_exposed() -> None:
    measures = planned(msgspec.structs.replace(TRIAL, target="door", metrics=()), History(), zones=ZONES)
    assert not measures.by_sessions
    assert [one.name for one in measures.judged] == ["request_errors", "request_latency"]
    look = making.looks(TRIAL, measures, NOW, 1.0, [], [figures("canary"), figures("control")])["canary"]
    assert look.exposed.sum(axis=1).tolist() == look.reported.sum(axis=1).tolist() == [2, 2]
    assert making.units(look) == 100


def test_unknown_zones_and_devices_have_a_stratum_all_the_same() -> None:
    assert one(row(zone="elsewhere", device="fridge")).exposed[0, 3] == 1


def test_what_is_known_of_viewers_from_before_comes_as_a_covariate() -> None:
    look = making.looks(TRIAL, MEASURES, NOW, 1.0, [PLAYED], [], before=lambda viewer: viewer / 3)["canary"]
    assert look.bins["played"][0, TV_IN_B].tolist() == [1, 18, 324, 3, 9, 54]


def test_the_judge_takes_the_look_and_the_share_is_of_treatment_and_control() -> None:
    look = one(PLAYED, row(session=2, arms={"api-r2": "control"}), bins=(figures("canary"), figures("baseline")))
    plan = MEASURES.plan()
    reading = judge.judge(plan, judge.step(plan, begin(plan), look))
    assert look.share == pytest.approx(0.05, abs=1e-6)
    assert [one.treatment[1] for one in reading.metrics if one.name == "start_failures"] == [1.0]


def test_each_of_several_treatments_has_its_look_until_it_is_dropped() -> None:
    trial = msgspec.structs.replace(TRIAL, treatments=(TrialArm("red"), TrialArm("blue")))
    rows = [row(session=k, arms={"api-r2": arm}) for k, arm in enumerate(("red", "blue", "blue", "control"))]
    found = making.looks(trial, MEASURES, Stretch(0.0, 0.5), 1.0, rows, [])
    assert {arm: look.exposed.sum(axis=1).tolist() for arm, look in found.items()} == {"red": [1, 1], "blue": [2, 1]}
    assert list(making.looks(trial, MEASURES, Stretch(0.0, 0.5, ("red",)), 1.0, rows, [])) == ["blue"]


def test_history_leaves_out_whoever_was_in_a_treatment_but_not_the_permanent_trials() -> None:
    rows = [
        row(arms={"aa-even": "same"}),
        row(session=2, arms={"api-r1": "canary"}),
        row(session=3, arms={"api-r1": "baseline"}, failed=True, delay_ms=-1),
        row(session=4, seq=0),
    ]
    today = history(rows, [figures("", trial="", errors=7), figures("canary", errors=9)], "api")
    assert today.sessions == 2
    assert today.affected["start_failures"] == (1, 2)
    assert today.affected["request_errors"] == (7, 100)
    assert today.delays_ms["tv"].tolist() == [1200.0]
    assert today.latency == figures("").latency
    nothing = history([], [], "api")
    assert (nothing.sessions, nothing.requests, nothing.delays_ms[""].size) == (0, 0, 0)
