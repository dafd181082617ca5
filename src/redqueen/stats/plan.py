"""What will be judged, fixed as arrays before the first viewer is exposed.

Every metric becomes one row of tests (a tail five), each with its grid of effects, the weights of
its mixtures and its dispersion; two rows of the trial itself come first in their families: are
viewers split as drawn, and do both arms report alike. Effects are turned so that harm is positive.
Refuses metrics whose margin or expectation lies on the harmless side. Enter at `compile_plan`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from redqueen.stats import mixtures
from redqueen.stats.arrays import Bools, Counts, Floats, floats
from redqueen.stats.model import TAIL_QUANTILES, Harm, Kind, Metric, Rules

_REACH = math.log(8.0)
"""Largest log odds ratio on a grid (a bound of `strata`)."""
_REACH_IN_EXPECTED = 12.0
_HARM_SPREAD = 0.4
"""The mixture against "no harm" has half its weight within a factor 1.3 of the expected log ratio."""
_SAFE_SPREAD = 0.15
"""The mixture against "harm at the margin" lies about "no change at all"."""
_MISMATCH_EFFECT = 0.06
"""Log ratio of exposures that the split's test is sharpest for: a beta prior of 1000 viewers."""
_UNEQUAL_EFFECT = 0.4


@dataclass(frozen=True, slots=True)
class Plan:
    """R rows: Nc counts (the split first), then Np proportions (the reports first), then Nm means.

    Arrays over rows: `nodes`, `harm`, `safe`, `both` [R, G]; `zero` (of what is tolerated), `margin` [R]
    (positions in the grid); `divisor` [R] (dispersion); `floors` [R] (0: none); `flipped` [R] (harm is less).
    `rows_of` [K, 5]: each metric's rows, repeated.
    """

    metrics: tuple[Metric, ...]
    strata: int
    rules: Rules
    nodes: Floats
    zero: Counts
    margin: Counts
    harm: Floats
    safe: Floats
    both: Floats
    divisor: Floats
    floors: Floats
    flipped: Bools
    families: tuple[int, int, int]
    rows_of: Counts
    weights: Floats
    guardrails: Bools

    @property
    def log_odds(self) -> Floats:
        """The one grid that all proportions share. Shape [G]."""
        return self.nodes[self.families[0]]


@dataclass(frozen=True, slots=True)
class _Row:
    kind: Kind
    margin: float
    expected: float
    dispersion: float
    flipped: bool
    tolerated: float = 0.0
    floors: tuple[float, ...] = ()


def compile_plan(metrics: Sequence[Metric], strata: int = 1, rules: Rules | None = None) -> Plan:
    """Fix what will be judged. Raises ValueError for a metric that cannot be tested as declared."""
    told = [_checked(metric, strata) for metric in metrics]
    counts = [_Row(Kind.COUNT, _MISMATCH_EFFECT, _MISMATCH_EFFECT, 1.0, False)]
    pairs = [_Row(Kind.PROPORTION, _UNEQUAL_EFFECT, _UNEQUAL_EFFECT, 1.0, False)]
    means: list[_Row] = []
    homes: list[tuple[list[_Row], list[int]]] = []
    for metric, row in zip(metrics, told, strict=True):
        family = {Kind.COUNT: counts, Kind.MEAN: means}.get(metric.kind, pairs)
        copies = len(TAIL_QUANTILES) if metric.kind is Kind.TAIL else 1
        homes.append((family, list(range(len(family), len(family) + copies))))
        own = row.floors or (0.0,) * copies
        family.extend(replace(row, floors=(floor,)) for floor in (own * copies)[:copies])
    starts = {id(counts): 0, id(pairs): len(counts), id(means): len(counts) + len(pairs)}
    rows_of = [[starts[id(family)] + k for k in places] for family, places in homes]
    width = len(TAIL_QUANTILES)
    rows = [*counts, *pairs, *means]
    margins = floats([row.margin for row in rows])
    shared = sorted({row.margin for row in pairs} | {row.tolerated for row in pairs if row.tolerated})
    size = mixtures.NODES + max(len(shared), 2 if any(row.tolerated for row in rows) else 1)
    nodes = np.stack([_nodes(row, shared, size) for row in rows])
    tolerated = floats([row.tolerated for row in rows])
    harm, safe, both = _mixture_weights(rows, nodes)
    return Plan(
        metrics=tuple(metrics),
        strata=strata,
        rules=rules or Rules(),
        nodes=nodes,
        zero=np.abs(nodes - tolerated[:, None]).argmin(axis=-1),
        margin=np.abs(nodes - margins[:, None]).argmin(axis=-1),
        harm=harm,
        safe=safe,
        both=both,
        divisor=floats([row.dispersion for row in rows]),
        floors=floats([row.floors[0] if row.floors else 0.0 for row in rows]),
        flipped=np.array([row.flipped for row in rows], dtype=np.bool_),
        families=(len(counts), len(pairs), len(means)),
        rows_of=np.array([(places * width)[:width] for places in rows_of], dtype=np.intp).reshape(-1, width),
        weights=floats([metric.weight for metric in metrics]),
        guardrails=np.array([metric.guardrail for metric in metrics], dtype=np.bool_),
    )


