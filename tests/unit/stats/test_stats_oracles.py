"""The formulas beside published implementations and beside exact distributions."""

from __future__ import annotations

import numpy as np
import pytest
import ville
from scipy import special, stats

from redqueen.stats import counts, families, means, mixtures, strata
from redqueen.stats.arrays import floats, log_mean_exp
from redqueen.stats.special import log_inverse_factorials

SAVVI = [
    ((60, 40), 10, 1.865655276791781),
    ((60, 40), 200, 1.593996352712302),
    ((130, 110), 10, 0.43634488112143305),
    ((130, 110), 200, 1.062715377304219),
    ((3, 9), 10, 1.5851393188854448),
]
"""Answers of `savvi` 0.3.1 (its package does not import without undeclared ones, so they are kept here)."""


@pytest.mark.parametrize(("events", "weight", "told"), SAVVI)
def test_the_two_sided_count_test_is_that_of_savvi(events: tuple[int, int], weight: float, told: float) -> None:
    found = counts.log_e_two_sided(np.array(events[0]), np.array(events[1]), 0.5, 1.0, weight)
    assert np.exp(found) == pytest.approx(told, rel=1e-9)


def test_the_split_of_k_arms_is_that_of_savvi() -> None:
    assert np.exp(counts.log_e_split(np.array([30, 30, 60]), floats([0.2, 0.3, 0.5]), 100)) == pytest.approx(
        0.8728389918993154, rel=1e-9
    )
    assert np.exp(counts.log_e_split(np.array([130, 1800]), floats([0.05, 0.95]), 1000)) == pytest.approx(
        22.97577429494068, rel=1e-9
    )


def test_the_one_sided_count_test_has_the_reference_value() -> None:
    found = counts.log_e_more(np.array(60), np.array(40), 0.5, 1.0, 10)
    assert np.exp(found) == pytest.approx(3.62887, abs=5e-6)


def test_a_block_of_a_proportion_is_fishers_noncentral_hypergeometric() -> None:
    log_odds = floats([-2.0, -0.3, 0.0, 0.7, 2.0])
    blocks = [(30, 40, 3, 5), (5, 900, 5, 60), (700, 650, 340, 690), (400, 9000, 100, 2000), (10, 10, 10, 10)]
    cells = [np.array(column) for column in zip(*blocks, strict=True)]
    found = strata.log_likelihood(cells[0], cells[1], cells[2], cells[3], log_odds)
    for row, (treated, controls, affected, total) in zip(found, blocks, strict=True):
        told = [
            stats.nchypergeom_fisher.logpmf(affected, treated + controls, treated, total, np.exp(g)) for g in log_odds
        ]
        assert row - row[2] == pytest.approx(np.array(told) - told[2], abs=1e-6)


def test_the_score_of_a_block_has_the_hypergeometric_mean_and_variance() -> None:
    score, variance = strata.score(np.array(30), np.array(70), np.array(9), np.array(12))
    exact = stats.hypergeom(100, 30, 12)
    assert score == pytest.approx(9 - exact.mean())
    assert variance == pytest.approx(exact.var())


def test_the_peak_of_a_proportions_likelihood_is_the_conditional_odds_ratio() -> None:
    nodes = mixtures.grid(np.log(8.0))
    likelihood = strata.log_likelihood(*(np.array([k]) for k in (500, 480, 31, 49)), nodes)
    told = stats.contingency.odds_ratio([[31, 469], [18, 462]], kind="conditional").statistic
    peak, _, _ = mixtures.interval(likelihood, nodes, likelihood.max(axis=-1) - 3)
    assert np.exp(peak[0]) == pytest.approx(told, rel=0.01)


def test_the_confidence_sequence_of_a_mean_is_that_of_ville() -> None:
    rng = np.random.default_rng(7)
    sample = rng.normal(0.3, 1.0, 4000)
    alpha, planned = 0.05, 1000
    theirs = ville.AsymptoticCS(alpha=alpha, t_opt=planned, intersect=False).fit(sample)
    units = floats(4000.0)
    error = floats(sample.std() / np.sqrt(units))
    mine = means.half_width(error, units, means.tuning(alpha, planned), alpha)
    half = (theirs.upper_[-1] - theirs.lower_[-1]) / 2
    assert float(mine) == pytest.approx(half, rel=0.01)


def test_a_mean_leaves_its_confidence_sequence_when_e_reaches_its_bound() -> None:
    rho2, units, alpha = means.tuning(0.05, 500), floats(800.0), 0.05
    half = means.half_width(floats(0.04), units, rho2, alpha)
    assert np.exp(means.log_e(half, floats(0.04), units, rho2)) == pytest.approx(1 / alpha)


def test_e_bh_and_averages_are_those_of_ville() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        log_e = rng.exponential(2.0, 30) - 0.5
        assert families.e_bh(log_e, 0.1).tolist() == ville.evalues.ebh(np.exp(log_e), alpha=0.1).tolist()
        assert np.exp(log_mean_exp(log_e)) == pytest.approx(ville.evalues.combine(np.exp(log_e)))


@pytest.mark.parametrize("start", [3, 1000, 16_000, 100_000])
@pytest.mark.parametrize("step", [1, -1])
def test_inverse_factorials_agree_with_the_gamma_function_inside_and_beyond_the_table(start: int, step: int) -> None:
    for count in (5, 900, 2000):
        numbers = start + step * np.arange(count)
        told = np.where(numbers < 0, -np.inf, -special.gammaln(np.maximum(numbers, 0) + 1.0))
        assert log_inverse_factorials(np.array([start, 7]), count, step)[0].tolist() == told.tolist()
