"""A region of doubles for trials: viewers who play by what is armed, nodes that tell of it, a clock by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from redqueen.events import Event
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.ports import Records
from redqueen.telemetry.model import LATENCY_BOUNDS_MS, FigureBin, SessionRow
from redqueen.testing.clock import VirtualClock
from redqueen.trials.assignment import Assigner
from redqueen.trials.following import ArmedTrials
from redqueen.trials.model import CONTROL, MetricPlan, Subject, Trial, TrialArm, Viewer
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


@dataclass
class Nodes:
    """Two api nodes and two gateways that tell what viewers did, as long as they answer."""

    rows: dict[str, list[SessionRow]] = field(default_factory=lambda: {"api-1": [], "api-2": []})
    bins: dict[str, list[FigureBin]] = field(default_factory=lambda: {"gw-1": [], "gw-2": []})
    silent: set[str] = field(default_factory=set)
    asked: list[tuple[str, int, int]] = field(default_factory=list)

    async def sessions(self, since: int, until: int) -> Answers[SessionRow]:
        """Answer for every api node."""
        self.asked.append(("sessions", since, until))
        told = [row for node, rows in self.rows.items() if node not in self.silent for row in rows]
        rows = tuple(row for row in told if since <= row.second < until)
        return Answers(rows, tuple(self.rows), tuple(sorted(self.silent & self.rows.keys())))

    async def figures(self, since: int, until: int) -> Answers[FigureBin]:
        """Answer for every gateway."""
        self.asked.append(("figures", since, until))
        told = [one for node, bins in self.bins.items() if node not in self.silent for one in bins]
        bins = tuple(one for one in told if since <= one.second)
        return Answers(bins, tuple(self.bins), tuple(sorted(self.silent & self.bins.keys())))


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
        self.per_second = 20
        self._chance = random.Random(seed)  # noqa: S311 - a test's own dice
        self._first: set[tuple[int, str]] = set()

    def leader(self) -> Trials:
        """Give another leader over the same store."""
        return Trials(self.records, self.clock, self.events.append, self.nodes, ("a", "b"))

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
            node = chance.choice(["api-1", "api-2"])
            self.nodes.rows[node].append(row)
            error = chance.random() < self.errs(arms)
            for trial, arm in arms.items() or [("", "")]:
                count = counts.setdefault((chance.choice(["gw-1", "gw-2"]), trial, arm), [0, 0, 0])
                count[0] += 1
                count[1] += trial in first
                count[2] += error
        for (gateway, trial, arm), (requests, firsts, errors) in counts.items():
            latency = [0] * (len(LATENCY_BOUNDS_MS) + 1)
            latency[5] = requests
            self.nodes.bins[gateway].append(
                FigureBin(now, gateway, "a", "shop", trial, arm, requests, firsts, errors, tuple(latency))
            )


def harmed(arm: str, chance: float, usual: float = 0.01) -> Harm:
    """Give plays that fail more often in one arm of whatever release they are in."""
    return lambda arms: chance if arm in {name for trial, name in arms.items() if trial.startswith("shop")} else usual


__all__ = ["CONTROL", "Nodes", "Rig", "harmed", "release"]
