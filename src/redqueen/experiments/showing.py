"""Experiments as the HTTP edge asks for them: begun, tried, ended, and shown with what they found.

`attempt` is how one change of a flag is tried: the value becomes a variant, an experiment of its
own decides whether it becomes the default. Refuses what `Experiments` and `Flags` refuse. Enter at
`ExperimentDesk`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from redqueen.clock import Clock
from redqueen.errors import Conflict, InvalidInput
from redqueen.experiments.experiment import Experiment, arm_name
from redqueen.experiments.flags import Flag, FlagKind, FlagRow
from redqueen.experiments.running import ExperimentRow, Experiments
from redqueen.experiments.segments import Segment
from redqueen.experiments.service import Flags
from redqueen.experiments.viewing import Events, Viewing, viewing
from redqueen.trials.ledger import Head

_SLUG_CHARS: Final = 20
_PLAIN: Final = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Shown:
    """An experiment with its trial as it stands; None before the leader began it."""

    row: ExperimentRow
    head: Head | None

    @property
    def trial(self) -> str:
        """Name the trial that decides now, or decided last."""
        return self.row.trial.id if self.head is None else self.head.trial.id

    @property
    def status(self) -> str:
        """Return the trial's status."""
        return "planned" if self.head is None else self.head.life.status.value

    @property
    def because(self) -> str:
        """Say why it is where it is."""
        return self.row.because if self.row.phase.over or self.head is None else self.head.life.because

    @property
    def share(self) -> float:
        """Return the treatments' share of the viewers now."""
        if self.head is None or not self.head.life.running or not self.head.life.stretches:
            return 0.0
        return self.head.life.stretches[-1].share


class ExperimentDesk:
    """What the API asks about experiments."""

    def __init__(self, experiments: Experiments, flags: Flags, events: Events, clock: Clock) -> None:
        """Show `experiments`; `events` are what players told, in the object store."""
        self._experiments = experiments
        self._flags = flags
        self._events = events
        self._clock = clock

    async def start(self, experiment: Experiment, by: str) -> Shown:
        """Begin an experiment. Raises InvalidInput, NotFound, Conflict."""
        return await self._shown(await self._experiments.start(experiment, by))

    async def attempt(self, wish: Experiment, value: Any, by: str) -> Shown:
        """Try a value as a flag's new default; `wish` says how. Raises InvalidInput, NotFound, Conflict."""
        row = await self._flags.get(wish.flag)
        variant = await self._variant(row, value, wish.variants[0], by)
        taken = {one.experiment.name for one in await self._experiments.all()}
        stem = f"try-{arm_name(wish.flag)[:_SLUG_CHARS].rstrip('-')}"
        name = next(one for number in range(1, len(taken) + 2) if (one := f"{stem}-{number}") not in taken)
        because = wish.because or f"{wish.flag} shall be {variant}"
        experiment = msgspec.structs.replace(wish, name=name, variants=(variant,), because=because)
        return await self.start(experiment, by)

    async def stop(self, name: str, by: str, because: str) -> Shown:
        """End an experiment. Raises NotFound."""
        return await self._shown(await self._experiments.stop(name, by, because))

    async def get(self, name: str) -> Shown:
        """Return an experiment. Raises NotFound."""
        return await self._shown(await self._experiments.get(name))

    async def all(self) -> Sequence[Shown]:
        """Return every experiment, the newest first."""
        return [await self._shown(row) for row in await self._experiments.all()]

    async def segments(self, shown: Shown) -> list[Segment]:
        """Return for whom an experiment does what, the strongest evidence first."""
        return [] if shown.head is None else await self._experiments.results.segments(shown.head)

    async def viewing(self, shown: Shown) -> Viewing:
        """Return how long its viewers have watched so far."""
        if shown.head is None or not shown.head.life.started_s:
            return Viewing((), "the trial has not begun")
        until_s = shown.head.life.ended_s or self._clock.now()
        return await viewing(self._events, shown.head.trial.id, shown.head.life.started_s, until_s)

    async def _shown(self, row: ExperimentRow) -> Shown:
        return Shown(row, await self._experiments.head(row))

    async def _variant(self, row: FlagRow, value: Any, name: str, by: str) -> str:
        """Return the name of the flag's variant with this value; make one where there is none."""
        flag = row.flag
        wanted = float(value) if flag.kind is FlagKind.NUMBER and type(value) is int else value
        for known, other in flag.variants.items():
            if type(other) is type(wanted) and other == wanted:
                return known
        name = name or _named(flag, wanted)
        if name in flag.variants:
            raise Conflict("flag.variant", f"{flag.key} has another variant {name} already", hint="Give another name")
        grown = msgspec.structs.replace(flag, variants={**flag.variants, name: wanted})
        await self._flags.put(grown, row.revision, by, f"variant {name}, to be tried")
        return name


def variant_name(value: Any) -> str:
    """Return a name for a value: what it looks like, as far as a name may."""
    if isinstance(value, bool):
        return "on" if value else "off"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return _PLAIN.sub("-", text)[:40].strip("-._") or "variant"


def _named(flag: Flag, value: Any) -> str:
    stem = variant_name(value)
    names = (stem, *(f"{stem[:36]}-{number}" for number in range(2, 20)))
    free = next((name for name in names if name not in flag.variants), None)
    if free is None:
        raise InvalidInput("flag.variant", f"{flag.key} has too many variants like {stem}", hint="Name the variant")
    return free