def _checked(metric: Metric, strata: int) -> _Row:
    sign = 1.0 if metric.harm is Harm.MORE else -1.0
    try:
        margin, expected = (
            sign * (value if metric.kind is Kind.MEAN else math.log(value))
            for value in (metric.margin, metric.expected)
        )
    except ValueError:
        raise ValueError(f"{metric.name}: margin and expected are ratios and must be above 0") from None
    if not (margin > 0 and expected > 0):
        side = "above" if metric.harm is Harm.MORE else "below"
        raise ValueError(f"{metric.name}: margin and expected must lie on the harmful side, {side} no change")
    if metric.kind is not Kind.MEAN and max(margin, expected) > 0.9 * _REACH:
        raise ValueError(f"{metric.name}: margin and expected must lie within a factor 6 of no change")
    if not (metric.dispersion >= 1.0 and metric.weight >= 0.0):
        raise ValueError(f"{metric.name}: dispersion must be at least 1 and weight at least 0")
    if not all(0 <= stratum < strata for stratum in metric.strata):
        raise ValueError(f"{metric.name}: its strata must be among the trial's, 0 to {strata - 1}")
    return _Row(
        metric.kind, margin, expected, metric.dispersion, metric.harm is Harm.LESS, _tolerated(metric), _floors(metric)
    )


def _effect(metric: Metric, value: float) -> float:
    """Return how far `value` lies on the harmful side, as the grid counts it."""
    sign = 1.0 if metric.harm is Harm.MORE else -1.0
    return sign * (value if metric.kind is Kind.MEAN else math.log(value) if value > 0.0 else -math.inf)


def _tolerated(metric: Metric) -> float:
    """Return the harm that is tolerated. Raises ValueError where it is none, or beyond what is looked for."""
    if metric.tolerated is None:
        return 0.0
    tolerated = _effect(metric, metric.tolerated)
    if not 0.0 <= tolerated < min(_effect(metric, metric.margin), _effect(metric, metric.expected)):
        raise ValueError(f"{metric.name}: what is tolerated must lie between no change and margin and expected")
    return tolerated


def _floors(metric: Metric) -> tuple[float, ...]:
    """Return the floors. Raises ValueError where there can be none."""
    wanted = {Kind.PROPORTION: 1, Kind.TAIL: len(TAIL_QUANTILES)}.get(metric.kind, 0)
    if metric.floors and (
        len(metric.floors) != wanted
        or metric.harm is Harm.LESS
        or not all(0.0 <= floor < 1.0 for floor in metric.floors)
    ):
        raise ValueError(f"{metric.name}: takes {wanted} floors in [0, 1), where more is harm")
    return metric.floors


def _mixture_weights(rows: Sequence[_Row], nodes: Floats) -> tuple[Floats, Floats, Floats]:
    """Return each row's weights against "no harm", against "harm at the margin", and for its interval."""
    harm, safe, both = np.zeros_like(nodes), np.zeros_like(nodes), np.zeros_like(nodes)
    for k, row in enumerate(rows):
        harm[k] = mixtures.one_sided_weights(nodes[k], row.tolerated, row.expected - row.tolerated, _HARM_SPREAD)
        safe[k] = mixtures.one_sided_weights(-nodes[k], -row.margin, row.margin, _SAFE_SPREAD)
        both[k] = mixtures.two_sided_weights(nodes[k], 0.5 * row.expected)
    return harm, safe, both


def _nodes(row: _Row, shared: Sequence[float], size: int) -> Floats:
    """Return the row's grid with its margin (proportions: everybody's) put in, ascending; all rows have as many."""
    if row.kind in (Kind.PROPORTION, Kind.TAIL):
        reach, added = _REACH, list(shared)
    else:
        reach, added = max(_REACH_IN_EXPECTED * row.expected, 2.0 * row.margin), [row.margin]
        reach = reach if row.kind is Kind.MEAN else min(reach, _REACH)
        added += [row.tolerated] if row.tolerated else []
    nodes = np.unique(np.concatenate([mixtures.grid(reach), floats(added)]))
    while nodes.size < size:
        middle = int(np.abs(nodes - row.margin).argmin())
        nodes = np.unique(np.append(nodes, 0.5 * (nodes[middle - 1] + nodes[middle])))
    return nodes


def rows_by_kind(plan: Plan) -> Iterator[tuple[int, slice]]:
    """Yield each metric's position and its own rows, in the metrics' order."""
    for position, rows in enumerate(plan.rows_of):
        yield position, slice(int(rows.min()), int(rows.max()) + 1)
