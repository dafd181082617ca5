"""Whom a service harmed: what each light viewer met, summed up by the arm of a trial; pure.

Decides what harm is: a start that failed though the viewer's own luck would have let it begin, or
answers that took longer than a viewer notices. Refuses to count as harm what would have failed
anyway. Enter at `Played` and `summed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from redqueen.telemetry.model import START_LIMIT_S


@dataclass(frozen=True, slots=True)
class Felt:
    """What a viewer felt of one address: the failure after every try (empty: none), tries and pauses in seconds."""

    failure: str = ""
    seconds: float = 0.0
    own_s: float | None = None
    """Of `seconds`, what the service owns to have taken (Server-Timing), pauses included; None: it says nothing."""


@dataclass(frozen=True, slots=True)
class Played:
    """One play's start. Times in seconds."""

    at: float
    """When it was asked for, Unix time."""
    viewer: int
    device: str
    arms: Mapping[str, str]
    """Arm by trial."""
    own_failure: bool
    service_failure: str
    """What of the service failed after every try; empty: nothing."""
    own_delay_s: float
    service_s: float
    """How long the service's answers took, tries and pauses included."""
    noticed_s: float = 0.1
    felt: tuple[Felt, ...] = ()
    """What each address that was asked for did, in turn; those after a failed one were not asked."""

    def by(self, asked: int) -> Played:
        """Return the play as it would have been had only the address number `asked` (0, 1, ...) been slow or failed."""
        one = self.felt[asked] if asked < len(self.felt) else Felt()
        took_s = one.seconds if one.own_s is None else one.own_s
        return replace(self, service_failure=one.failure, service_s=took_s, felt=(one,))

    @property
    def delay_s(self) -> float:
        """Return seconds from the wish to the first frame (if there is one)."""
        return self.own_delay_s + self.service_s

    @property
    def failed(self) -> bool:
        """Tell whether no frame was shown in time."""
        return bool(self.service_failure) or self.own_failure or self.delay_s > START_LIMIT_S

    @property
    def harmed(self) -> bool:
        """Tell whether the service did it."""
        if self.own_failure or self.own_delay_s > START_LIMIT_S:
            return False
        return self.failed or self.service_s > self.noticed_s


@dataclass(frozen=True, slots=True)
class Harm:
    """One arm's plays."""

    plays: int
    viewers: int
    failed: int
    failed_by_service: int
    slowed: int
    """Plays that began, but noticeably later."""
    harmed_viewers: int
    delay_median_s: float
    by_device: Mapping[str, int]
    """Harmed viewers by class of device."""


def summed(plays: Iterable[Played], trial: str, until_s: float | None = None) -> dict[str, Harm]:
    """Sum up the plays that began before `until_s` (Unix time; None: all) by their arm in `trial`."""
    arms: dict[str, list[Played]] = {}
    for play in plays:
        if until_s is None or play.at < until_s:
            arms.setdefault(play.arms.get(trial, ""), []).append(play)
    return {arm: _harm(found) for arm, found in sorted(arms.items())}


def _harm(plays: list[Played]) -> Harm:
    harmed = [play for play in plays if play.harmed]
    delays = sorted(play.delay_s for play in plays if not play.failed)
    devices = {play.device for play in harmed}
    return Harm(
        plays=len(plays),
        viewers=len({play.viewer for play in plays}),
        failed=sum(play.failed for play in plays),
        failed_by_service=sum(bool(play.service_failure) and not play.own_failure for play in plays),
        slowed=sum(play.harmed and not play.failed for play in plays),
        harmed_viewers=len({play.viewer for play in harmed}),
        delay_median_s=delays[len(delays) // 2] if delays else 0.0,
        by_device={name: len({play.viewer for play in harmed if play.device == name}) for name in sorted(devices)},
    )
