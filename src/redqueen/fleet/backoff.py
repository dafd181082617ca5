"""When a node that ended may be started again: at once, later, or after a quarantine.

A node that lived for `stable_s` is forgiven everything. Each quicker end doubles the wait, from
`first_s` to `cap_s`, without jitter (one machine has no herd). `crashes` ends within `window_s`
are a crash loop: the node rests for `quarantine_s`, gets one try, and rests again if that fails.
Pure. Enter at `after_exit`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the fleet is repaired; all times in seconds."""

    first_s: float = 0.05
    cap_s: float = 30.0
    stable_s: float = 10.0
    crashes: int = 6
    window_s: float = 60.0
    quarantine_s: float = 60.0
    stop_s: float = 10.0
    """From asking a node to leave until it is killed."""
    settle_s: float = 1.0
    """From a node's being up until every gateway surely sends it requests (they hear within 0.1 s)."""


@dataclass(frozen=True, slots=True)
class History:
    """What a node's earlier ends say about its next start. Times are monotonic seconds."""

    restarts: int = 0
    streak: int = 0
    crashed_at: tuple[float, ...] = ()
    retry_at: float = float("-inf")
    quarantined: bool = False
    because: str = ""


def after_exit(history: History, *, now: float, lived_s: float, because: str, pace: Pace) -> History:
    """Return the history after an end that nobody asked for; `because` says how it ended."""
    if lived_s >= pace.stable_s:
        history = History(restarts=history.restarts)
    streak = history.streak + 1
    crashed_at = (*(at for at in history.crashed_at if at > now - pace.window_s), now)
    wait_s = min(pace.cap_s, pace.first_s * 2.0 ** min(streak - 1, 64))
    quarantined = history.quarantined or len(crashed_at) >= pace.crashes
    if quarantined:
        wait_s = pace.quarantine_s
        because = f"{because}, {streak} times in a row; it rests for {wait_s:g} s, then gets one try"
    return History(history.restarts, streak, crashed_at, now + wait_s, quarantined, because)


def after_start(history: History) -> History:
    """Count a start that followed an end; the judgement on the earlier ends stays until it was stable."""
    return replace(history, restarts=history.restarts + 1)
