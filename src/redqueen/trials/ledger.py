"""How a trial is kept: its head, its evidence, and a log from which both can be made again.

Everything that ever moved a trial is an entry of its log, numbered without a gap; head, evidence
and entry are written in one batch that holds only if the entry's number was free. So a leader that
lost its lease can write nothing (its successor has the number), a leader killed between two writes
loses nothing, and no look counts twice. A turn costs one batch a trial, whatever came before.
Rows: partition `trial/<id>` (`head`, `evidence`, `trace`, `log/<number>`), `trials/running` (markers of those
that have not ended), `trials/all` (newest first). Refuses a second trial of the same id that is
not the very same. Enter at `Ledger`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from redqueen.errors import Broken, Unavailable
from redqueen.stats.dispersion import Noise
from redqueen.store.ports import ABSENT, Delete, Put, Record, Records
from redqueen.trials.collecting import Gap
from redqueen.trials.layers import Range
from redqueen.trials.life import Life
from redqueen.trials.measures import Measures
from redqueen.trials.model import Trial
from redqueen.trials.records import Trace

RUNNING: Final = "trials/running"
ALL: Final = "trials/all"
_HEAD, _EVIDENCE, _TRACE, _LOG = "head", "evidence", "trace", "log/"
_PAGE: Final = 200
_READINGS: Final = 8
_NEVER: Final = 9_999_999_999
"""A number that no entry reaches."""
LEFT_BEHIND: Final = 1000
"""Entries of earlier turns of a permanent trial that stay, so that no number is free again for a late leader."""


class Begun(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="begin"):
    """The trial began."""

    at_s: float


class Judged(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="look"):
    """A look: what was new of each treatment (`records.packed_look`), as it was given to the judge."""

    at_s: float
    drawn_s: float
    looks: dict[str, bytes]
    units: dict[str, float]
    missing: str = ""
    """Which nodes told nothing of these seconds: nothing may be concluded then."""


class Passed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="tick"):
    """Time passed without a look, and that changed something."""

    at_s: float


class Reported(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="problem"):
    """A treatment's nodes could not serve."""

    at_s: float
    because: str
    arm: str = ""


class Stopped(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="stop"):
    """A person ended it."""

    at_s: float
    by: str
    because: str


Entry: TypeAlias = Begun | Judged | Passed | Reported | Stopped
_ENTRY: Final[msgspec.msgpack.Decoder[Entry]] = msgspec.msgpack.Decoder(Entry)


class Taught(msgspec.Struct, frozen=True):
    """Noise of one metric that an A/A trial showed in its earlier turns."""

    blocks: float = 0.0
    chi_square: float = 0.0

    def __add__(self, other: Noise) -> Taught:
        """Add what another turn showed."""
        return Taught(self.blocks + other.blocks, self.chi_square + other.chi_square)


class Head(msgspec.Struct, frozen=True):
    """A trial as it stands after `number` entries; fields of a newer version of ours are passed over."""

    trial: Trial
    life: Life = Life()
    number: int = 0
    looks: int = 0
    """Entries that were looks, of this turn."""
    place: Range | None = None
    """Its part of the layer; None: not begun."""
    measures: Measures | None = None
    """What is judged, fixed when it began."""
    sessions_until: int = 0
    """Sessions granted before this second are judged."""
    figures_until: int = 0
    gaps: tuple[Gap, ...] = ()
    """What nodes told nothing of."""
    origin: Life = Life()
    """Its life before entry `first`: entries before are gone, or of an earlier turn."""
    first: int = 1
    taught: dict[str, Taught] = {}


@dataclass(frozen=True, slots=True)
class Kept:
    """A trial as read: its head, its evidence, how its readings went."""

    head: Head
    evidence: bytes
    trace: Trace


