"""All that is kept of a trial while it is judged.

Nothing is ever recomputed from the past, so a look costs the same in the first minute as after a
week. The same looks in the same order give the same bits (on the same build of numpy). Arrays may
carry leading dimensions B, so that thousands of simulated trials run as one. Enter at `begin`;
`judge.step` makes the next state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from redqueen.stats import means
from redqueen.stats.arrays import Floats
from redqueen.stats.plan import Plan


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is kept. B stands for any leading dimensions, S strata, K metrics, R rows, G nodes."""

    likelihood: Floats
    """[B, Nc + Np, G]: log-likelihoods of counts and proportions."""
    kept: Floats
    """[B, Nm, S, PARTS]: sums of means (`means.block`)."""
    open_pairs: Floats
    """[B, Np, 2, S, 2]: proportions whose block is open."""
    open_values: Floats
    """[B, Nm, 2, S, 6]"""
    age_s: Floats
    """[B, Np + Nm, S]: how long each block has been open."""
    share: Floats
    """[B]: the treatment's share at the last look."""
    totals: Floats
    """[B, R, 2, 2]: (events or sum, units) per arm, for people."""
    scores: Floats
    """[B, R, 2]: score and information under no effect so far."""
    scores_before: Floats
    """[B, R, 2]: the same when the present dispersion block began."""
    noise: Floats
    """[B, R, 2]: closed dispersion blocks, and the sum of their chi-squares."""
    noise_age_s: Floats
    """[B]"""
    window: Floats
    """[B, 2, 2]: lately exposed and reported, per arm."""
    silence: Floats
    """[B, K + 1, 2, 2]: (seconds, exposed viewers) since an arm last reported anything (first), and each metric."""
    log_e_harm: Floats
    """[B, K]"""
    log_e_safe: Floats
    """[B, K]"""
    peaks: Floats
    """[B, K + 3]: highest log E so far: per metric, all metrics together, mismatch, unequal reports."""
    looks: Floats
    """[B]"""
    elapsed_s: Floats
    """[B]"""


def begin(plan: Plan, lead: tuple[int, ...] = ()) -> Evidence:
    """Return the state before the first look; `lead` are leading dimensions."""
    n_counts, n_pairs, n_means = plan.families
    rows, size = plan.nodes.shape
    metrics = len(plan.metrics)
    return Evidence(
        likelihood=np.zeros((*lead, n_counts + n_pairs, size)),
        kept=np.zeros((*lead, n_means, plan.strata, means.PARTS)),
        open_pairs=np.zeros((*lead, n_pairs, 2, plan.strata, 2)),
        open_values=np.zeros((*lead, n_means, 2, plan.strata, 6)),
        age_s=np.zeros((*lead, n_pairs + n_means, plan.strata)),
        share=np.zeros(lead),
        totals=np.zeros((*lead, rows, 2, 2)),
        scores=np.zeros((*lead, rows, 2)),
        scores_before=np.zeros((*lead, rows, 2)),
        noise=np.zeros((*lead, rows, 2)),
        noise_age_s=np.zeros(lead),
        window=np.zeros((*lead, 2, 2)),
        silence=np.zeros((*lead, metrics + 1, 2, 2)),
        log_e_harm=np.zeros((*lead, metrics)),
        log_e_safe=np.zeros((*lead, metrics)),
        peaks=np.zeros((*lead, metrics + 3)),
        looks=np.zeros(lead),
        elapsed_s=np.zeros(lead),
    )


def stack(states: Sequence[Evidence]) -> Evidence:
    """Return one state with a leading dimension, of trials that share a plan."""
    names = [field.name for field in fields(Evidence)]
    return Evidence(**{name: np.array([getattr(one, name) for one in states]) for name in names})


def unstack(state: Evidence) -> list[Evidence]:
    """Return the trials of a state with one leading dimension, as views (nothing here is ever changed in place)."""
    names = [field.name for field in fields(Evidence)]
    columns = zip(*(list(getattr(state, name)) for name in names), strict=True)
    return [Evidence(*column) for column in columns]
