"""What viewers saw, as figures: one session's, and a crowd's.

Decides what counts: a failed session is one that met a fatal error; one that was ended before its
first frame is `unstarted`, and its wait counts as a play delay all the same. Refuses to average
stalls away: the crowd's report keeps their number and their seconds. Enter at `Report` and
`summarise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redqueen.testing.viewer.model import Stall


@dataclass(frozen=True, slots=True)
class Setback:
    """One failed request: seconds after the session's start, address, kind of failure, reason."""

    after_s: float
    url: str
    kind: str
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """One session. Times in seconds; `wall_s` is its length, `played_s` the film that was shown."""

    url: str
    started_at: float
    """Seconds since the Unix epoch."""
    wall_s: float
    played_s: float
    play_delay_s: float | None
    stalls: tuple[Stall, ...]
    error: str
    """The fatal error's text, empty when there was none."""
    because: str
    """Why the session ended."""
    ended: bool
    """The film was watched to its end."""
    requests: int
    retries: int
    bytes: int
    switches: int
    connections: int
    heights: tuple[int, ...]
    seek_delays_s: tuple[float, ...]
    setbacks: tuple[Setback, ...]
    """The failed requests, at most the first 50."""

    @property
    def failed(self) -> bool:
        """Tell whether the session met a fatal error."""
        return bool(self.error)

    @property
    def stall_s(self) -> float:
        """Return the seconds that the picture stood still after the first frame."""
        return sum(stall.seconds for stall in self.stalls)


@dataclass(frozen=True, slots=True)
class CrowdReport:
    """Many sessions together."""

    viewers: int
    sessions: int
    starts: int
    unstarted: int
    failed: int
    ended: int
    stalls: int
    stall_s: float
    stalls_at_edge: int
    played_s: float
    requests: int
    retries: int
    bytes: int
    switches: int
    play_delay_median_s: float
    play_delay_p95_s: float
    play_delay_max_s: float
    errors: tuple[str, ...]
    """Different fatal errors, at most 20."""
    reports: tuple[Report, ...]

    @property
    def rebuffer_ratio(self) -> float:
        """Return stalled seconds by seconds of stalling and playing, 0..1."""
        total = self.stall_s + self.played_s
        return self.stall_s / total if total else 0.0


def summarise(viewers: int, reports: Sequence[Report]) -> CrowdReport:
    """Sum up the sessions of `viewers` viewers."""
    delays = sorted(r.wall_s if r.play_delay_s is None else r.play_delay_s for r in reports)
    stalls = [stall for r in reports for stall in r.stalls]
    return CrowdReport(
        viewers=viewers,
        sessions=len(reports),
        starts=sum(r.play_delay_s is not None for r in reports),
        unstarted=sum(r.play_delay_s is None and not r.failed for r in reports),
        failed=sum(r.failed for r in reports),
        ended=sum(r.ended for r in reports),
        stalls=len(stalls),
        stall_s=sum(stall.seconds for stall in stalls),
        stalls_at_edge=sum(stall.at_edge for stall in stalls),
        played_s=sum(r.played_s for r in reports),
        requests=sum(r.requests for r in reports),
        retries=sum(r.retries for r in reports),
        bytes=sum(r.bytes for r in reports),
        switches=sum(r.switches for r in reports),
        play_delay_median_s=_quantile(delays, 0.5),
        play_delay_p95_s=_quantile(delays, 0.95),
        play_delay_max_s=_quantile(delays, 1.0),
        errors=tuple(sorted({r.error for r in reports if r.error}))[:20],
        reports=tuple(reports),
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
