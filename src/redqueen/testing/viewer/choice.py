"""Which rung a viewer asks for next; pure.

Decides by measured bandwidth: start on the lowest rung, step up one rung at a time while the
next fits into 85% of the estimate, fall at once to what fits into 95%. Refuses to step up more
often than every `switch_interval_s`. The figures are Shaka Player's
(`abr.bandwidthUpgradeTarget`, `bandwidthDowngradeTarget`, `switchInterval`, `defaultBandwidthEstimate`,
`advanced.fastHalfLife` and `slowHalfLife`). Enter at `choose` and `Bandwidth.sampled`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from redqueen.testing.viewer.playlist import Rung

UPGRADE_TARGET = 0.85
DOWNGRADE_TARGET = 0.95
_LEAST_SAMPLE_BYTES = 16_000
_TRUSTED_BYTES = 128_000


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Two moving averages over seconds of downloading; the lower one is believed."""

    fast_bps: float = 0.0
    slow_bps: float = 0.0
    weight_s: float = 0.0
    sampled_bytes: int = 0
    assumed_bps: float = 1e6

    def sampled(self, size_bytes: int, seconds: float) -> Bandwidth:
        """Return the estimate after a download; small ones say nothing about the bandwidth."""
        if size_bytes < _LEAST_SAMPLE_BYTES:
            return self
        seconds = max(seconds, 1e-3)
        rate_bps = size_bytes * 8 / seconds
        fast, slow = 0.5 ** (seconds / 2.0), 0.5 ** (seconds / 5.0)
        return replace(
            self,
            fast_bps=self.fast_bps * fast + rate_bps * (1 - fast),
            slow_bps=self.slow_bps * slow + rate_bps * (1 - slow),
            weight_s=self.weight_s + seconds,
            sampled_bytes=self.sampled_bytes + size_bytes,
        )

    @property
    def estimate_bps(self) -> float:
        """Return bits per second, or the assumption until 128 kB were measured."""
        if self.sampled_bytes < _TRUSTED_BYTES:
            return self.assumed_bps
        # Averages start at 0; dividing by the weight so far takes that bias out.
        fast = self.fast_bps / (1 - 0.5 ** (self.weight_s / 2.0))
        slow = self.slow_bps / (1 - 0.5 ** (self.weight_s / 5.0))
        return min(fast, slow)


@dataclass(frozen=True, slots=True)
class Choice:
    """A rung, and why it was chosen."""

    index: int
    because: str


def choose(
    rungs: tuple[Rung, ...], current: int | None, estimate_bps: float, since_switch_s: float, *, interval_s: float = 8.0
) -> Choice:
    """Choose among `rungs` (rising bandwidth) by the estimate; `current` None means the start."""
    if current is None:
        return Choice(0, "a start is made on the lowest rung")
    current = min(current, len(rungs) - 1)
    if rungs[current].bandwidth_bps > estimate_bps * DOWNGRADE_TARGET:
        fitting = [i for i in range(current) if rungs[i].bandwidth_bps <= estimate_bps * DOWNGRADE_TARGET]
        lower = fitting[-1] if fitting else 0
        return Choice(lower, f"{estimate_bps / 1e6:.1f} Mb/s do not carry the present rung")
    if current + 1 < len(rungs) and rungs[current + 1].bandwidth_bps <= estimate_bps * UPGRADE_TARGET:
        if since_switch_s < interval_s:
            return Choice(current, "the last switch was too recent")
        return Choice(current + 1, f"{estimate_bps / 1e6:.1f} Mb/s carry the next rung")
    return Choice(current, "the present rung fits")


def fixed(rungs: tuple[Rung, ...], wanted: str) -> Choice:
    """Choose once: `lowest`, `highest`, or the rung whose height is nearest to a number of lines."""
    if wanted == "lowest":
        return Choice(0, "the lowest was asked for")
    if wanted == "highest":
        return Choice(len(rungs) - 1, "the highest was asked for")
    lines = int(wanted)
    index = min(range(len(rungs)), key=lambda i: abs((rungs[i].height or 0) - lines))
    return Choice(index, f"nearest to {lines} lines")
