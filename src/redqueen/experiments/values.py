"""Flags as they are now: what every node of the region answers by.

Joins the flags (`FlagBook`) with the trials that try them, prepared once for each change. The
`version` changes with either, on every node alike, so that a client that was told of a change at
one node can ask another for it. Enter at `FlagValues`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from redqueen.experiments.evaluation import Evaluator
from redqueen.experiments.flags import FlagRow
from redqueen.experiments.service import FlagBook
from redqueen.trials.assignment import arm_of
from redqueen.trials.model import Armed, Subject

ArmedNow = Callable[[], tuple[Armed, ...]]
"""The trials that run, as this node last read them; the same object until they change."""
Refresh = Callable[[], Awaitable[object]]
"""Read the trials anew."""


class FlagValues:
    """What flags are for whom, as this node last read them."""

    def __init__(self, book: FlagBook, armed: ArmedNow, refresh: Refresh) -> None:
        """Answer by `book` and by the trials of `armed`, which `refresh` reads anew."""
        self._book = book
        self._armed = armed
        self._refresh = refresh
        self._of: tuple[tuple[FlagRow, ...], tuple[Armed, ...]] = ((), ())
        self._evaluator = Evaluator((), (), arm_of)
        self._version = _version("", ())

    async def current(self, *, at_least: str = "") -> Evaluator:
        """Return the evaluator of now; with a version that this node does not know yet, read at once."""
        await self._follow()
        if at_least and at_least != self._version:
            await self._refresh()
            await self._follow(now=True)
        return self._evaluator

    async def version(self) -> str:
        """Return which flags and trials these are."""
        await self._follow()
        return self._version

    async def _follow(self, *, now: bool = False) -> None:
        rows, armed = await self._book.rows(now=now), self._armed()
        if rows is self._of[0] and armed is self._of[1]:
            return
        self._of = (rows, armed)
        self._evaluator = Evaluator(rows, armed, arm_of)
        self._version = _version(self._book.stamp, armed)


def _version(stamp: str, armed: Iterable[Armed]) -> str:
    trials = sorted((trial for trial in armed if trial.subject is Subject.FLAG), key=lambda trial: trial.trial)
    return hashlib.sha256(stamp.encode() + msgspec.msgpack.encode(trials)).hexdigest()[:24]
