"""A region of doubles for experiments: viewers who feel what flags give them, one leader, a clock by hand."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import msgspec

from redqueen.experiments.evaluation import Evaluator
from redqueen.experiments.experiment import Experiment
from redqueen.experiments.flags import Flag, FlagKind
from redqueen.experiments.own import OWN, felt_early
from redqueen.experiments.running import ExperimentRow, Experiments
from redqueen.experiments.service import Flags
from redqueen.store.audit import Audit
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.telemetry.model import FigureBin, SessionRow
from redqueen.testing.clock import VirtualClock
from redqueen.trials.arm_counts import ArmCounts, Exposure
from redqueen.trials.assignment import arm_of
from redqueen.trials.following import ArmedTrials
from redqueen.trials.model import Viewer
from redqueen.trials.ports import Answers
from redqueen.trials.service import Trials

FLAG = Flag(
    key="player.start_rung",
    kind=FlagKind.INTEGER,
    variants={"auto": 0, "low": 240, "high": 720, "huge": 2160},
    default="auto",
    browser=True,
)
QUICK = Experiment(
    name="rung",
    flag=FLAG.key,
    variants=("low",),
    guardrails=("start_failures",),
    steps=(0.3, 0.6),
    step_s=20.0,
    horizon_s=1200.0,
    hold_s=120.0,
)
HOME = OWN[0]
"""The home page's rows: felt when the page is served."""
PAGES = msgspec.structs.replace(QUICK, name="rows", flag=HOME.key, variants=("new-first",), horizon_s=1800.0)
Play = Callable[[str, str], tuple[float, float]]
"""The chance that a play fails and its typical delay in ms, by variant and device."""
DEVICES = ("desktop", "mobile", "tv")


class Rig:
    """Two zones, three devices, viewers who come once."""

    def __init__(self, play: Play | None = None, seed: int = 1, flag: Flag = FLAG) -> None:
        self.clock = VirtualClock()
        self.records = MemoryRecords(self.clock)
        self.audit = Audit(self.records, self.clock)
        self.flags = Flags(self.records, self.clock, self.audit)
        self.armed = ArmedTrials(self.records, self.clock)
        self.flag = flag
        self.play = play or (lambda variant, device: (0.01, 800.0))
        self.plays: Callable[[str], float] = lambda variant: 1.0
        """The chance that a page makes its viewer play, by the variant; counted where the flag is felt by pages."""
        self.counts = ArmCounts("api", "a")
        self.per_second = 40
        self.rows: dict[int, list[SessionRow]] = {}
        self.shown: dict[str, int] = {}
        self._chance = random.Random(seed)  # noqa: S311 - a test's own dice
        self.lead()

    def lead(self) -> None:
        """Let another control node lead."""
        self.trials = Trials(self.records, self.clock, sources=self, zones=("a", "b"))
        self.experiments = Experiments(self.records, self.clock, self.audit, self.flags, self.trials)

    async def prepare(self) -> None:
        """Make the flag."""
        await self.flags.put(self.flag, None, "me")

    async def sessions(self, since: int, until: int) -> Answers[SessionRow]:
        """Answer for the api node."""
        rows = tuple(row for at in range(since, until) for row in self.rows.get(at, ()))
        return Answers(rows, ("api",), counts=tuple(self.counts.bins(since, until)))

    async def figures(self, since: int, until: int) -> Answers[FigureBin]:
        """Answer for the gateway: it tells nothing of flags."""
        return Answers((), ("gateway",))

    async def second(self) -> None:
        """Let viewers play for a second by what nodes last read, then the leader take its turns."""
        await self.armed.read()
        evaluator = Evaluator(await self.flags.all(), self.armed.armed, arm_of)
        now = int(self.clock.now())
        visits = [self._visit(evaluator, now) for _ in range(self.per_second)]
        self.rows[now] = [row for row in visits if row is not None]
        self.clock.advance(1.0)
        await self.trials.turn()
        await self.experiments.turn()

    async def run(self, seconds: int, name: str = QUICK.name) -> ExperimentRow:
        """Let seconds pass, fewer when the experiment is over."""
        for _ in range(seconds):
            await self.second()
            row = await self.experiments.get(name)
            if row.phase.over:
                break
        return await self.experiments.get(name)

    async def value(self) -> int:
        """Return what everybody outside trials gets now."""
        flag = (await self.flags.get(self.flag.key)).flag
        return flag.variants[flag.default]

    def _visit(self, evaluator: Evaluator, now: int) -> SessionRow | None:
        chance = self._chance
        viewer = Viewer(chance.getrandbits(64), chance.choice(DEVICES), chance.choice(("a", "b")))
        found = evaluator.evaluate(self.flag.key, {"device": viewer.device, "zone": viewer.zone}, viewer)
        assert found is not None
        self.shown[found.variant] = self.shown.get(found.variant, 0) + 1
        arms: Mapping[str, str] = {found.trial: found.arm} if found.trial else {}
        if felt_early(self.flag.key):
            for trial, arm in arms.items():
                page = Exposure(
                    (self.flag.key, trial, arm), viewer.key, f"2001:db8:{viewer.key & 0xFFFF:x}::1", again=False
                )
                self.counts.exposed(page, now, now)
            if chance.random() >= self.plays(found.variant):
                return None
        fails, typical_ms = self.play(found.variant, viewer.device)
        failed = chance.random() < fails
        return SessionRow(
            session=chance.getrandbits(64), seq=3, viewer=viewer.key, second=now, device=viewer.device,
            zone=viewer.zone, arms=dict(arms), first=tuple(arms), failed=failed,
            delay_ms=-1 if failed else int(typical_ms * chance.lognormvariate(0, 0.4)),
            played_ms=0 if failed else 15_000, stalled_ms=0, stalls=0, errors=0, bitrate_bps=2_000_000,
        )  # fmt: skip
