"""Who changed what, when and why: lines that are only ever added.

A line is written after the change it tells of, by whoever made it for somebody: the API for the
account that asked, the leading control node for itself. Lines lie in one partition a month, so
that none grows without end and the newest are found without a search. `watched` tells whether what
was done wrote a line, however deep below. Refuses to change or remove a line: there is no call for
it. Enter at `Audit.note` and `Audit.newest`.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

import msgspec

from redqueen.clock import Clock
from redqueen.store.ports import Put, Record, Records

REGION: Final = "redqueen"
"""Who acts when no person asked: the region itself."""
_MONTHS: Final = "audit"
_TEXT_CHARS: Final = 2000
_LAST: Final = "\U0010ffff"


class AuditLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change: `at_s` (Unix time), who made it, what was done to which subject, and why."""

    id: str
    """Orders lines by time; the next page begins before the last one's."""
    at_s: float
    who: str
    what: str
    """A verb, such as `ship` or `stop trial`."""
    subject: str
    """What it was done to, such as `trial hello-r3`."""
    because: str = ""


_watching: ContextVar[list[AuditLine] | None] = ContextVar("lines of what is being done", default=None)


@contextmanager
def watched() -> Generator[list[AuditLine]]:
    """Give the lines that are written within the block, by this task and those that it starts."""
    lines = list[AuditLine]()
    token = _watching.set(lines)
    try:
        yield lines
    finally:
        _watching.reset(token)


class Audit:
    """The region's audit log, in records."""

    def __init__(self, records: Records, clock: Clock) -> None:
        """Keep lines in `records`, stamped by `clock`."""
        self._records = records
        self._clock = clock
        self._months: set[str] = set()
        self._last_us = 0

    async def note(self, who: str, what: str, subject: str, because: str = "") -> AuditLine:
        """Add a line; texts are cut at 2000 characters."""
        at_s = self._clock.now()
        month = datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m")
        # Two lines of one moment stay in the order in which they were written here.
        self._last_us = max(self._last_us + 1, round(at_s * 1e6))
        key = f"{month}/{self._last_us:018d}-{secrets.token_hex(4)}"
        texts = [text[:_TEXT_CHARS] for text in (who, what, subject, because)]
        line = AuditLine(key, at_s, *texts)
        if month not in self._months:
            await self._records.put(_MONTHS, Put(month, b""))
            self._months.add(month)
        await self._records.put(f"{_MONTHS}/{month}", Put(key, msgspec.msgpack.encode(line)))
        if (lines := _watching.get()) is not None:
            lines.append(line)
        return line

    async def newest(self, limit: int = 100, *, before: str = "") -> list[AuditLine]:
        """Return at most `limit` lines, newest first; `before` is the id of the last line of the page before."""
        found: list[Record] = []
        # A month is at most "2026-11"; what lies before an id may still lie in the id's own month.
        newest_month = before[:7] + "\0" if before else None
        for month in await self._records.scan(_MONTHS, end=newest_month, reverse=True):
            end = before or _LAST
            partition = f"{_MONTHS}/{month.clustering}"
            found += await self._records.scan(partition, end=end, limit=limit - len(found), reverse=True)
            if len(found) >= limit:
                break
        return [msgspec.msgpack.decode(row.value, type=AuditLine) for row in found]
