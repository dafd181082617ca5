"""The judge on small made-up trials: what it concludes, what it refuses to conclude, and its bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
import pytest

from redqueen.stats import dispersion, judge, weighing
from redqueen.stats.evidence import Evidence, begin
from redqueen.stats.model import Choice, Harm, Kind, Look, Metric, Reading, Rules, Trouble
from redqueen.stats.plan import Plan, compile_plan

METRICS = (
    Metric("failures", Kind.PROPORTION, Harm.MORE, 1.5, 2.0),
    Metric("starts", Kind.COUNT, Harm.LESS, 0.9, 0.9),
    Metric("delay", Kind.MEAN, Harm.MORE, float(np.log(1.1)), float(np.log(1.2))),
    Metric("slow tail", Kind.TAIL, Harm.MORE, 1.5, 1.5, guardrail=False),
)
PLAN = compile_plan(METRICS, strata=2)


def viewers(
    seed: int = 1,
    *,
    looks: int = 60,
    rate: float = 150.0,
    failures: float = 1.0,
    starts: float = 1.0,
    delay: float = 1.0,
    reports: tuple[float, float] = (0.98, 0.98),
    share: float = 0.5,
    leak: float = 0.0,
    span_s: float = 60.0,
) -> Iterator[Look]:
    """Make looks of two strata: `rate` exposures a look and stratum in all, effects on the treatment."""
    rng = np.random.default_rng(seed)
    cut = np.array([1.0, 0.5, 0.25, 0.1, 0.05, 0.01])
    shares = np.array([[share - leak], [1 - share + leak]])
    for _ in range(looks):
        exposed = rng.poisson(2 * rate * shares * np.ones((2, 2)))
        reported = rng.binomial(exposed, np.array(reports)[:, None])
        begun = np.stack([rng.binomial(reported[0], starts), reported[1]])
        failed = rng.binomial(begun, np.array([[0.01 * failures], [0.01]]))
        normal = 0.7 * np.sqrt(begun) * rng.standard_normal((2, 2)) + begun * np.array([[np.log(delay)], [0.0]])
        squares = 0.49 * begun + normal**2 / np.maximum(begun, 1)
        slow = np.stack([begun, *(rng.binomial(begun, p) for p in cut[1:])], axis=-1)
        yield Look(
            span_s=span_s,
            share=share,
            exposed=exposed,
            reported=reported,
            bins={
                "failures": np.stack([failed, begun], axis=-1),
                "starts": begun,
                "delay": np.stack([begun, normal, squares], axis=-1),
                "slow tail": slow,
            },
        )


def through(looks: Iterator[Look], plan: Plan = PLAN) -> tuple[Evidence, list[Reading]]:
    state, readings = begin(plan), []
    for look in looks:
        state = judge.step(plan, state, look)
        readings.append(judge.judge(plan, state))
    return state, readings


def test_a_harmless_change_is_promoted_and_every_interval_holds_no_change() -> None:
    _, readings = through(viewers(2, looks=40))
    last = readings[-1]
    assert last.choice is Choice.PROMOTE, last.because
    assert readings[0].choice is Choice.GO_ON
    assert "failures" in readings[0].because
    for metric in last.metrics:
        assert metric.low <= (0.0 if metric.name == "delay" else 1.0) <= metric.high
        assert metric.missing == ""


@pytest.mark.parametrize(
    ("effect", "guilty"),
    [({"failures": 3.0}, "failures"), ({"starts": 0.85}, "starts"), ({"delay": 1.25}, "delay")],
)
def test_a_harmful_change_is_rolled_back_and_the_guilty_metric_named(effect: dict[str, float], guilty: str) -> None:
    _, readings = through(viewers(3, **effect))  # type: ignore[arg-type]
    last = readings[-1]
    assert last.choice is Choice.ROLL_BACK
    assert guilty in last.guilty
    assert guilty in last.because
    assert all(reading.choice is not Choice.PROMOTE for reading in readings)


def test_a_rollback_stays_even_when_later_bins_take_the_evidence_back() -> None:
    state, readings = through(viewers(3, looks=15, failures=4.0))
    assert readings[-1].choice is Choice.ROLL_BACK
    for look in viewers(4, looks=40, failures=0.1):
        state = judge.step(PLAN, state, look)
    assert judge.judge(PLAN, state).log_e_harm < 0
    assert judge.judge(PLAN, state).choice is Choice.ROLL_BACK


def test_a_split_that_is_not_as_drawn_holds_and_is_no_evidence_of_harm() -> None:
    _, readings = through(viewers(5, leak=0.05))
    last = readings[-1]
    assert last.choice is Choice.HOLD
    assert last.holds[0].trouble is Trouble.MISMATCH
    assert all(reading.choice in (Choice.GO_ON, Choice.HOLD) for reading in readings)


def test_an_arm_that_falls_silent_holds() -> None:
    state, _ = through(viewers(6, looks=40))
    for look in viewers(7, looks=4, reports=(0.0, 0.98)):
        state = judge.step(PLAN, state, look)
    found = judge.judge(PLAN, state)
    assert found.choice is Choice.HOLD
    assert Trouble.SILENT in {hold.trouble for hold in found.holds}
    assert "treatment" in found.because


def test_reports_that_are_few_or_differ_between_the_arms_hold() -> None:
    _, few = through(viewers(8, reports=(0.8, 0.8)))
    assert few[-1].choice is Choice.HOLD
    assert few[-1].holds[0].trouble is Trouble.THIN
    _, unequal = through(viewers(9, reports=(0.94, 0.99)))
    assert unequal[-1].choice is Choice.HOLD
    assert unequal[-1].holds[0].trouble is Trouble.UNEQUAL


def test_a_metric_that_never_arrives_holds() -> None:
    looks = (replace(look, bins={k: v for k, v in look.bins.items() if k != "delay"}) for look in viewers(10))
    _, readings = through(looks)
    assert readings[-1].choice is Choice.HOLD
    assert "delay" in readings[-1].because


def test_no_traffic_is_never_a_promotion() -> None:
    _, readings = through(viewers(11, rate=0.0))
    assert all(reading.choice in (Choice.GO_ON, Choice.HOLD) for reading in readings)
    assert readings[-1].choice is Choice.HOLD


def test_the_same_looks_give_the_same_bits_alone_and_among_others() -> None:
    alone = [through(viewers(seed, looks=12))[0] for seed in range(9)]
    together, readings = [begin(PLAN) for _ in range(9)], []
    for looks in zip(*(viewers(seed, looks=12) for seed in range(9)), strict=True):
        together, readings = judge.look_all(PLAN, together, looks)
    for one, other in zip(alone, together, strict=True):
        for field in fields(Evidence):
            mine, theirs = getattr(one, field.name), getattr(other, field.name)
            assert np.asarray(mine).tobytes() == np.asarray(theirs).tobytes(), field.name
    assert readings == [judge.judge(PLAN, one) for one in alone]


def test_seconds_are_pooled_until_a_block_holds_enough_so_short_looks_lose_little() -> None:
    plan = compile_plan(METRICS[:1])
    rng = np.random.default_rng(4)
    by_second, by_minute = begin(plan), begin(plan)
    pooled = np.zeros((2, 1, 2))
    for second in range(1800):
        units = rng.poisson(1.0, (2, 1))
        bins = np.stack([rng.binomial(units, [[0.06], [0.02]]), units], axis=-1)
        pooled += bins
        by_second = judge.step(plan, by_second, Look(1.0, 0.5, units, units, {"failures": bins}))
        if second % 60 == 59:
            seen = pooled[..., 1]
            by_minute = judge.step(plan, by_minute, Look(60.0, 0.5, seen, seen, {"failures": pooled}))
            pooled = np.zeros((2, 1, 2))
    assert by_minute.log_e_harm[0] > 5
    assert by_second.log_e_harm[0] > 0.9 * by_minute.log_e_harm[0]


def test_a_changed_split_closes_all_blocks_and_misleads_nobody() -> None:
    looks = [*viewers(12, looks=20), *viewers(13, looks=20, share=0.1)]
    state, readings = through(iter(looks))
    assert readings[-1].choice in (Choice.PROMOTE, Choice.GO_ON)
    assert readings[-1].log_e_mismatch < 2
    assert float(state.share) == 0.1


def test_open_blocks_are_closed_with_the_old_split_before_bins_of_a_new_one_come_in() -> None:
    plan = compile_plan(METRICS[:1])
    few, bins = np.array([[20], [20]]), np.array([[[9, 20]], [[1, 20]]])
    first = judge.step(plan, begin(plan), Look(1.0, 0.5, few, few, {"failures": bins}))
    assert first.log_e_harm[0] == pytest.approx(0.0)
    same = judge.step(plan, first, Look(1.0, 0.5, few, few, {"failures": bins}))
    assert same.open_pairs[1, :, 0, 1].tolist() == [40, 40]
    other = judge.step(plan, first, Look(1.0, 0.1, few, few, {"failures": bins}))
    assert other.open_pairs[1, :, 0, 1].tolist() == [20, 20]
    assert other.log_e_harm[0] > 1.0


def test_a_mean_says_nothing_before_each_arm_has_the_units_it_needs() -> None:
    plan = compile_plan([METRICS[2]])
    units = np.array([[60], [60]])
    bins = np.array([[[60.0, 120.0, 270.0]], [[60.0, 0.0, 30.0]]])
    look = Look(60.0, 0.5, units, units, {"delay": bins})
    early = judge.step(plan, begin(plan), look)
    assert early.log_e_harm[0] == pytest.approx(0.0)
    assert "60 of 100 units" in judge.judge(plan, early).metrics[0].missing
    assert judge.step(plan, early, look).log_e_harm[0] > 10


def test_nothing_is_promoted_while_the_measurement_is_off() -> None:
    state, readings = through(viewers(2, looks=40))
    assert readings[-1].choice is Choice.PROMOTE
    quiet = next(viewers(2, reports=(0.0, 0.0)))
    for _ in range(3):
        state = judge.step(PLAN, state, quiet)
    found = weighing.verdicts(PLAN, state)
    assert bool(found.hold)
    assert not bool(found.promote)


def test_dispersion_learned_elsewhere_takes_force_from_the_evidence() -> None:
    calm, _ = through(viewers(14, looks=30, failures=2.0))
    plan = compile_plan([replace(metric, dispersion=4.0) for metric in METRICS], strata=2)
    wary, _ = through(viewers(14, looks=30, failures=2.0), plan)
    assert wary.log_e_harm[0] < 0.4 * calm.log_e_harm[0]


def test_an_a_a_trial_teaches_the_noise_of_each_metric() -> None:
    state, _ = through(viewers(15, looks=8 * 60, rate=40.0))
    taught = judge.noise(PLAN, state)
    assert taught["failures"].blocks == 8 * 60 * 60 / dispersion.BLOCK_S
    assert 0.5 < taught["failures"].chi_square / taught["failures"].blocks < 3.0
    assert 1.0 <= dispersion.learned(taught["delay"]) < 2.5


def test_harm_of_less_is_the_mirror_of_harm_of_more() -> None:
    more = Metric("m", Kind.PROPORTION, Harm.MORE, 1.5, 2.0)
    less = Metric("m", Kind.PROPORTION, Harm.LESS, 1 / 1.5, 1 / 2.0)
    cells = np.array([[[40, 400]], [[20, 400]]])
    units = cells[..., 1]
    found = []
    for metric, bins in ((more, cells), (less, cells[::-1])):
        plan = compile_plan([metric])
        state = judge.step(plan, begin(plan), Look(60.0, 0.5, units, units, {"m": bins}))
        found.append((state.log_e_harm[0], judge.judge(plan, state).metrics[0]))
    assert found[0][0] == pytest.approx(found[1][0])
    assert found[0][1].estimate == pytest.approx(1 / found[1][1].estimate)
    assert found[0][1].low == pytest.approx(1 / found[1][1].high)


def test_bins_that_cannot_be_are_refused() -> None:
    look = next(viewers(16))
    wrong = {**look.bins, "delay": np.zeros((2, 2))}
    with pytest.raises(ValueError, match="delay: bins must be of shape"):
        judge.step(PLAN, begin(PLAN), replace(look, bins=wrong))
    with pytest.raises(ValueError, match="more affected"):
        judge.step(PLAN, begin(PLAN), replace(look, bins={"failures": np.array([[[5, 3]] * 2] * 2)}))
    with pytest.raises(ValueError, match="share"):
        judge.step(PLAN, begin(PLAN), replace(look, share=1.0))
    with pytest.raises(ValueError, match="exposed"):
        judge.step(PLAN, begin(PLAN), replace(look, exposed=np.zeros(2)))


def test_rules_are_the_trials_own() -> None:
    strict = compile_plan(METRICS, strata=2, rules=Rules(alpha=1e-6))
    _, readings = through(viewers(2, looks=20), strict)
    assert all(reading.choice is Choice.GO_ON for reading in readings)
    assert "of 1000000 against" in readings[-1].metrics[0].missing
