"""What a flag is for somebody: off, by a rule, by a trial's arm, or the default, in this order. Pure.

A flag that is switched off gives everybody the default. Then the first rule that holds decides;
whoever a rule decides for is not in the trial. Then the arm of the trial that tries the flag.
Then the default. Every answer says which it was. Who may not be drawn (no targeting key) is not in
a trial. Enter at `Evaluator`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from redqueen.experiments.flags import Flag, FlagRow
from redqueen.experiments.rules import Context, Test, compiled
from redqueen.trials.model import Armed, Subject, Viewer

Draw = Callable[[Armed, Viewer], str | None]
"""The arm of a viewer in a trial, or None for whoever is not in it."""

DEVICE: Final = "device"
ZONE: Final = "zone"
COUNTRY: Final = "country"
RETURNING: Final = "returning"
TARGETING_KEY: Final = "targetingKey"


class Reason(StrEnum):
    """Why somebody gets a value, in OpenFeature's words."""

    STATIC = "STATIC"
    TARGETING_MATCH = "TARGETING_MATCH"
    SPLIT = "SPLIT"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A flag's value for somebody; `trial` and `arm` where a trial decided."""

    key: str
    value: Any
    variant: str
    reason: Reason
    because: str
    trial: str = ""
    arm: str = ""


def hashed_key(targeting_key: str) -> int:
    """Return the 64 bits by which anybody but a viewer of the region is drawn."""
    return int.from_bytes(hashlib.sha256(targeting_key.encode("utf-8", "replace")).digest()[:8], "big")


def viewer_in(context: Context, key: int) -> Viewer:
    """Return what assignment may know of whoever asks, of what the context tells in the right types."""
    device, zone, country = (context.get(name) for name in (DEVICE, ZONE, COUNTRY))
    return Viewer(
        key,
        device if isinstance(device, str) else "other",
        zone if isinstance(zone, str) else "",
        country if isinstance(country, str) else "",
        context.get(RETURNING) is True,
    )


class _Prepared:
    """A flag made ready: its answers exist before anybody asks."""

    __slots__ = ("armed", "default", "flag", "off", "rules", "split")

    def __init__(self, flag: Flag, armed: Armed | None) -> None:
        self.flag = flag
        off = Evaluation(flag.key, flag.variants[flag.default], flag.default, Reason.DISABLED, "the flag is off")
        self.off = None if flag.enabled else off
        self.rules: tuple[tuple[Test, Evaluation], ...] = tuple(
            (compiled(rule), self._answer(rule.variant, Reason.TARGETING_MATCH, f"rule {number + 1} holds"))
            for number, rule in enumerate(flag.rules)
        )
        self.default = self._answer(flag.default, Reason.STATIC, "the flag's default")
        self.armed = armed
        self.split: Mapping[str, Evaluation] = {} if armed is None else self._arms(armed)

    def _arms(self, armed: Armed) -> dict[str, Evaluation]:
        found: dict[str, Evaluation] = {}
        for arm in armed.arms:
            variant = arm.variant if arm.variant in self.flag.variants else self.flag.default
            because = f"arm {arm.name} of the trial {armed.trial}"
            found[arm.name] = self._answer(variant, Reason.SPLIT, because, armed.trial, arm.name)
        return found

    def _answer(self, variant: str, reason: Reason, because: str, trial: str = "", arm: str = "") -> Evaluation:
        return Evaluation(self.flag.key, self.flag.variants[variant], variant, reason, because, trial, arm)


class Evaluator:
    """All flags as they are at one moment, with the trials that try them."""

    def __init__(self, rows: Iterable[FlagRow], armed: Iterable[Armed], draw: Draw) -> None:
        """Make ready; of several trials of one flag the first by id counts."""
        tried: dict[str, Armed] = {}
        for trial in sorted(armed, key=lambda trial: trial.trial):
            if trial.subject is Subject.FLAG:
                tried.setdefault(trial.target, trial)
        known = sorted(rows, key=lambda row: row.flag.key)
        self._draw = draw
        self._prepared = {row.flag.key: _Prepared(row.flag, tried.get(row.flag.key)) for row in known}
        self._browser = tuple(key for key, prepared in self._prepared.items() if prepared.flag.browser)

    def keys(self, *, browser: bool = False) -> tuple[str, ...]:
        """Return the flags' keys in order; with `browser` only those that viewers' browsers may read."""
        return self._browser if browser else tuple(self._prepared)

    def flag(self, key: str) -> Flag | None:
        """Return a flag."""
        found = self._prepared.get(key)
        return None if found is None else found.flag

    def trial_of(self, key: str) -> str | None:
        """Return the trial that tries a flag now, or None."""
        found = self._prepared.get(key)
        return None if found is None or found.armed is None else found.armed.trial

    def evaluate(self, key: str, context: Context, viewer: Viewer | None) -> Evaluation | None:
        """Return what a flag is for somebody, or None where there is no such flag. Costs some microseconds."""
        prepared = self._prepared.get(key)
        if prepared is None:
            return None
        if prepared.off is not None:
            return prepared.off
        for holds, answer in prepared.rules:
            if holds(context):
                return answer
        if prepared.armed is not None and viewer is not None:
            arm = self._draw(prepared.armed, viewer)
            if arm is not None:
                return prepared.split.get(arm, prepared.default)
        return prepared.default
