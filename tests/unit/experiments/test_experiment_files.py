"""Experiments' files, the trials they mean, what OFREP refuses, and viewing compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from experiment_rig import QUICK

from redqueen.errors import InvalidInput
from redqueen.experiments import ofrep, viewing
from redqueen.experiments.evaluation import Evaluation, Reason
from redqueen.experiments.experiment import arm_name, checked, parsed, rollout_of, trial_of, variant_of
from redqueen.trials import planning
from redqueen.trials.history import History

EXAMPLE = Path(__file__).parents[3] / "examples" / "experiment.toml"


def test_the_example_is_an_experiment_that_can_be_judged() -> None:
    found = parsed(EXAMPLE.read_bytes(), "experiment.toml")
    trial = trial_of(found, 1.0)
    assert [arm.variant for arm in trial.treatments] == ["low", "high"]
    assert [plan.name for plan in trial.metrics if plan.goal] == ["play_delay"]
    assert planning.planned(trial, History(), zones=("a",)).goal is not None


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"name": "Rung"}, "name"),
        ({"name": "rung-rollout"}, "name"),
        ({"variants": ()}, "variants"),
        ({"variants": ("a", "A")}, "variants"),
        ({"variants": ("a", "b")}, "goal"),
        ({"goal": "joy"}, "goal"),
        ({"guardrails": ()}, "guardrails"),
        ({"guardrails": ("joy",)}, "guardrails"),
        ({"guardrails": ("starts", "starts")}, "guardrails"),
        ({"steps": (0.5, 0.3)}, "steps"),
        ({"steps": (0.5, 1.0)}, "control"),
        ({"alpha": 0.9}, "alpha"),
        ({"horizon_s": 1.0}, "times"),
    ],
)
def test_a_wrong_experiment_is_refused_with_what_is_wrong(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        checked(msgspec.structs.replace(QUICK, **changes), "file.toml")
    assert key in str(refused.value)
    assert refused.value.hint


TEXTS = ["", "name = 3", "nonsense = 1", 'name = "a"\nflag = "f"\nvariants = "low"', "\xff"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_file_that_is_none_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"file\.toml"):
        parsed(text.encode("latin-1"), "file.toml")


def test_a_winner_of_several_goes_on_where_the_experiment_left_it() -> None:
    several = msgspec.structs.replace(QUICK, variants=("low", "High.2"), goal="starts", steps=(0.1, 0.3, 0.6))
    assert rollout_of(QUICK, "low", 0.0) is None, "a single variant had the widest step"
    rollout = rollout_of(several, "high-2", 0.0)
    assert rollout is not None
    assert rollout.steps == (0.6,)
    assert [(arm.name, arm.variant) for arm in rollout.treatments] == [("high-2", "High.2")]
    assert not any(plan.goal for plan in rollout.metrics)
    assert rollout.salt != trial_of(several, 0.0).salt
    assert variant_of(several, "high-2") == "High.2"
    assert variant_of(several, "control") == ""
    assert arm_name("...") == "variant"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b"[]", "PARSE_ERROR"),
        (b"\xff", "PARSE_ERROR"),
        (b"[" * 5000, "PARSE_ERROR"),
        (b'{"context": 1}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": 1}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": ""}}', "TARGETING_KEY_MISSING"),
        (b'{"context": {"targetingKey": null}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "' + b"x" * 2000 + b'"}}', "INVALID_CONTEXT"),
        (b'{"context": {' + b",".join(b'"a%d": 1' % n for n in range(200)) + b"}}", "INVALID_CONTEXT"),
        (b" " * 70_000, "INVALID_CONTEXT"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused_in_the_protocols_words(body: bytes, code: str) -> None:
    with pytest.raises(ofrep.Refusal) as refused:
        ofrep.read_context(body)
    assert refused.value.code == code
    assert refused.value.details


def test_no_context_is_an_empty_one() -> None:
    assert ofrep.read_context(b"") == ofrep.read_context(b"{}") == ofrep.read_context(b'{"context": {}}') == {}


def test_the_entity_tag_changes_with_flags_and_with_what_they_are_for_somebody() -> None:
    one = ofrep.answer(Evaluation("a", 1, "one", Reason.STATIC, "why"))
    other = ofrep.answer(Evaluation("a", 2, "two", Reason.SPLIT, "why", "t", "arm"))
    tags = {ofrep.etag([one], "v1"), ofrep.etag([other], "v1"), ofrep.etag([one], "v2"), ofrep.etag([], "v1")}
    assert len(tags) == 4
    tag = ofrep.etag([one], "v1")
    assert ofrep.unchanged(f'"x", W/{tag}', tag)
    assert ofrep.unchanged("*", tag)
    assert not ofrep.unchanged("", tag)


def sums(y: np.ndarray, x: np.ndarray) -> list[float]:
    return [float(y.size), y.sum(), (y * y).sum(), x.sum(), (x * x).sum(), (x * y).sum()]


def test_viewing_is_told_sharper_where_the_week_before_is_known_and_plainly_where_it_is_not() -> None:
    rng = np.random.default_rng(3)
    taste = rng.gamma(2.0, 900.0, 4000)
    y = taste + rng.normal(0.0, 200.0, 4000) + np.repeat([60.0, 0.0], 2000)
    new, old = (slice(0, 2000), slice(2000, 4000))
    known = viewing.compared([("new", *sums(y[new], taste[new]), 2000), ("control", *sums(y[old], taste[old]), 2000)])
    watched = known.arms[0]
    assert abs(watched.difference_s - 60.0) < 15.0
    assert watched.low_s is not None
    assert watched.low_s > 20.0, "without the week before the spread alone is 1300 s"
    assert watched.spread_left < 0.1
    assert "CUPED" in known.note
    nothing = np.zeros(2000)
    plain = viewing.compared([("new", *sums(y[new], nothing), 0), ("control", *sums(y[old], nothing), 0)])
    assert plain.arms[0].spread_left == 1.0
    assert plain.arms[0].difference_s == pytest.approx(plain.arms[0].raw_difference_s)
    assert "nothing is adjusted" in plain.note
    assert viewing.compared([("control", *sums(y, y), 0)]).arms == ()
