"""What would happen to a viewer's play if the service did nothing to it; drawn from a seed, pure.

Decides per play whether it fails by itself, how long it takes to start, whether it stalls, how long
it is watched, on which kind of device; and when the next play begins (Poisson, with a daily swing).
Failures and delays have the shapes that players in the wild report: few failures, a delay with a
long tail. Enter at `Habits.fate` and `next_start`.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Fate:
    """One play without the service's part in it; times in seconds."""

    fails: bool
    """It never shows a frame."""
    delay_s: float
    """From the wish to the first frame, without what the service's answers take."""
    watch_s: float
    """How long it is watched after the first frame."""
    stall_after_s: float
    """When after the first frame it stalls; infinite: never."""
    stall_s: float
    bitrate_bps: int


@dataclass(frozen=True, slots=True)
class Habits:
    """A population; shares in 0..1, times in seconds."""

    fails: float = 0.01
    delay_median_s: float = 0.8
    delay_sigma: float = 0.7
    """Standard deviation of the delay's logarithm."""
    stalls: float = 0.03
    stall_median_s: float = 0.6
    watch_median_s: float = 40.0
    watch_most_s: float = 24.0
    """Plays are cut here: a trial judges only a session's first 20 s."""
    bitrate_median_bps: float = 3e6
    devices: tuple[tuple[str, float], ...] = (("desktop", 0.45), ("mobile", 0.3), ("tv", 0.2), ("other", 0.05))

    def fate(self, luck: random.Random) -> Fate:
        """Draw one play; always the same number of draws, so that plays stay comparable between runs."""
        fails, stalls = luck.random() < self.fails, luck.random() < self.stalls
        delay_s = self.delay_median_s * math.exp(luck.gauss(0.0, self.delay_sigma))
        watch_s = min(self.watch_most_s, self.watch_median_s * math.exp(luck.gauss(0.0, 0.8)))
        after_s, stall_s = luck.random() * watch_s, self.stall_median_s * math.exp(luck.gauss(0.0, 0.7))
        bitrate_bps = int(self.bitrate_median_bps * math.exp(luck.gauss(0.0, 0.4)))
        return Fate(fails, delay_s, watch_s, after_s if stalls else math.inf, stall_s, bitrate_bps)

    def device(self, luck: random.Random) -> str:
        """Draw a class of device."""
        names = [name for name, _ in self.devices]
        return luck.choices(names, [share for _, share in self.devices])[0]


def next_start(
    now_s: float, per_minute: float, luck: random.Random, *, swing: float = 0.0, day_s: float = DAY_S
) -> float:
    """Return when the next play begins, in seconds on the scale of `now_s`.

    A Poisson process of `per_minute` plays a minute on average (above 0), whose rate swings by `swing`
    (0..1) of itself once in `day_s`: thinned from the highest rate (Lewis and Shedler 1979).
    """
    highest = per_minute / 60.0 * (1.0 + swing)
    while True:
        now_s += luck.expovariate(highest)
        rate = per_minute / 60.0 * (1.0 + swing * math.sin(2.0 * math.pi * now_s / day_s))
        if luck.random() * highest <= rate:
            return now_s
