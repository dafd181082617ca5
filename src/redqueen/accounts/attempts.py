"""How often a name may be tried: ten times in fifteen minutes, then refused until the window ends.

Pure. An attempt is counted before the password is looked at, so that a hundred at once are
counted too; success clears the window. Enter at `attempt`.
"""

from __future__ import annotations

from dataclasses import dataclass

LIMIT = 10
WINDOW_S = 900.0


@dataclass(frozen=True, slots=True)
class Attempts:
    """Attempts of one name since the first one of its window (epoch seconds)."""

    since: float
    count: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the attempt may go on, the window after it, and the reason."""

    allowed: bool
    after: Attempts
    because: str


def attempt(window: Attempts | None, now: float) -> Decision:
    """Count one attempt at `now`."""
    if window is None or now - window.since >= WINDOW_S:
        return Decision(True, Attempts(now, 1), "first attempt of a window")
    if window.count >= LIMIT:
        left_s = window.since + WINDOW_S - now
        return Decision(False, window, f"{LIMIT} attempts failed; the next is possible in {left_s:.0f} s")
    return Decision(True, Attempts(window.since, window.count + 1), f"attempt {window.count + 1} of {LIMIT}")
