"""What one trial will measure, decided from the catalogue, its own wishes and today's history.

Decided once, before the first viewer is exposed, and stored: margins, thresholds of tails, floors,
noise. Thresholds lie at quantiles of the history; floors of proportions and tails at the margin
times today's odds (a standard error below what was seen, at most CAP), so that a change is proven
harmless by today's level as well as by the control beside it. Without a history the catalogue's
defaults stand, and a note says so. With K treatments each is judged with alpha/K. Every release is
also judged by its failed requests. Pure. Enter at `planned`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from redqueen.errors import InvalidInput
from redqueen.stats.arrays import Floats, floats
from redqueen.stats.dispersion import Noise, learned
from redqueen.stats.model import Harm, Kind
from redqueen.telemetry.model import LATENCY_BOUNDS_MS
from redqueen.trials import metrics
from redqueen.trials.history import KNOWN, KNOWN_OF_DEVICE, History
from redqueen.trials.measures import DEVICES, Measure, Measures
from redqueen.trials.metrics import Definition, Source
from redqueen.trials.model import MetricPlan, Subject, Trial

CAP = 0.05
"""No share of failures above it is ever called harmless because today is bad."""
FEWEST_BLOCKS = 16.0
"""Half hours of A/A trials before their noise is believed; then their likeliest noise is taken, not a bound."""
HEAVIEST = 100.0
LEAST_TOLD = 0.5
"""Share of started plays that must tell an optional metric."""


def planned(
    trial: Trial, today: History, noise: Mapping[str, Noise] | None = None, zones: Sequence[str] = ()
) -> Measures:
    """Return what the trial judges; `noise` of A/A trials by a measure's name. Raises InvalidInput for its metrics."""
    wishes = trial.metrics or tuple(MetricPlan(name) for name in metrics.usual(trial.subject, trial.target))
    if trial.subject is Subject.RELEASE and all(one.name != metrics.REQUEST_ERRORS.name for one in wishes):
        wishes = (*wishes, MetricPlan(metrics.REQUEST_ERRORS.name))
    kept = [one for one in wishes if _told(one, today)]
    judged = tuple(_learned(one, noise or {}) for wish in kept for one in _measures(_wished(wish), today))
    if not judged:
        raise InvalidInput("trial.metrics", f"The trial {trial.id!r} has nothing to judge by.", hint="Name a metric.")
    goal = next((_flipped(_wished(wish)) for wish in kept if wish.goal), None)
    return Measures(
        zones=tuple(zones),
        judged=judged,
        alpha=trial.alpha / len(trial.treatments),
        goal=goal,
        by_sessions=any(_source(one) is Source.SESSIONS for one in kept),
        notes=tuple(_notes(wishes, kept, today)),
    )


def _source(wish: MetricPlan) -> Source:
    return metrics.defined(wish.name).source


def _told(wish: MetricPlan, today: History) -> bool:
    """Tell whether the metric can be heard of at all here."""
    started = today.affected.get("playback_errors", (0, 0))[1]
    told = started >= KNOWN and today.bitrates >= LEAST_TOLD * started
    return wish.goal or told or not metrics.defined(wish.name).optional


def _wished(wish: MetricPlan) -> Definition:
    """Return the catalogue's metric with what the trial sets itself. Raises InvalidInput for what makes no sense."""
    known = metrics.defined(wish.name)
    margin = known.margin if wish.margin is None else _logged(known, wish.margin)
    expected = known.expected if wish.expected is None else _logged(known, wish.expected)
    if wish.margin is not None and wish.expected is None:
        expected = margin
    neutral = 0.0 if known.kind is Kind.MEAN else 1.0
    harmful = [value > neutral if known.harm is Harm.MORE else value < neutral for value in (margin, expected)]
    if not all(harmful) or (known.kind is not Kind.MEAN and not all(1 / 6 <= one <= 6 for one in (margin, expected))):
        side = "above" if known.harm is Harm.MORE else "below"
        raise InvalidInput(
            "trial.metrics",
            f"{wish.name}: a margin of {wish.margin} with {wish.expected} expected cannot be judged.",
            hint=f"Give ratios {side} 1 and within a factor 6 of it, such as {_shown(known):.3g}.",
        )
    if wish.weight is not None and not 0.0 < wish.weight <= HEAVIEST:
        raise InvalidInput(
            "trial.metrics",
            f"{wish.name}: a weight of {wish.weight:g} is no part of the error.",
            hint=f"Give a number above 0 and at most {HEAVIEST:g}; the usual one is {known.weight:g}.",
        )
    far = abs(known.tolerated or 0.0) if known.kind is Kind.MEAN else abs(math.log(known.tolerated or 1.0))
    near = min(abs(one) if known.kind is Kind.MEAN else abs(math.log(one)) for one in (margin, expected))
    return replace(
        known,
        margin=margin,
        expected=expected,
        tolerated=known.tolerated if far < near else None,
        guardrail=known.guardrail if wish.guardrail is None else wish.guardrail,
        weight=known.weight if wish.weight is None else wish.weight,
    )


def _logged(known: Definition, value: float) -> float:
    """Return a margin as it is judged: people give ratios, means of logs are judged by the ratio's log."""
    if known.kind is not Kind.MEAN or known is metrics.PLAYED:
        return value
    return math.log(value) if value > 0 else -math.inf


def _shown(known: Definition) -> float:
    return math.exp(known.margin) if known.kind is Kind.MEAN and known is not metrics.PLAYED else known.margin


