"""What the last minutes of the players and of a service's gateways say of "today", before a trial starts.

Thresholds and floors come from it. Sessions and requests that were in somebody's treatment are left
out, so that a bad version does not become the measure of the next one; A/A trials change nothing
and stay in. A few dozen sessions say nothing: below KNOWN the declared defaults stand. Pure. Enter
at `history`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from redqueen.stats.arrays import Floats, floats
from redqueen.telemetry.model import LATENCY_BOUNDS_MS, FigureBin, SessionRow
from redqueen.trials.arming import BASELINE
from redqueen.trials.model import CONTROL
from redqueen.trials.permanent import is_permanent

KNOWN = 100
"""Units below which a history is none."""
KNOWN_OF_DEVICE = 50


@dataclass(frozen=True, slots=True)
class History:
    """Today, as it was just before the start."""

    sessions: int = 0
    """Plays that reported."""
    affected: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Of each proportion: affected, all."""
    delays_ms: Mapping[str, Floats] = field(default_factory=dict[str, Floats])
    """Delays to the first frame, ascending, by device; of all under the empty name."""
    bitrates: int = 0
    """Plays that told a bitrate."""
    latency: tuple[int, ...] = ()
    """Requests by LATENCY_BOUNDS_MS."""
    seconds: int = 0

    @property
    def requests(self) -> int:
        """Return how many requests are in it."""
        return sum(self.latency)


def history(sessions: Iterable[SessionRow], figures: Iterable[FigureBin], service: str) -> History:
    """Return what is known of today; `figures` of other services are passed over."""
    rows = [row for row in sessions if row.seq > 0 and not _treated(row)]
    bins = [one for one in figures if one.service == service and one.arm in ("", CONTROL)]
    started = [row for row in rows if row.delay_ms >= 0]
    delays = {
        device: np.sort(floats([row.delay_ms for row in started if device in ("", row.device)]))
        for device in ("", *sorted({row.device for row in started}))
    }
    requests, errors = sum(one.requests for one in bins), sum(one.errors for one in bins)
    timed = [one.latency for one in bins if len(one.latency) == len(LATENCY_BOUNDS_MS) + 1]
    return History(
        sessions=len(rows),
        affected={
            "start_failures": (sum(row.failed for row in rows), len(rows)),
            "rebuffering": (sum(rebuffered(row) for row in started), len(started)),
            "playback_errors": (sum(row.errors > 0 for row in started), len(started)),
            "request_errors": (errors, requests),
        },
        delays_ms=delays,
        bitrates=sum(row.bitrate_bps > 0 for row in started),
        # A second may have requests but no time of any, when no node answered.
        latency=tuple(map(sum, zip(*timed, strict=True))),
        seconds=_seconds([row.second for row in rows] or [one.second for one in bins]),
    )


def rebuffered(row: SessionRow) -> bool:
    """Tell whether a play stood still for more than a hundredth of its time."""
    return row.stalls > 0 and row.stalled_ms * 100 > row.played_ms + row.stalled_ms


def _treated(row: SessionRow) -> bool:
    return any(
        not is_permanent(trial) and arm != CONTROL and not arm.endswith(BASELINE) for trial, arm in row.arms.items()
    )


def _seconds(seen: list[int]) -> int:
    return max(seen) - min(seen) + 1 if seen else 0
