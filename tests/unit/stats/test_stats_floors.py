"""Floors, tolerated harm and metrics of some strata: what they promise of the judge's errors."""

from __future__ import annotations

import numpy as np
import pytest

from redqueen.stats import judge, weighing
from redqueen.stats.evidence import begin
from redqueen.stats.floors import log_e_below
from redqueen.stats.model import Harm, Kind, Look, Metric, Trouble
from redqueen.stats.plan import Plan, compile_plan

ALONE = np.full((400, 2, 1), 100)
LIMIT = -np.log(0.05)


def watched(metric: Metric, rates: tuple[float, float], *, looks: int = 40) -> tuple[float, float]:
    """Judge 400 trials of one metric; return in how many harm was proven at the end, and ruled out at any look."""
    plan, rng, units = compile_plan([metric]), np.random.default_rng(5), 100
    state, best = begin(plan, (400,)), np.full(400, -np.inf)
    for _ in range(looks):
        affected = rng.binomial(units, np.array(rates), (400, 2))
        bins = np.stack([affected, np.full((400, 2), units)], axis=-1)[:, :, None, :]
        state = judge.step(plan, state, Look(60.0, 0.5, ALONE, ALONE, {metric.name: bins}))
        best = np.maximum(best, state.log_e_safe[:, 0])
    return float((state.log_e_harm[:, 0] >= LIMIT).mean()), float((best >= LIMIT).mean())


FLOOR = Metric("failures", Kind.PROPORTION, Harm.MORE, 2.0, 2.0, floors=(0.01,))


def test_a_service_that_never_fails_is_proven_harmless_by_its_floor_and_never_without() -> None:
    assert watched(FLOOR, (0.0, 0.0), looks=6) == (0.0, 1.0)
    assert watched(Metric("failures", Kind.PROPORTION, Harm.MORE, 2.0, 2.0), (0.0, 0.0)) == (0.0, 0.0)


def test_harm_at_the_floor_and_the_margin_is_called_harmless_in_at_most_alpha_of_the_trials() -> None:
    assert watched(FLOOR, (0.01, 0.005))[1] <= 0.05


def test_the_floors_evidence_is_an_e_value_at_the_floor() -> None:
    rng = np.random.default_rng(11)
    affected = rng.binomial(800, 0.01, 200_000)
    mean = np.exp(log_e_below(affected, np.full(200_000, 800), np.full(200_000, 0.01))).mean()
    assert mean == pytest.approx(1.0, abs=0.1)


def test_tolerated_harm_rolls_nobody_back_and_more_does() -> None:
    tolerant = Metric("slow", Kind.PROPORTION, Harm.MORE, 3.0, 3.0, tolerated=1.5)
    strict = Metric("slow", Kind.PROPORTION, Harm.MORE, 3.0, 3.0)
    rates = (0.19, 0.14)
    assert watched(tolerant, rates)[0] <= 0.05
    assert watched(strict, rates)[0] > 0.9
    assert watched(tolerant, (0.4, 0.14), looks=10)[0] > 0.95


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tolerated": 0.9}, "between no change and margin"),
        ({"tolerated": 2.5}, "between no change and margin"),
        ({"floors": (0.1, 0.2)}, "takes 1 floors"),
        ({"floors": (1.0,)}, "takes 1 floors"),
        ({"floors": (0.1,), "harm": Harm.LESS, "margin": 0.5, "expected": 0.5}, "where more is harm"),
    ],
)
def test_what_cannot_be_a_floor_or_tolerated_is_refused(changes: dict[str, object], says: str) -> None:
    told = {"name": "m", "kind": Kind.PROPORTION, "harm": Harm.MORE, "margin": 2.0, "expected": 2.0}
    with pytest.raises(ValueError, match=says):
        compile_plan([Metric(**(told | changes))])  # type: ignore[arg-type]


def device_plan() -> Plan:
    shared = {"kind": Kind.PROPORTION, "harm": Harm.MORE, "margin": 2.0, "expected": 2.0}
    return compile_plan([Metric("all", **shared), Metric("tv", **shared, strata=(1,))], strata=2)  # type: ignore[arg-type]


@pytest.mark.parametrize(("on_tv", "held"), [(0, False), (20, True)])
def test_a_metric_of_one_stratum_is_silent_only_when_viewers_there_say_nothing(on_tv: int, held: bool) -> None:
    plan = device_plan()
    state = begin(plan)
    exposed = np.array([[30, on_tv], [30, on_tv]])
    bins = np.zeros((2, 2, 2))
    bins[:, 0, 1] = 30
    for _ in range(3):
        look = Look(60.0, 0.5, exposed, exposed, {"all": bins, "tv": np.zeros((2, 2, 2))})
        state = judge.step(plan, state, look)
    holds = judge.judge(plan, state).holds
    assert [one.trouble for one in holds] == ([Trouble.SILENT] if held else [])


def test_viewers_who_come_back_end_a_silence_though_nobody_new_was_exposed() -> None:
    plan = compile_plan([FLOOR])
    nobody, bins = np.zeros((2, 1)), np.array([[[0, 50]], [[0, 50]]])
    quiet = heard = begin(plan)
    for _ in range(30):
        quiet = judge.step(plan, quiet, Look(60.0, 0.5, nobody, nobody, {"failures": bins}))
        heard = judge.step(plan, heard, Look(60.0, 0.5, nobody, nobody, {"failures": bins}, nobody + 50))
    assert bool(weighing.trouble(plan, quiet).silent.any())
    assert not bool(weighing.trouble(plan, heard).silent.any())