def _measures(known: Definition, today: History) -> Iterator[Measure]:
    """Yield the metric, and what it brings along."""
    if known.name == metrics.REQUEST_LATENCY.name:
        yield _latency(known, today)
        return
    yield _measure(known, floors=_floor(known, today))
    if known.name == metrics.PLAY_DELAY.name:
        share = known.weight / metrics.PLAY_DELAY.weight
        tail = replace(
            metrics.PLAY_DELAY_TAIL, weight=metrics.PLAY_DELAY_TAIL.weight * share, guardrail=known.guardrail
        )
        yield _tail(tail, today, "")
        for device in DEVICES:
            own = replace(metrics.PLAY_DELAY_DEVICE, name=f"play_delay:{device}", guardrail=False)
            yield _tail(replace(own, weight=own.weight * share), today, device)


def _measure(
    known: Definition, *, device: str = "", thresholds: tuple[float, ...] = (), floors: tuple[float, ...] = ()
) -> Measure:
    return Measure(
        name=known.name,
        metric=known.name.partition(":")[0],
        kind=known.kind.value,
        harm=known.harm.value,
        margin=known.margin,
        expected=known.expected,
        guardrail=known.guardrail,
        weight=known.weight,
        dispersion=known.noise,
        device=device,
        tolerated=known.tolerated,
        floors=floors,
        thresholds=thresholds,
        words=known.words,
        unit=known.unit,
    )


def _learned(measure: Measure, noise: Mapping[str, Noise]) -> Measure:
    """Return the measure with the noise that A/A trials have shown of it."""
    seen = noise.get(measure.name, Noise())
    phi = learned(seen, confidence=0.5, unknown=measure.dispersion, fewest=FEWEST_BLOCKS)
    return msgspec.structs.replace(measure, dispersion=phi)


def _floor(known: Definition, today: History) -> tuple[float, ...]:
    """Return the share of affected units below which a proportion is harmless."""
    if known.kind is not Kind.PROPORTION or known.floor <= 0.0:
        return ()
    affected, units = today.affected.get(known.name, (0, 0))
    found = float(_at_margin(floats(affected), float(units), known.margin)) if units >= KNOWN else 0.0
    return (max(known.floor, min(found, CAP)),)


def _at_margin(affected: Floats, units: float, margin: float) -> Floats:
    """Return today's share, a standard error below what was seen, with its odds times the margin."""
    seen = affected / units
    sure = np.maximum(seen - np.sqrt(seen * (1.0 - seen) / units), 0.0)
    odds = margin * sure / (1.0 - np.minimum(sure, 1.0 - 1e-9))
    return floats(odds / (1.0 + odds))


def _tail(known: Definition, today: History, device: str) -> Measure:
    """Return a tail of the play delay, of all devices or of one."""
    told = metrics.TAILS[metrics.PLAY_DELAY_DEVICE.name if device else metrics.PLAY_DELAY_TAIL.name]
    delays = today.delays_ms.get(device, floats([]))
    if delays.size < (KNOWN_OF_DEVICE if device else KNOWN):
        return _measure(known, device=device, thresholds=told.thresholds, floors=told.floors)
    cuts = np.quantile(delays, told.quantiles, method="higher")
    above = floats([(delays > cut).sum() for cut in cuts])
    floors = _at_margin(above, float(delays.size), known.margin)
    return _measure(known, device=device, thresholds=tuple(cuts.tolist()), floors=tuple(floors.tolist()))


def _latency(known: Definition, today: History) -> Measure:
    """Return the tail of the requests' latency: the histogram's bounds nearest above today's quantiles."""
    told = metrics.TAILS[metrics.REQUEST_LATENCY.name]
    if today.requests < KNOWN:
        return _measure(known, thresholds=told.thresholds, floors=told.floors)
    counts = floats(today.latency)
    below = np.cumsum(counts)[:-1] / counts.sum()
    where = np.minimum(np.searchsorted(below, told.quantiles), len(LATENCY_BOUNDS_MS) - 1)
    above = (1.0 - below[where]) * counts.sum()
    nominal = 1.0 - floats(told.quantiles)
    # A histogram's bucket may hold everybody: then today's share above is far from the quantile's, which still binds.
    floors = np.maximum(_at_margin(above, float(counts.sum()), known.margin), nominal)
    cuts = [float(LATENCY_BOUNDS_MS[int(at)]) for at in where]
    return _measure(known, thresholds=tuple(cuts), floors=tuple(floors.tolist()))


def _flipped(known: Definition) -> Measure:
    """Return the goal's test: it speaks when the treatment is better by as much as would have been harm."""
    if known.kind is Kind.TAIL:
        raise InvalidInput(
            "trial.metrics", f"{known.name} cannot be a goal: a tail has no single size.", hint="Choose another goal."
        )
    turned = Harm.LESS if known.harm is Harm.MORE else Harm.MORE
    mean = known.kind is Kind.MEAN
    margin, expected = (-one if mean else 1.0 / one for one in (known.margin, known.expected))
    return _measure(
        replace(known, harm=turned, margin=margin, expected=expected, guardrail=False, weight=1.0, tolerated=None)
    )


def _notes(wishes: Sequence[MetricPlan], kept: Sequence[MetricPlan], today: History) -> Iterator[str]:
    left = [one.name for one in wishes if one not in kept]
    if left:
        yield f"{', '.join(left)} is not judged: players have not been telling it"
    names = {one.name for one in kept}
    if any(_source(one) is Source.SESSIONS for one in kept):
        if today.sessions >= KNOWN:
            yield f"thresholds are those of {today.sessions} plays of the last {today.seconds} s"
        else:
            yield f"only {today.sessions} plays are known of the last minutes: declared thresholds are used"
    if metrics.REQUEST_LATENCY.name in names:
        if today.requests >= KNOWN:
            yield f"latency's thresholds are those of {today.requests} requests of the last {today.seconds} s"
        else:
            yield f"only {today.requests} requests are known of the last minutes: declared thresholds are used"
