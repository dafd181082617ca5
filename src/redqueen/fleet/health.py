"""When a declared service's instance may be sent requests, judged by its health path.

It is STARTING until the path answers well, UP then, DOWN after `failures` bad answers in a row and
UP again after a good one; `failures` more bad answers, or `start_s` without a good one, and it is
given up: ended and started anew. Every change has its reason. Pure. Enter at `judged`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """What an instance may be used for."""

    STARTING = "starting"
    UP = "up"
    DOWN = "down"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often an instance may fail its health check."""

    start_s: float = 30.0
    failures: int = 3


@dataclass(frozen=True, slots=True)
class Standing:
    """An instance's health, how many bad answers came in a row, and why it is as it is."""

    health: Health = Health.STARTING
    bad: int = 0
    because: str = ""


def judged(standing: Standing, answer: str, age_s: float, patience: Patience) -> Standing:
    """Return the standing after one check; `answer` is empty for a good one, else says what was wrong."""
    if not answer:
        return Standing(Health.UP)
    if standing.health is Health.STARTING:
        if age_s < patience.start_s:
            return Standing(Health.STARTING, standing.bad + 1, answer)
        return Standing(
            Health.GIVEN_UP, standing.bad + 1, f"it was not healthy within {patience.start_s:g} s: {answer}"
        )
    bad = standing.bad + 1
    if bad >= 2 * patience.failures:
        return Standing(Health.GIVEN_UP, bad, f"its health check failed {bad} times in a row: {answer}")
    if bad >= patience.failures:
        return Standing(Health.DOWN, bad, f"its health check fails: {answer}")
    return Standing(standing.health, bad, standing.because)
