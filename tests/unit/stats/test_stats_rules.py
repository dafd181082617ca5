"""Mixtures, families, tails, dispersion, means: what each promises by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.stats import counts, dispersion, families, means, mixtures, strata, tails
from redqueen.stats.arrays import floats
from redqueen.stats.model import Harm, Kind, Metric
from redqueen.stats.plan import compile_plan

GRID = mixtures.grid(np.log(8.0))


def test_the_grid_is_symmetrical_with_nothing_in_the_middle() -> None:
    assert GRID[mixtures.ZERO] == 0.0
    assert pytest.approx(-GRID[::-1]) == GRID
    assert (np.diff(GRID) > 0).all()


@given(st.floats(0.02, 0.98), st.floats(-1.0, 1.0), st.integers(1, 60))
def test_one_sided_evidence_from_counts_never_averages_above_one_under_any_harmless_ratio(
    share: float, benefit: float, events: int
) -> None:
    """Exact, by enumeration: every split of the events, weighed by its probability."""
    weights = mixtures.one_sided_weights(GRID, 0.0, np.log(2.0), 0.8)
    x = np.arange(events + 1)
    likelihood = counts.log_likelihood(x, events - x, floats(share), GRID)
    log_e = mixtures.log_mixture(likelihood, weights) - likelihood[:, mixtures.ZERO]
    ratio = np.exp(-abs(benefit))
    theta = share * ratio / (share * ratio + 1 - share)
    mean = (_binomial(events, theta) * np.exp(log_e)).sum()
    assert mean <= 1 + 1e-9
    if benefit == 0:
        assert mean == pytest.approx(1)


@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 30), st.floats(0, 1.5))
def test_one_sided_evidence_from_proportions_never_averages_above_one(
    treated: int, controls: int, total: int, benefit: float
) -> None:
    total = min(total, treated + controls - 1)
    x = np.arange(max(0, total - controls), min(treated, total) + 1)
    cells = [np.full(x.size, k) for k in (treated, controls)]
    likelihood = strata.log_likelihood(cells[0], cells[1], x, np.full(x.size, total), GRID)
    weights = mixtures.one_sided_weights(GRID, 0.0, np.log(2.0), 0.8)
    e = np.exp(mixtures.log_mixture(likelihood, weights) - likelihood[:, mixtures.ZERO])
    truth = strata.log_likelihood(cells[0], cells[1], x, np.full(x.size, total), floats([-benefit, 0.0]))
    ways = [np.exp(-_log_factorials(k)) for k in (x, treated - x, total - x, controls - total + x)]
    chance = np.prod(ways, axis=0) * np.exp(-benefit * x)
    assert (chance / chance.sum() * e).sum() <= 1 + 1e-9
    assert truth.shape == (x.size, 2)


def test_an_interval_holds_every_node_that_is_likely_enough_and_rounds_outward() -> None:
    score, information = 30.0, 200.0
    likelihood = means.log_likelihood(floats(score), floats(information), GRID)
    peak, low, high = mixtures.interval(likelihood, GRID, floats(likelihood.max() - 4.0))
    half = np.sqrt(2 * 4.0 / information)
    assert float(peak) == pytest.approx(0.15, abs=0.01)
    assert 0.15 - half - 0.05 < float(low) <= 0.15 - half + 1e-3
    assert 0.15 + half - 1e-3 <= float(high) < 0.15 + half + 0.05


def test_an_interval_is_open_where_the_grid_ends_and_nothing_where_nothing_is_likely() -> None:
    flat = np.zeros(GRID.size)
    _, low, high = mixtures.interval(flat, GRID, floats(-1.0))
    assert (float(low), float(high)) == (-np.inf, np.inf)
    _, low, _ = mixtures.interval(flat, GRID, floats(1.0))
    assert np.isnan(low)


def test_the_ratio_interval_holds_the_truth_and_is_open_without_events() -> None:
    low, high = counts.ratio_interval(130.0, 100.0, 0.5, alpha=0.05, weight=200)
    assert low < 1.3 < high
    assert counts.ratio_interval(0.0, 0.0, 0.5, alpha=0.05, weight=200) == (0.0, np.inf)


def test_the_average_proves_harm_whenever_one_metric_does_and_sometimes_before() -> None:
    weights = np.ones(20)
    alone = np.full(20, -50.0)
    alone[3] = np.log(20 / 0.05)
    assert families.log_average(alone, weights) >= np.log(20) - 1e-9
    assert families.bonferroni(alone, weights, 0.05).tolist() == [k == 3 for k in range(20)]
    several = np.full(20, np.log(25.0))
    assert families.log_average(several, weights) > np.log(20)
    assert not families.bonferroni(several, weights, 0.05).any()


def test_promotion_needs_every_guardrail() -> None:
    assert bool(families.all_rejected(np.log([21.0, 30.0]), 0.05))
    assert not bool(families.all_rejected(np.log([21.0, 19.0]), 0.05))


def test_a_running_maximum_is_worth_less_than_an_e_value() -> None:
    assert families.adjusted(np.log([100.0, 1.0, 0.5])) == pytest.approx([np.log(9.0), -np.inf, -np.inf])


def test_exceedances_count_units_at_and_above_each_threshold() -> None:
    histogram = np.array([50, 25, 15, 5, 4, 1])
    positions = tails.thresholds(histogram)
    assert tails.exceedances(histogram, positions).tolist() == [100, 50, 25, 10, 5, 1]
    with pytest.raises(ValueError, match="history"):
        tails.thresholds(np.zeros(4))


def test_quantile_bands_narrow_and_hold_the_truth() -> None:
    rng = np.random.default_rng(3)
    edges = np.linspace(-4, 4, 401)
    for units, width in ((400, 1.6), (40_000, 0.2)):
        histogram = np.histogram(np.clip(rng.standard_normal(units), -3.99, 3.99), edges)[0]
        low, middle, high = tails.bands(histogram, edges, floats([0.5]))[0]
        assert low <= 0.0 <= high
        assert abs(middle) < 0.2
        assert high - low < width
    assert np.isnan(tails.bands(np.zeros(400), edges, floats([0.5]))[0, 1])


def test_dispersion_is_an_upper_bound_that_little_history_makes_cautious() -> None:
    quiet, noisy = dispersion.Noise(200, 200.0), dispersion.Noise(200, 800.0)
    assert 1.0 < dispersion.learned(quiet) < 1.2
    assert 4.0 < dispersion.learned(noisy) < 4.8
    assert dispersion.learned(dispersion.Noise(3, 1.0)) == 3.0
    assert dispersion.learned(dispersion.Noise(100, 100.0) + dispersion.Noise(100, 700.0)) == dispersion.learned(noisy)
    assert dispersion.learned(dispersion.Noise(500, 100.0)) == 1.0


def test_what_was_watched_last_week_sharpens_a_mean() -> None:
    rng = np.random.default_rng(11)
    before = rng.normal(5.0, 2.0, (2, 3000))
    watched = before + rng.normal(0.0, 0.5, (2, 3000)) + np.array([[0.1], [0.0]])
    sums = [np.full(2, 3000.0), watched.sum(1), (watched**2).sum(1)]
    plain = np.stack([*sums], axis=-1)[:, None, :]
    paired = np.stack([*sums, before.sum(1), (before**2).sum(1), (before * watched).sum(1)], axis=-1)[:, None, :]
    score, information = means.combine(means.block(means.with_covariate(plain)))
    sharper, more = means.combine(means.block(means.with_covariate(paired)))
    assert more > 10 * information
    assert float(sharper / more) == pytest.approx(0.1, abs=0.03)
    assert float(score / information) == pytest.approx(watched[0].mean() - watched[1].mean())


def test_a_block_with_an_empty_arm_adds_nothing_to_a_mean() -> None:
    bins = means.with_covariate(np.array([[[50.0, 900.0, 16300.0]], [[0.0, 0.0, 0.0]]]))
    assert means.block(bins)[0, :5].tolist() == [0.0] * 5


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        (Metric("errors", Kind.PROPORTION, Harm.MORE, 0.9, 2.0), "above no change"),
        (Metric("starts", Kind.COUNT, Harm.LESS, 0.95, 1.2), "below no change"),
        (Metric("errors", Kind.COUNT, Harm.MORE, 1.5, -1.0), "above 0"),
        (Metric("errors", Kind.PROPORTION, Harm.MORE, 1.5, 20.0), "factor 6"),
        (Metric("errors", Kind.PROPORTION, Harm.MORE, 1.5, 2.0, dispersion=0.5), "dispersion"),
        (Metric("errors", Kind.PROPORTION, Harm.MORE, 1.5, 2.0, strata=(1,)), "among the trial's, 0 to 0"),
    ],
)
def test_a_metric_that_cannot_be_tested_as_declared_is_refused(metric: Metric, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        compile_plan([metric])


def _binomial(events: int, theta: float) -> np.ndarray:
    x = np.arange(events + 1)
    logs = _log_factorials(np.array([events])) - _log_factorials(x) - _log_factorials(events - x)
    return np.exp(logs + x * np.log(theta) + (events - x) * np.log1p(-theta))


def _log_factorials(values: np.ndarray) -> np.ndarray:
    return np.array([np.log(np.arange(1, value + 1)).sum() for value in values])
