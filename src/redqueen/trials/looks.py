"""From sessions and gateways' figures to what the judge takes: one look for each treatment.

A session counts where its grant put it (trial's arm, device, zone), once, whatever it retried;
one of which nothing was heard is exposed but not reported, and in no metric. Exposed are viewers
who were not in the trial before; a viewer who returns brings units, not exposures. Where a change is
felt before any play, the split is tested by whom api nodes served it first, so that plays which it
prevents show as fewer `starts`. Of a service without players the gateways' figures stand for both.
Control is every arm that is no treatment, its baseline included, except for `request_latency`. Rows
must all be of the stretch that the look is of. Pure. Enter at `looks`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from redqueen.stats.arrays import Counts, Floats
from redqueen.stats.model import CONTROL, TREATMENT, Look
from redqueen.telemetry.model import LATENCY_BOUNDS_MS, Device, FigureBin, SessionRow
from redqueen.trials import arming, metrics
from redqueen.trials.history import rebuffered
from redqueen.trials.life import Stretch
from redqueen.trials.measures import DEVICES, Measure, Measures
from redqueen.trials.model import Trial, TrialArm

FIRSTS_PER_VIEWER = 4.0
"""Requests of one viewer that may all be "first", because a page asks for several things at once.

The test of the split counts viewers: requests are divided by this, as noise is.
"""

_DEVICES = frozenset(device.value for device in Device)

Before = Callable[[int], float]
"""What is known of a viewer from before the trial (CUPED), by key."""


def looks(
    trial: Trial,
    measures: Measures,
    stretch: Stretch,
    span_s: float,
    sessions: Sequence[SessionRow],
    figures: Sequence[FigureBin],
    before: Before | None = None,
) -> dict[str, Look]:
    """Return the look of each treatment that is still in the trial; rows of other trials are passed over."""
    mine = [row for row in sessions if trial.id in row.arms]
    bins = [one for one in figures if one.trial == trial.id]
    share = arming.share_of(trial, stretch.share, stretch.dropped)
    live = [arm for arm in trial.treatments if arm.name not in stretch.dropped]
    return {arm.name: _look(trial, measures, arm, share, span_s, mine, bins, before) for arm in live}


def units(look: Look) -> float:
    """Return how many units of the treatment a look holds."""
    heard = look.reported if look.heard is None else look.heard
    return float(heard[TREATMENT].sum())


def _look(
    trial: Trial,
    measures: Measures,
    arm: TrialArm,
    share: float,
    span_s: float,
    sessions: Sequence[SessionRow],
    figures: Sequence[FigureBin],
    before: Before | None,
) -> Look:
    sides = {arm.name: TREATMENT} | {name: CONTROL for name in arming.controls(trial, arm)}
    rows = [(sides[row.arms[trial.id]], row) for row in sessions if row.arms[trial.id] in sides]
    bins = [(sides[one.arm], one) for one in figures if one.arm in sides]
    places = _Places(measures.zones)
    fresh = arming.baseline_of(trial, arm) if arm.baseline else ""
    told: dict[str, Counts] = {}
    for one in measures.judged:
        if metrics.defined(one.metric).source is metrics.Source.SESSIONS:
            told[one.name] = _of_sessions(one, trial.id, rows, places, before)
        else:
            told[one.name] = _of_figures(one, bins, places, fresh)
    exposed, reported, heard = _seen(trial.id, rows, places) if measures.by_sessions else _asked(bins, places)
    split = _served(bins, places) if trial.early else None
    return Look(span_s, share, exposed, reported, told, heard, split)


class _Places:
    """Where a stratum lies: zone by zone, in each the devices."""

    def __init__(self, zones: Sequence[str]) -> None:
        self._zones = {zone: position * len(DEVICES) for position, zone in enumerate(zones)}
        self._devices = {device.value: position for position, device in enumerate(DEVICES)}
        self.count = max(1, len(zones)) * len(DEVICES)

    def of(self, zone: str, device: str) -> int:
        """Return the stratum; what is unknown counts as the first zone, as another device."""
        return self._zones.get(zone, 0) + self._devices.get(device, len(DEVICES) - 1)


def _seen(trial: str, rows: Iterable[tuple[int, SessionRow]], places: _Places) -> tuple[Floats, Floats, Floats]:
    """Return viewers first exposed, those of them who reported, and all sessions heard of. [2, S] each."""
    exposed, reported, heard = (np.zeros((2, places.count)) for _ in range(3))
    for side, row in rows:
        at = places.of(row.zone, row.device)
        heard[side, at] += row.seq > 0
        if trial in row.first:
            exposed[side, at] += 1
            reported[side, at] += row.seq > 0
    return exposed, reported, heard


def _asked(bins: Iterable[tuple[int, FigureBin]], places: _Places) -> tuple[Floats, Floats, Floats]:
    exposed, heard = np.zeros((2, places.count)), np.zeros((2, places.count))
    for side, one in bins:
        at = places.of(one.zone, Device.OTHER)
        exposed[side, at] += one.first / FIRSTS_PER_VIEWER
        heard[side, at] += one.requests
    return exposed, exposed, heard


def _served(bins: Iterable[tuple[int, FigureBin]], places: _Places) -> Floats:
    """Return the viewers to whom a page or a flag was first served, by api nodes' counts. [2, S]."""
    served = np.zeros((2, places.count))
    for side, one in bins:
        served[side, places.of(one.zone, Device.OTHER)] += one.first
    return served


