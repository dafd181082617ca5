"""What a roll-out by steps of 5% and fixed thresholds would have done to the same viewers; pure and seeded.

The rules and the numbers are those that progressive-delivery tools show in their guides (Flagger: interval
1m, stepWeight 5, maxWeight 50, threshold 5, request-success-rate at least 99): every minute the new
version's figures of that minute are held against fixed limits. Met: 5% more of the viewers get it. Not
met: it stays where it is, and the fifth time it is rolled back. Half of the viewers reached promotes
it. Besides the share of requests answered it is given what those tools lack, the players' failed
starts and the 95th percentile of their start delay, with limits that a harmless version passes. A version
that it promotes goes on harming until somebody notices, half an hour after it began. The plays are
drawn exactly as `redqueen.testing.audience` draws them from the same seed. Enter at `rolled_out`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from redqueen.testing.audience import AGENTS, Attendance
from redqueen.testing.viewer.fate import Fate, Habits, next_start
from redqueen.testing.viewer.harm import Played
from shipped.door import fault_of

STEP, STEP_S, MOST = 0.05, 60.0, 0.5
FAILED_CHECKS = 5
MOST_ERRORS = 0.01
"""Of the requests."""
NOTICED_S = 1800.0
MOST_FAILED = 0.02
"""Twice the usual share of failed starts."""
LONGEST_P95_S = 3.2
"""A quarter above the usual 95th percentile (lognormal, median .8 s, sigma .7: 2.53 s)."""


@dataclass(frozen=True, slots=True)
class RolledOut:
    """How it ended: `promoted` or not, after how many seconds, and whom the version had harmed by then."""

    promoted: bool
    after_s: float
    harmed: int
    served: int


def rolled_out(fault: str, attendance: Attendance, seed: int, habits: Habits | None = None) -> RolledOut:
    """Roll one version out by fixed thresholds over the plays of a seed."""
    habits = habits or Habits()
    # Draws of the version's own, so that the viewers' stay those of the seed.
    luck = random.Random(seed + 1)  # noqa: S311 - a model, not a secret
    share, check_at, failed_checks, promoted_s = STEP, STEP_S, 0, 0.0
    served: list[Played] = []
    since = Minute()
    for at_s, number, device, fate in plays(attendance, habits, seed):
        while at_s >= check_at and not promoted_s:
            if since.passes():
                promoted_s = check_at if share >= MOST - 1e-9 else 0.0
                share = 1.0 if promoted_s else share + STEP
            else:
                failed_checks += 1
            if failed_checks >= FAILED_CHECKS:
                return RolledOut(False, check_at, sum(play.harmed for play in served), len(served))
            check_at, since = check_at + STEP_S, Minute()
        if at_s >= NOTICED_S:
            break
        if random.Random(number).random() < share:  # noqa: S311 - sticky by viewer
            play, statuses = _play(fault, attendance, at_s, number, device, fate, luck)
            since.plays.append(play)
            since.statuses += statuses
            served.append(play)
    return RolledOut(True, promoted_s, sum(play.harmed for play in served), len(served))


@dataclass(slots=True)
class Minute:
    """What the new version did since the last check."""

    plays: list[Played] = field(default_factory=list[Played])
    statuses: list[int] = field(default_factory=list[int])

    def passes(self) -> bool:
        """Hold it against the limits; a minute without plays passes none."""
        if not self.plays:
            return False
        delays = sorted(play.delay_s for play in self.plays if not play.failed)
        p95_s = delays[int(0.95 * len(delays))] if delays else float("inf")
        failed = sum(play.failed for play in self.plays) / len(self.plays)
        errors = sum(status >= 500 for status in self.statuses) / len(self.statuses)
        return failed <= MOST_FAILED and p95_s <= LONGEST_P95_S and errors <= MOST_ERRORS


def plays(attendance: Attendance, habits: Habits, seed: int) -> Iterator[tuple[float, int, str, Fate]]:
    """Yield (seconds, viewer, device, fate) of every play, in the audience's own order of draws."""
    luck = random.Random(seed)  # noqa: S311 - a model, not a secret
    devices = [habits.device(luck) for _ in range(attendance.viewers)]
    at_s = 0.0
    while True:
        at_s = next_start(at_s, attendance.starts_per_minute, luck, swing=attendance.swing, day_s=attendance.day_s)
        number = luck.choice(range(attendance.viewers))
        luck.choice(("the only title",))
        yield at_s, number, devices[number], habits.fate(luck)


def _play(
    fault: str, attendance: Attendance, at_s: float, number: int, device: str, fate: Fate, luck: random.Random
) -> tuple[Played, list[int]]:
    service_s, trouble, statuses = 0.0, "", list[int]()
    for attempt in range(attendance.tries):
        service_s += attendance.again_after_s if attempt else 0.0
        felt = fault_of(fault, str(number), AGENTS[device], at_s + service_s, luck)
        service_s += felt.delay_s
        statuses.append(felt.status)
        trouble = f"status {felt.status}" if felt.status >= 400 else ""
        if not trouble:
            break
    play = Played(
        at=at_s,
        viewer=number,
        device=device,
        arms={},
        own_failure=fate.fails,
        service_failure=trouble,
        own_delay_s=fate.delay_s,
        service_s=service_s,
        noticed_s=attendance.noticed_s,
    )
    return play, statuses
