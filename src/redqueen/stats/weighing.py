"""From kept likelihoods to e-values, and what may be concluded from them.

Harm is believed when the weighted average of the metrics' E reaches 1/alpha while the measurement
is sound, and stays believed (latched). Promotion needs every guardrail's present E against "harm
at the margin". A split that is off, an arm that is silent, reports that are few or differ between
the arms: nothing is concluded. Enter at `weighed`, `trouble` and `verdicts`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from redqueen.stats import families, floors, means, mixtures
from redqueen.stats.arrays import Bools, Counts, Floats, log_mean_exp
from redqueen.stats.evidence import Evidence
from redqueen.stats.plan import Plan

MEMORY_S = 600.0
"""How far back "the share of viewers who report" looks (an exponential window)."""
FEWEST_EXPOSED = 50.0
"""Exposed viewers in that window before their share of reports is judged."""
UNANSWERED = 10.0
"""Exposed viewers without any report that make a silence; without them it takes ten times as long."""

_ALL = slice(None)
_MISLED = 2.0
"""Counts rest on the drawn split: their E is divided by this power of the E that the split is off.

A divided e-value is still one; without this a wrong split is blamed on the change before it is seen.
"""


@dataclass(frozen=True, slots=True)
class Troubles:
    """Which demands on the measurement fail now; [B], or per arm [B, 2], or per metric and arm [B, K, 2]."""

    mismatch: Bools
    unequal: Bools
    thin: Bools
    silent: Bools
    mute: Bools

    @property
    def unsound(self) -> Bools:
        """Tell where nothing at all may be concluded. [B]."""
        return self.mismatch | self.unequal | self.thin.any(axis=-1) | self.silent.any(axis=-1)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What may be concluded, each [B]; where none holds the trial goes on."""

    roll_back: Bools
    hold: Bools
    promote: Bools


def likelihoods(plan: Plan, evidence: Evidence, rows: Counts | slice = _ALL) -> Floats:
    """Return the rows' log-likelihoods on their grids, divided by their dispersion. [B, R, G].

    A mean says nothing before each arm has the units it needs.
    """
    first = plan.families[0] + plan.families[1]
    many = evidence.totals[..., first:, :, 1].min(axis=-1) >= plan.rules.least_units
    known = evidence.scores[..., first:, :] * many[..., None]
    of_means = means.log_likelihood(known[..., 0], known[..., 1], plan.nodes[first:])
    logs: Floats = np.concatenate([evidence.likelihood, of_means], axis=-2)[..., rows, :]
    return np.divide(logs, plan.divisor[rows, None], out=logs)


def weighed(plan: Plan, evidence: Evidence) -> Evidence:
    """Return the state with its e-values; a peak of harm rises only while the measurement is sound."""
    logs = likelihoods(plan, evidence)
    peak = logs.max(axis=-1)
    heights = logs - peak[..., None]
    heights = np.exp(heights, out=heights)
    rows = np.arange(plan.zero.size)
    with np.errstate(divide="ignore"):
        harm = peak + np.log((heights * plan.harm).sum(axis=-1)) - logs[..., rows, plan.zero]
        safe = peak + np.log((heights * plan.safe).sum(axis=-1)) - logs[..., rows, plan.margin]
    safe = floors.relieved(safe, evidence.totals, plan.floors, plan.divisor)
    own = [0, plan.families[0]]
    split = mixtures.log_mixture(logs[..., own, :], plan.both[own]) - logs[..., own, plan.zero[own]]
    misled = _MISLED * np.where(plan.rows_of[:, 0] < plan.families[0], np.maximum(split[..., :1], 0.0), 0.0)
    of_metrics = log_mean_exp(harm[..., plan.rows_of]) - misled
    together = families.log_average(of_metrics, plan.weights)[..., None]
    evidence = replace(
        evidence,
        log_e_harm=of_metrics,
        log_e_safe=safe[..., plan.rows_of].min(axis=-1) - misled,
        peaks=np.concatenate([evidence.peaks[..., :-2], np.maximum(evidence.peaks[..., -2:], split)], axis=-1),
    )
    risen = np.maximum(evidence.peaks[..., :-2], np.concatenate([of_metrics, together], axis=-1))
    stays = trouble(plan, evidence).unsound[..., None]
    kept = np.where(stays, evidence.peaks[..., :-2], risen)
    return replace(evidence, peaks=np.concatenate([kept, evidence.peaks[..., -2:]], axis=-1))


def trouble(plan: Plan, evidence: Evidence) -> Troubles:
    """Tell which demands on the measurement itself fail now."""
    limit = -np.log(plan.rules.mismatch_alpha)
    exposed, reported = evidence.window[..., 0], evidence.window[..., 1]
    seconds, unanswered = evidence.silence[..., 0], evidence.silence[..., 1]
    longest = plan.rules.silent_s
    quiet = (seconds >= longest) & ((unanswered >= UNANSWERED) | (seconds >= 10.0 * longest))
    return Troubles(
        mismatch=evidence.peaks[..., -2] >= limit,
        unequal=evidence.peaks[..., -1] >= limit,
        thin=(exposed >= FEWEST_EXPOSED) & (reported < plan.rules.least_reported * exposed),
        silent=quiet[..., 0, :],
        mute=quiet[..., 1:, :],
    )


def verdicts(plan: Plan, evidence: Evidence) -> Verdicts:
    """Conclude: harm that was proven stands; then what is off holds; then safety may be concluded."""
    off = trouble(plan, evidence)
    roll_back = evidence.peaks[..., -3] >= -np.log(plan.rules.alpha)
    hold = ~roll_back & (off.unsound | off.mute.any(axis=(-1, -2)))
    safe = families.all_rejected(evidence.log_e_safe[..., plan.guardrails], plan.rules.alpha)
    promote = ~roll_back & ~hold & safe & bool(plan.guardrails.any()) & (evidence.looks > 0)
    return Verdicts(roll_back, hold, promote)
