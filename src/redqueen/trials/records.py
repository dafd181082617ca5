"""What is kept of a trial: looks and evidence to the bit, readings and their course for people.

Looks and evidence are stored as msgpack of raw little-endian doubles, so that judging the stored
looks again gives the stored evidence bit for bit (on the same build of numpy; looks are compressed,
most of their strata being empty). `TrialRecord` is what API, command line and console show; its
trace keeps at most TRACED points, thinned evenly as the trial grows old. Refuses bytes that are of
another shape. Pure. Enter at `packed_look`, `packed_evidence` and `shown`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import fields

import msgspec
import numpy as np

from redqueen.errors import Broken
from redqueen.stats.arrays import Counts, Floats
from redqueen.stats.evidence import Evidence
from redqueen.stats.model import Look, MetricReading, Reading
from redqueen.trials.life import Alarm, Dropped, Life
from redqueen.trials.measures import Measure, Measures
from redqueen.trials.model import Status, Trial

TRACED = 480
"""Points of a trace; beyond that every second one goes, and new ones come half as often."""


class _Doubles(msgspec.Struct, frozen=True, array_like=True):
    shape: tuple[int, ...]
    raw: bytes


class _Look(msgspec.Struct, frozen=True, array_like=True):
    span_s: float
    share: float
    arrays: dict[str, _Doubles]


class MetricShown(msgspec.Struct, frozen=True, omit_defaults=True):
    """One metric of one treatment at the newest look; bounds that are not finite are None."""

    arm: str
    name: str
    words: str
    unit: str
    device: str
    guardrail: bool
    difference: bool
    """`estimate`, `low`, `high`, `margin` are differences of logs or units; else ratios."""
    margin: float
    treatment: tuple[float, float]
    """(events or sum, units)"""
    control: tuple[float, float]
    estimate: float | None
    low: float | None
    high: float | None
    log_e_harm: float
    log_e_safe: float
    needed_log_e: float
    harmed: bool
    safe: bool
    missing: str
    """What promotion lacks here."""


class Point(msgspec.Struct, frozen=True, array_like=True):
    """One moment of a trace: in the trace's order of rows (estimate, low, high, log E harm, log E safe) each."""

    at_s: float
    share: float
    rows: tuple[tuple[float | None, float | None, float | None, float, float], ...]


class Trace(msgspec.Struct, frozen=True):
    """How readings have gone: `rows` names (arm, metric)."""

    rows: tuple[tuple[str, str], ...] = ()
    points: tuple[Point, ...] = ()
    every_s: float = 1.0
    """Shortest time between two points."""


class TrialRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A trial as people see it."""

    trial: Trial
    status: Status
    because: str
    since_s: float
    """When it got to this step, or into this state."""
    started_s: float
    ended_s: float
    step: int
    share: float
    look: int
    """How many looks were judged."""
    winner: str
    guilty: tuple[str, ...]
    log_e_harm: dict[str, float]
    """Of each treatment, against "no metric is harmed"."""
    metrics: tuple[MetricShown, ...]
    dropped: tuple[Dropped, ...]
    notes: tuple[str, ...]
    """What was decided of the measures before the start."""
    turn: int
    alarms: tuple[Alarm, ...]
    alarms_ever: int


def packed_look(look: Look) -> bytes:
    """Return a look of one trial as bytes."""
    arrays: dict[str, Counts] = {f"bins/{name}": bins for name, bins in look.bins.items()}
    arrays |= {"exposed": look.exposed, "reported": look.reported}
    arrays |= {} if look.heard is None else {"heard": look.heard}
    arrays |= {} if look.split is None else {"split": look.split}
    told = _Look(float(look.span_s), float(look.share), {name: _packed(values) for name, values in arrays.items()})
    return zlib.compress(msgspec.msgpack.encode(told), 1)


def unpacked_look(raw: bytes) -> Look:
    """Return the look that was packed. Raises Broken for other bytes."""
    try:
        told = msgspec.msgpack.decode(zlib.decompress(raw), type=_Look)
        arrays = {name: _unpacked(one) for name, one in told.arrays.items()}
        bins = {name.removeprefix("bins/"): one for name, one in arrays.items() if name.startswith("bins/")}
        exposed, reported = arrays["exposed"], arrays["reported"]
    except (zlib.error, msgspec.MsgspecError, KeyError, ValueError) as error:
        raise _unreadable("look", error) from error
    return Look(told.span_s, told.share, exposed, reported, bins, arrays.get("heard"), arrays.get("split"))


def packed_evidence(states: Mapping[str, Evidence]) -> bytes:
    """Return the evidence of a trial's treatments (by any names) as bytes: equal evidence, equal bytes."""
    told = {
        arm: {field.name: _packed(getattr(state, field.name)) for field in fields(Evidence)}
        for arm, state in sorted(states.items())
    }
    return msgspec.msgpack.encode(told)