class Ledger:
    """All trials, in records."""

    def __init__(self, records: Records) -> None:
        """Keep trials in `records`."""
        self._records = records

    async def open(self, head: Head) -> bool:
        """Keep a new trial; False if its id is known. Markers come first: a trial without them would never run."""
        trial = head.trial
        if await self.head(trial.id) is not None:
            return False
        await self._records.put(RUNNING, Put(trial.id, b""))
        await self._records.put(ALL, Put(f"{round(trial.created_s * 1000):015d}/{trial.id}", b""))
        return await self._records.put(_partition(trial.id), Put(_HEAD, _encoded(head), when=ABSENT)) is not None

    async def head(self, trial_id: str) -> Head | None:
        """Return how a trial stands; None: there is none of this id."""
        row = await self._records.get(_partition(trial_id), _HEAD)
        return None if row is None else _head(row)

    async def load(self, trial_id: str) -> Kept | None:
        """Return a trial with its evidence, read again while somebody writes meanwhile (a few times)."""
        head = await self.head(trial_id)
        for _ in range(_READINGS):
            before = head
            evidence = await self._records.get(_partition(trial_id), _EVIDENCE)
            trace = await self._records.get(_partition(trial_id), _TRACE)
            head = await self.head(trial_id)
            if before is None or head is None:
                return None
            if head.number == before.number:
                return Kept(
                    head,
                    b"" if evidence is None else evidence.value,
                    Trace() if trace is None else msgspec.msgpack.decode(trace.value, type=Trace),
                )
        raise Unavailable("trial.contended", f"{trial_id} changes all the time", hint="Try again")

    async def write(self, head: Head, entry: Entry, evidence: bytes | None = None, trace: Trace | None = None) -> bool:
        """Write entry `head.number` and what the trial is after it; False when that number is taken: load again.

        What is None of `evidence` and `trace` stays as it was.
        """
        changes: list[Put | Delete] = [
            Put(_log_key(head.number), msgspec.msgpack.encode(entry), when=ABSENT),
            Put(_HEAD, _encoded(head)),
        ]
        if evidence is not None:
            changes.append(Put(_EVIDENCE, evidence))
        if trace is not None:
            changes.append(Put(_TRACE, msgspec.msgpack.encode(trace)))
        return await self._records.batch(_partition(head.trial.id), changes)

    async def retire(self, trial_id: str) -> None:
        """Take an ended trial from those that run, when nodes know of its end; no error when it is not among them."""
        await self._records.delete(RUNNING, Delete(trial_id))

    async def running(self) -> list[str]:
        """Name the trials that have not ended (and perhaps some that have just done so)."""
        return [row.clustering for row in await self._records.scan(RUNNING)]

    async def newest(self, limit: int) -> list[Head]:
        """Return the heads of the newest trials, newest first."""
        rows = await self._records.scan(ALL, limit=limit, reverse=True)
        heads = [await self.head(row.clustering.partition("/")[2]) for row in rows]
        return [head for head in heads if head is not None]

    async def log(self, trial_id: str, first: int, last: int) -> AsyncIterator[Entry]:
        """Give the entries [first, last] in order. Raises Broken where one is missing."""
        for start in range(first, last + 1, _PAGE):
            end = min(last + 1, start + _PAGE)
            rows = await self._records.scan(_partition(trial_id), start=_log_key(start), end=_log_key(end), limit=_PAGE)
            if len(rows) != end - start:
                raise Broken(
                    "trial.log", f"The log of {trial_id} has gaps between {start} and {end}", hint="Report this"
                )
            for row in rows:
                yield _ENTRY.decode(row.value)

    async def prune(self, head: Head) -> int:
        """Remove a page of entries of earlier turns; return how many."""
        end = min(head.first, head.number - LEFT_BEHIND)
        return await self._cut(head.trial.id, _log_key(end)) if end > 1 else 0

    async def oldest(self, after: str, before: float, limit: int) -> list[tuple[str, Head | None]]:
        """Return trials made before a time (Unix), oldest first, each with its place; `after` is one, or empty."""
        end = f"{round(before * 1000):015d}"
        rows = await self._records.scan(ALL, start=after and after + "\0", end=end, limit=limit)
        return [(row.clustering, await self.head(row.clustering.partition("/")[2])) for row in rows]

    async def forget(self, trial_id: str) -> int:
        """Remove a page of the log of a trial that ended long ago, its first entries first; return how many."""
        return await self._cut(trial_id, _log_key(_NEVER))

    async def begins(self, head: Head) -> bool:
        """Tell whether the log is still there from its first entry on."""
        return await self._records.get(_partition(head.trial.id), _log_key(head.first)) is not None

    async def _cut(self, trial_id: str, end: str) -> int:
        partition = _partition(trial_id)
        rows = await self._records.scan(partition, start=_LOG, end=end, limit=_PAGE)
        gone: Sequence[Delete] = [Delete(row.clustering) for row in rows]
        if gone:
            await self._records.batch(partition, gone)
        return len(gone)


def _partition(trial_id: str) -> str:
    return f"trial/{trial_id}"


def _log_key(number: int) -> str:
    return f"{_LOG}{number:010d}"


def _encoded(head: Head) -> bytes:
    return msgspec.msgpack.encode(head)


def _head(row: Record) -> Head:
    try:
        return msgspec.msgpack.decode(row.value, type=Head)
    except msgspec.MsgspecError as error:
        raise Broken(
            "trial.unreadable", f"{row.partition} cannot be read", why=str(error), hint="Report this"
        ) from error
