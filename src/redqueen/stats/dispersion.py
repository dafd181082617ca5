"""Noise beyond chance, learned from permanent A/A trials.

Viewers who come back, retries and nodes with moods make counts vary more than independent events
would. An A/A trial shows by how much: over long blocks of time, (observed minus expected)^2 over
its variance averages to phi. Judging divides the log-likelihood by phi. `learned` gives an upper
bound, so that little history means caution, and never less than 1.
(Quasi-likelihood: Wedderburn 1974. Blocks must outlast the noise's memory; default half an hour.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redqueen.stats import special
from redqueen.stats.arrays import Floats

BLOCK_S = 1800.0
"""Length of a block: noise of minutes (autocorrelation .7 a minute is gone after 15) adds up inside."""


@dataclass(frozen=True, slots=True)
class Noise:
    """What A/A trials have shown of one metric: how many blocks, and the sum of their chi-squares."""

    blocks: float = 0.0
    chi_square: float = 0.0

    def __add__(self, other: Noise) -> Noise:
        """Put the blocks of two A/A trials (or two days) together."""
        return Noise(self.blocks + other.blocks, self.chi_square + other.chi_square)


def learned(noise: Noise, *, confidence: float = 0.9, unknown: float = 3.0, fewest: float = 8.0) -> float:
    """Return the dispersion to judge with: an upper bound at `confidence`, at least 1.

    With fewer than `fewest` blocks the answer is `unknown`.
    """
    if noise.blocks < fewest:
        return unknown
    # The quantile of chi-square; scipy.stats has it by name but takes a second to load.
    lowest = 2.0 * float(special.gammaincinv(0.5 * noise.blocks, 1.0 - confidence))
    return max(1.0, noise.chi_square / lowest)


def close(score: Floats, variance: Floats) -> Floats:
    """Return each block's chi-square, zero where it held nothing."""
    known = variance > 0
    return np.where(known, score**2 / np.where(known, variance, 1.0), 0.0)