def unpacked_evidence(raw: bytes) -> dict[str, Evidence]:
    """Return the evidence that was packed; of no bytes, none. Raises Broken for other bytes."""
    if not raw:
        return {}
    try:
        told = msgspec.msgpack.decode(raw, type=dict[str, dict[str, _Doubles]])
        return {arm: Evidence(**{name: _unpacked(one) for name, one in parts.items()}) for arm, parts in told.items()}
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise _unreadable("evidence", error) from error


def shown(
    trial: Trial, life: Life, measures: Measures | None, looks: int, readings: Mapping[str, Reading]
) -> TrialRecord:
    """Return what people see; `readings` of the newest look, by treatment."""
    judged = {one.name: one for one in measures.judged} if measures else {}
    own = [_metric(arm, one, judged[one.name]) for arm, reading in readings.items() for one in reading.metrics]
    share = trial.steps[life.step] if life.running else 0.0
    return TrialRecord(
        trial=trial,
        status=life.status,
        because=life.because,
        since_s=life.ended_s or life.held_since_s or life.since_s,
        started_s=life.started_s,
        ended_s=life.ended_s,
        step=life.step,
        share=share,
        look=looks,
        winner=life.winner,
        guilty=tuple(dict.fromkeys(name for reading in readings.values() for name in reading.guilty)),
        log_e_harm={arm: reading.log_e_harm for arm, reading in readings.items()},
        metrics=tuple(own),
        dropped=life.dropped,
        notes=measures.notes if measures else (),
        turn=life.turn,
        alarms=life.alarms,
        alarms_ever=life.alarms_ever,
    )


def traced(trace: Trace, at_s: float, share: float, readings: Mapping[str, Reading]) -> Trace:
    """Return the trace with the newest readings, or as it was when they come too soon after the last."""
    if trace.points and at_s - trace.points[-1].at_s < trace.every_s:
        return trace
    known = {(arm, one.name): one for arm, reading in readings.items() for one in reading.metrics}
    rows = trace.rows or tuple(known)
    nothing = (None, None, None, 0.0, 0.0)
    point = Point(at_s, share, tuple(_drawn(known[row]) if row in known else nothing for row in rows))
    points, every_s = (*trace.points, point), trace.every_s
    if len(points) > TRACED:
        points, every_s = points[::2], 2.0 * every_s
    return Trace(rows, points, every_s)


def _drawn(one: MetricReading) -> tuple[float | None, float | None, float | None, float, float]:
    return (_finite(one.estimate), _finite(one.low), _finite(one.high), one.log_e_harm, one.log_e_safe)


def _metric(arm: str, one: MetricReading, measure: Measure) -> MetricShown:
    return MetricShown(
        arm=arm,
        name=one.name,
        words=measure.words,
        unit=measure.unit,
        device=measure.device,
        guardrail=measure.guardrail,
        difference=measure.kind == "mean",
        margin=measure.margin,
        treatment=one.treatment,
        control=one.control,
        estimate=_finite(one.estimate),
        low=_finite(one.low),
        high=_finite(one.high),
        log_e_harm=one.log_e_harm,
        log_e_safe=one.log_e_safe,
        needed_log_e=float(-np.log(one.rules.alpha)),
        harmed=one.harmed,
        safe=one.safe,
        missing=one.missing,
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _packed(values: Counts) -> _Doubles:
    return _Doubles(values.shape, np.ascontiguousarray(values, dtype="<f8").tobytes())


def _unpacked(one: _Doubles) -> Floats:
    return np.frombuffer(one.raw, dtype="<f8").astype(np.float64).reshape(one.shape)


def _unreadable(what: str, error: Exception) -> Broken:
    return Broken("trial.unreadable", f"A trial's {what} cannot be read", why=str(error), hint="Report this")