def _of_sessions(
    measure: Measure, trial: str, rows: Iterable[tuple[int, SessionRow]], places: _Places, before: Before | None
) -> Floats:
    heard = [
        (side, places.of(row.zone, row.device), row)
        for side, row in rows
        if row.seq > 0 and measure.device in ("", _device(row.device))
    ]
    if measure.kind == "count":
        return _counted(heard, trial, places)
    if measure.kind == "proportion":
        return _proportion(heard, _AFFECTED[measure.metric], places)
    if measure.kind == "tail":
        return _tail(heard, measure.thresholds, places)
    return _mean(heard, _VALUES[measure.metric], places, before)


_Heard = Sequence[tuple[int, int, SessionRow]]


def _counted(heard: _Heard, trial: str, places: _Places) -> Floats:
    """Count each viewer once: the play by which they came into the trial, if it started. [2, S]."""
    sums = np.zeros((2, places.count))
    for side, at, row in heard:
        sums[side, at] += trial in row.first and not row.failed
    return sums


def _proportion(heard: _Heard, affected: Callable[[SessionRow], bool | None], places: _Places) -> Floats:
    sums = np.zeros((2, places.count, 2))
    for side, at, row in heard:
        told = affected(row)
        if told is not None:
            sums[side, at, 0] += told
            sums[side, at, 1] += 1
    return sums


def _tail(heard: _Heard, thresholds: Sequence[float], places: _Places) -> Floats:
    sums = np.zeros((2, places.count, 1 + len(thresholds)))
    cuts = np.array([-1.0, *thresholds])
    for side, at, row in heard:
        if row.delay_ms >= 0:
            sums[side, at] += row.delay_ms > cuts
    return sums


def _mean(heard: _Heard, value: Callable[[SessionRow], float | None], places: _Places, before: Before | None) -> Floats:
    """Return units, sums of y and y^2, and where something is known from before of x, x^2 and xy. [2, S, 3 or 6]."""
    sums = np.zeros((2, places.count, 6))
    for side, at, row in heard:
        y = value(row)
        if y is not None:
            x = before(row.viewer) if before else 0.0
            sums[side, at] += (1.0, y, y * y, x, x * x, x * y)
    return sums if before else sums[..., :3].copy()


def _of_figures(measure: Measure, bins: Iterable[tuple[int, FigureBin]], places: _Places, fresh: str) -> Floats:
    if measure.kind == "proportion":
        sums = np.zeros((2, places.count, 2))
        for side, one in bins:
            sums[side, places.of(one.zone, Device.OTHER)] += (min(one.errors, one.requests), one.requests)
        return sums
    sums = np.zeros((2, places.count, 1 + len(measure.thresholds)))
    above = [LATENCY_BOUNDS_MS.index(bound) + 1 for bound in measure.thresholds]
    for side, one in bins:
        # Nodes that were just started are slower by themselves: latency is compared with others as fresh.
        if side == TREATMENT or not fresh or one.arm == fresh:
            row = (sum(one.latency), *(sum(one.latency[start:]) for start in above))
            sums[side, places.of(one.zone, Device.OTHER)] += row
    return sums


def _device(device: str) -> str:
    return device if device in _DEVICES else Device.OTHER.value


def _failed(row: SessionRow) -> bool | None:
    return row.failed


def _stood_still(row: SessionRow) -> bool | None:
    return rebuffered(row) if row.delay_ms >= 0 else None


def _erred(row: SessionRow) -> bool | None:
    return row.errors > 0 if row.delay_ms >= 0 else None


def _log_delay(row: SessionRow) -> float | None:
    return math.log(max(row.delay_ms, 1)) if row.delay_ms >= 0 else None


def _log_bitrate(row: SessionRow) -> float | None:
    return math.log(row.bitrate_bps) if row.bitrate_bps > 0 else None


def _played_s(row: SessionRow) -> float | None:
    return row.played_ms / 1000.0


_AFFECTED: Mapping[str, Callable[[SessionRow], bool | None]] = {
    "start_failures": _failed,
    "rebuffering": _stood_still,
    "playback_errors": _erred,
}
_VALUES: Mapping[str, Callable[[SessionRow], float | None]] = {
    "play_delay": _log_delay,
    "bitrate": _log_bitrate,
    "played": _played_s,
}
