"""What an experiment shows while it runs, beside its trial: segments, followed look by look.

The leader takes the trial's new looks every ten seconds and keeps each treatment's evidence by
segment in a row of its own, with the number of the last log entry that went in: a leader that dies
in between, or one that is late, counts none twice. Reading costs no replay. Enter at `Results`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

import msgspec

from redqueen.experiments import segments
from redqueen.experiments.segments import Segment, SegmentPlan
from redqueen.stats.evidence import Evidence
from redqueen.stats.model import Look
from redqueen.store.ports import ABSENT, Put, Record, Records
from redqueen.trials.ledger import Head, Judged, Ledger
from redqueen.trials.records import packed_evidence, unpacked_evidence, unpacked_look

SEGMENTS: Final = "experiments/segments"
_AT_ONCE: Final = 400
"""Log entries of one trial in one turn: what is late comes with the next turns."""


class _Row(msgspec.Struct, frozen=True, array_like=True):
    number: int
    """The last log entry that is in it."""
    evidence: bytes


@dataclass(frozen=True, slots=True)
class _Kept:
    record: Record | None
    number: int
    evidence: Evidence


class Results:
    """The segments of all experiments' trials."""

    def __init__(self, records: Records) -> None:
        """Follow the trials in `records`."""
        self._records = records
        self._ledger = Ledger(records)

    async def follow(self, head: Head) -> bool:
        """Take what is new of a trial into its segments; tell whether that was all."""
        plan = None if head.measures is None else segments.plan_of(head.measures)
        if plan is None:
            return True
        kept = {arm.name: await self._kept(head, plan, arm.name) for arm in head.trial.treatments}
        first = min(one.number for one in kept.values()) + 1
        last = min(head.number, first + _AT_ONCE - 1)
        looks: dict[str, list[Look]] = {arm: [] for arm in kept}
        number = first
        async for entry in self._ledger.log(head.trial.id, first, last):
            if isinstance(entry, Judged):
                for arm, raw in entry.looks.items():
                    if number > kept[arm].number:
                        looks[arm].append(unpacked_look(raw))
            number += 1
        for arm, known in kept.items():
            if last > known.number:
                await self._keep(head, plan, arm, known, looks[arm], last)
        return last >= head.number

    async def segments(self, head: Head) -> list[Segment]:
        """Return what is known of every segment of a trial, the strongest evidence first."""
        plan = None if head.measures is None else segments.plan_of(head.measures)
        if plan is None:
            return []
        known = {arm.name: await self._kept(head, plan, arm.name) for arm in head.trial.treatments}
        seen = {arm: one.evidence for arm, one in known.items() if one.record is not None}
        return segments.shown(plan, seen, head.trial.alpha)

    async def _kept(self, head: Head, plan: SegmentPlan, arm: str) -> _Kept:
        record = await self._records.get(SEGMENTS, f"{head.trial.id}/{arm}")
        if record is None:
            return _Kept(None, 0, segments.fresh(plan))
        row = msgspec.msgpack.decode(record.value, type=_Row)
        return _Kept(record, row.number, unpacked_evidence(zlib.decompress(row.evidence))[arm])

    async def _keep(
        self, head: Head, plan: SegmentPlan, arm: str, before: _Kept, looks: list[Look], number: int
    ) -> None:
        after = segments.grown(plan, before.evidence, looks)
        row = _Row(number, zlib.compress(packed_evidence({arm: after}), 1))
        when = ABSENT if before.record is None else before.record.version
        await self._records.put(SEGMENTS, Put(f"{head.trial.id}/{arm}", msgspec.msgpack.encode(row), when))
