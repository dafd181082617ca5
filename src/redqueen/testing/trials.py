"""A region of doubles for trials: viewers who play by what is armed, nodes that tell of it, a clock by hand.

`Rig` puts them around one store and any number of leaders; each `second` viewers play, time passes,
and a leader takes a turn. What viewers suffer is a function of their arms. Seeded, so that a test
sees the same viewers each time. Enter at `Rig` and `release`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from redqueen.events import Event
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.ports import Records
from redqueen.telemetry.model import LATENCY_BOUNDS_MS, FigureBin, SessionRow
from redqueen.testing.clock import VirtualClock
from redqueen.trials.arm_counts import ArmCounts
from redqueen.trials.assignment import Assigner
from redqueen.trials.following import ArmedTrials
from redqueen.trials.model import MetricPlan, Subject, Trial, TrialArm, Viewer
from redqueen.trials.permanent import is_permanent
from redqueen.trials.ports import Answers
from redqueen.trials.service import Trials

Harm = Callable[[dict[str, str]], float]
"""The chance that a play fails, by the viewer's arms."""


def release(name: str = "shop-r1", **changes: object) -> Trial:
    """Give a release trial that is quick to end."""
    values: dict[str, object] = {
        "id": name, "subject": Subject.RELEASE, "target": "shop", "owner": "me", "because": "a test", "salt": name,
        "layer": "release-shop", "treatments": (TrialArm("canary", group="shop--r1-canary"),),
        "metrics": (MetricPlan("start_failures"),), "steps": (0.3, 0.5), "step_s": 30.0, "horizon_s": 1200.0,
        "hold_s": 120.0,
    }  # fmt: skip
    return Trial(**{**values, **changes})  # type: ignore[arg-type]


class Nodes:
    """Two api nodes and two gateways that tell what viewers did, as long as they answer."""

    def __init__(self) -> None:
        self.api, self.gateways = ("api-1", "api-2"), ("gw-1", "gw-2")
        self.rows: dict[int, list[tuple[str, SessionRow]]] = {}
        self.bins: dict[int, list[FigureBin]] = {}
        self.counts = {node: ArmCounts(node, "a") for node in self.api}
        self.silent: set[str] = set()
        self.asked: list[tuple[str, int, int]] = []

    async def sessions(self, since: int, until: int) -> Answers[SessionRow]:
        """Answer for every api node."""
        self.asked.append(("sessions", since, until))
        told = [pair for second in range(since, until) for pair in self.rows.get(second, ())]
        rows = tuple(row for node, row in told if node not in self.silent)
        silent = tuple(node for node in self.api if node in self.silent)
        told_counts = (self.counts[node].bins(since, until) for node in self.api if node not in self.silent)
        return Answers(rows, self.api, silent, tuple(one for bins in told_counts for one in bins))

    async def figures(self, since: int, until: int) -> Answers[FigureBin]:
        """Answer for every gateway, what is not over yet included."""
        self.asked.append(("figures", since, until))
        told = [one for second in range(since, until + 5) for one in self.bins.get(second, ())]
        bins = tuple(one for one in told if one.gateway not in self.silent)
        return Answers(bins, self.gateways, tuple(node for node in self.gateways if node in self.silent))


class Rig:
    """Viewers, nodes and leaders around one store."""

    def __init__(self, records: Records | None = None, clock: VirtualClock | None = None, seed: int = 1) -> None:
        self.clock = clock or VirtualClock()
        self.records = records or MemoryRecords(self.clock)
        self.nodes = Nodes()
        self.events: list[Event] = []
        self.trials = self.leader()
        self.armed = ArmedTrials(self.records, self.clock)
        self.fails: Harm = lambda arms: 0.01
        self.errs: Harm = lambda arms: 0.001
        self.per_second = 12
        self._chance = random.Random(seed)  # noqa: S311 - a test's own dice
        self._first: set[tuple[int, str]] = set()

    def leader(self) -> Trials:
        """Give another leader over the same store."""
        return Trials(self.records, self.clock, self._hear, self.nodes, ("a", "b"))

    def _hear(self, event: Event) -> None:
        self.events.append(event)

    async def second(self) -> None:
        """Let viewers play for a second by what nodes last read, then the leader take a turn."""
        await self.armed.read()
        self.play()
        self.clock.advance(1.0)
        await self.trials.turn()

    async def run(self, seconds: int, until: Callable[[], bool] | None = None) -> None:
        """Let seconds pass, fewer when `until` holds."""
        for _ in range(seconds):
            await self.second()
            if until is not None and until():
                return

    def play(self) -> None:
        """Let some viewers play, and their gateways count."""
        chance, now = self._chance, int(self.clock.now())
        assigner = Assigner(self.armed.armed)
        counts: dict[tuple[str, str, str], list[int]] = {}
        for _ in range(self.per_second):
            viewer = chance.getrandbits(64)
            arms = assigner.arms(Viewer(viewer, "desktop", "a"))
            first = tuple(trial for trial in arms if (viewer, trial) not in self._first)
            self._first |= {(viewer, trial) for trial in first}
            failed = chance.random() < self.fails(arms)
            delay_ms = -1 if failed else int(800 * chance.lognormvariate(0, 0.4))
            row = SessionRow(
                session=chance.getrandbits(64), seq=3, viewer=viewer, second=now, device="desktop", zone="a",
                arms=arms, first=first, failed=failed, delay_ms=delay_ms,
                played_ms=0 if failed else 15_000, stalled_ms=0, stalls=0, errors=0, bitrate_bps=2_000_000,
            )  # fmt: skip
            self.nodes.rows.setdefault(now, []).append((chance.choice(self.nodes.api), row))
            error = chance.random() < self.errs(arms)
            nothing = {trial: arm for trial, arm in arms.items() if is_permanent(trial)}
            self.nodes.counts[chance.choice(self.nodes.api)].requested(nothing, 500 if error else 200, 5.0, now)
            for trial, arm in arms.items() or [("", "")]:
                count = counts.setdefault((chance.choice(self.nodes.gateways), trial, arm), [0, 0, 0])
                count[0] += 1
                count[1] += trial in first
                count[2] += error
        for (gateway, trial, arm), (requests, firsts, errors) in counts.items():
            latency = [0] * (len(LATENCY_BOUNDS_MS) + 1)
            latency[5] = requests
            self.nodes.bins.setdefault(now, []).append(
                FigureBin(now, gateway, "a", "shop", trial, arm, requests, firsts, errors, tuple(latency))
            )


def harmed(arm: str, chance: float, usual: float = 0.01) -> Harm:
    """Give plays that fail more often in one arm of whatever release they are in."""
    return lambda arms: chance if arm in {name for trial, name in arms.items() if trial.startswith("shop")} else usual
