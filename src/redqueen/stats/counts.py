"""Counts and event rates, conditional on the total: starts, errors, exposures.

Given that an event happened it fell to the treatment with probability
theta = share r / (share r + 1 - share), r the rate ratio. Conditioning on the total cancels any
common rate, however it moves: a drop of 5% of the starts shows under daily swings. `log_likelihood`
feeds the grid of `mixtures`; `log_e_two_sided`, `log_e_more` and `ratio_interval` are the same
test in closed form (beta mixture), `log_e_split` is it for K arms (Dirichlet mixture).
(Lindon & Malek arXiv 2011.03567; Lindon et al. arXiv 2210.08589.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from redqueen.stats import special
from redqueen.stats.arrays import Counts, Floats, floats


def log_likelihood(treatment: Counts, control: Counts, share: Floats, log_ratio: Floats) -> Floats:
    """Return the log-likelihood of each log rate ratio, zero at no effect.

    `treatment`, `control`, `share` [...]: events and the treatment's share of traffic; `log_ratio`
    [..., G]. Returns [..., G].
    """
    events = floats(treatment + control)[..., None]
    mixed = np.log1p(floats(share)[..., None] * np.expm1(log_ratio))
    return treatment[..., None] * log_ratio - events * mixed


def score(treatment: Counts, control: Counts, share: Floats) -> tuple[Floats, Floats]:
    """Return (events of treatment minus expectation, its variance) under no effect."""
    events = floats(treatment + control)
    return treatment - events * share, events * share * (1.0 - share)


def log_e_two_sided(treatment: Counts, control: Counts, share: float, ratio: float, weight: float) -> Floats:
    """Return log E against "the rate ratio is `ratio`"; `weight` > 0 is the beta prior's strength in events."""
    theta, a, b = _prior(share, ratio, weight)
    x, y = floats(treatment), floats(control)
    return special.betaln(a + x, b + y) - special.betaln(a, b) - x * np.log(theta) - y * np.log1p(-theta)


def log_e_more(treatment: Counts, control: Counts, share: float, ratio: float, weight: float) -> Floats:
    """Return log E against "the rate ratio is at most `ratio`"; may be -inf where doubles end."""
    theta, a, b = _prior(share, ratio, weight)
    x, y = floats(treatment), floats(control)
    with np.errstate(divide="ignore"):
        tail = np.log(special.betaincc(a + x, b + y, theta)) - np.log(special.betaincc(a, b, theta))
    return log_e_two_sided(treatment, control, share, ratio, weight) + tail


def log_e_split(events: Counts, shares: Floats, weight: float) -> Floats:
    """Return log E against "events fall to the K arms by `shares`" (sum 1). `events` [..., K]; returns [...]."""
    prior = weight * floats(shares)
    x = floats(events)
    total: Floats = x.sum(axis=-1)
    grown: Floats = special.gammaln(prior + x).sum(axis=-1)
    start = float(special.gammaln(prior).sum() - special.gammaln(weight))
    grown = grown - special.gammaln(weight + total)
    return grown - start - (x * np.log(shares)).sum(-1)


def ratio_interval(
    treatment: float, control: float, share: float, *, alpha: float, weight: float
) -> tuple[float, float]:
    """Return the rate ratios whose two-sided E stays below 1/alpha, by bisection; (0, inf) without events.

    The prior is centred on a ratio of 1 for every ratio asked, so the sets of successive looks belong together.
    """
    theta, a, b = _prior(share, 1.0, weight)
    del theta
    floor = float(special.betaln(a + treatment, b + control) - special.betaln(a, b)) + float(np.log(alpha))

    def excess(log_ratio: float) -> float:
        likelihood = log_likelihood(floats(treatment), floats(control), floats(share), floats([log_ratio]))[0]
        return float(likelihood + treatment * np.log(share) + control * np.log1p(-share)) - floor

    middle = np.log((treatment + 0.5) / (control + 0.5)) - np.log(share / (1.0 - share))
    low = 0.0 if treatment == 0 else float(np.exp(_edge(excess, float(middle), -1.0)))
    high = float("inf") if control == 0 else float(np.exp(_edge(excess, float(middle), 1.0)))
    return low, high


def _prior(share: float, ratio: float, weight: float) -> tuple[float, float, float]:
    theta = share * ratio / (share * ratio + 1.0 - share)
    return theta, weight * theta, weight * (1.0 - theta)


def _edge(excess: Callable[[float], float], inside: float, direction: float) -> float:
    """Return where `excess` falls through zero on one side of `inside`."""
    step = 1e-3
    while excess(inside + direction * step) > 0:
        step *= 2.0
    near, far = inside, inside + direction * step
    for _ in range(60):
        middle = 0.5 * (near + far)
        near, far = (middle, far) if excess(middle) > 0 else (near, middle)
    return far
