"""Shares as buckets: widening takes from the control alone, and what cannot be run is refused in words."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.errors import InvalidInput
from redqueen.trials import arming
from redqueen.trials.model import BUCKETS, CONTROL, Audience, MetricPlan, Subject, Trial, TrialArm
from redqueen.trials.populations import arms_of

KEYS = np.random.default_rng(3).integers(0, 1 << 64, 100_000, dtype=np.uint64)


def release(*arms: str, steps: tuple[float, ...] = (0.05, 0.25, 0.5), baseline: str = "fresh") -> Trial:
    names = arms or ("canary",)
    return Trial(
        id="door-r7",
        subject=Subject.RELEASE,
        target="door",
        owner="o",
        because="b",
        salt="s",
        layer="release door",
        treatments=tuple(TrialArm(name, group=f"door--r7-{name}", baseline=baseline) for name in names),
        metrics=(MetricPlan("request_errors", goal=len(names) > 1),),
        steps=steps,
    )


def names_of(trial: Trial, share: float, dropped: tuple[str, ...] = ()) -> np.ndarray:
    armed = arming.armed(trial, share, dropped=dropped)
    return np.array([arm.name for arm in armed.arms])[arms_of(armed, KEYS)]


@given(
    st.lists(st.floats(0.001, arming.WIDEST), min_size=2, max_size=6, unique=True).map(sorted),
    st.integers(1, 4),
    st.sampled_from(["", "fresh"]),
)
def test_arms_cover_every_bucket_once_and_widening_only_takes_from_the_control(
    steps: list[float], count: int, baseline: str
) -> None:
    trial = release(*(f"t{k}" for k in range(count)), steps=tuple(steps), baseline=baseline)
    before: dict[str, tuple[int, int]] = {}
    for share in steps:
        arms = arming.armed(trial, share).arms
        assert [arm.first for arm in arms] == [0, *(arm.last for arm in arms[:-1])]
        assert arms[-1].last == BUCKETS
        own = {arm.name: (arm.first, arm.last) for arm in arms if arm.treatment}
        assert all(own[name][0] == first and own[name][1] >= last for name, (first, last) in before.items())
        before = own


def test_widening_never_moves_a_viewer_between_treatments_or_baselines() -> None:
    trial = release("red", "blue")
    steps = [names_of(trial, share) for share in trial.steps]
    for before, after in pairwise(steps):
        moved = before != after
        assert moved.any()
        assert set(before[moved]) == {CONTROL}
    treated = np.isin(steps[0], ["red", "blue"])
    assert (steps[-1][treated] == steps[0][treated]).all()


def test_a_release_at_half_has_as_many_fresh_nodes_of_today_as_canaries() -> None:
    arms = arming.armed(release(), 0.5).arms
    assert [(arm.name, arm.group, arm.last - arm.first) for arm in arms] == [
        ("canary", "door--r7-canary", BUCKETS // 2),
        ("baseline", "fresh", BUCKETS // 2),
    ]


def test_a_dropped_arms_viewers_are_control_and_nobody_else_moves() -> None:
    trial = release("red", "blue")
    before, after = names_of(trial, 0.5), names_of(trial, 0.5, ("red",))
    moved = before != after
    assert set(before[moved]) == {"red", "red-baseline"}
    assert set(after[moved]) == {CONTROL}


@pytest.mark.parametrize(("dropped", "share"), [((), 0.25 / (0.25 + 0.5)), (("red",), 0.25)])
def test_the_share_that_counts_use_is_that_of_treatment_and_control_alone(
    dropped: tuple[str, ...], share: float
) -> None:
    trial = release("red", "blue")
    assert arming.share_of(trial, 0.5, dropped) == pytest.approx(share)
    names = names_of(trial, 0.5, dropped)
    mine, controls = (names == "blue").sum(), np.isin(names, arming.controls(trial, trial.treatments[1])).sum()
    assert mine / (mine + controls) == pytest.approx(share, abs=0.01)


def test_a_permanent_trial_draws_its_viewers_anew() -> None:
    trial = release()
    first, second = (arms_of(arming.armed(trial, 0.5, turn=turn), KEYS) for turn in (0, 1))
    assert (first != second).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": "Door R7"}, "its id is no name"),
        ({"treatments": ()}, "are not distinct names"),
        ({"treatments": (TrialArm("control"),)}, "are not distinct names"),
        ({"treatments": (TrialArm("my-baseline"),)}, "are not distinct names"),
        ({"steps": (0.5, 0.25)}, "do not grow"),
        ({"steps": ()}, "do not grow"),
        ({"steps": (0.5, 1.0)}, "leaves no control"),
        ({"alpha": 0.0}, "bounds no error"),
        ({"horizon_s": 100.0}, "no room for its steps"),
        ({"hold_s": 0.0}, "no room for its steps"),
        ({"metrics": (MetricPlan("a", goal=True), MetricPlan("b", goal=True))}, "it has 2 goals"),
        ({"treatments": (TrialArm("a"), TrialArm("b")), "metrics": ()}, "need a goal"),
        ({"audience": Audience(devices=("tv",))}, "gateways know neither device"),
    ],
)
def test_a_trial_that_cannot_be_run_is_refused_with_what_would_do(changes: dict[str, object], says: str) -> None:
    wrong = Trial(**{name: getattr(release(), name) for name in Trial.__struct_fields__} | changes)
    with pytest.raises(InvalidInput, match=says) as refused:
        arming.checked(wrong)
    assert refused.value.hint


def test_a_trial_that_can_be_run_is_taken() -> None:
    assert arming.checked(release()) == release()


def test_a_position_is_named_by_the_layer_it_was_given() -> None:
    armed = arming.armed(release(), 0.05, replace(arming.Range(0, 10), trial="door-r7"))
    assert (armed.layer_first, armed.layer_last) == (0, 10)
    assert armed.layer_salt == arming.layer_salt("release door")
