"""Flags in the records: every change is conditional on the revision it was made from, and audited.

Two who change one flag at once: the second is told. A flag that a trial tries cannot change
beneath it, but for being switched off. `FlagBook` is how nodes follow flags: the rows of one
partition, read again when a single row (the stamp) says that something changed; while the store
does not answer, the last ones stand. Enter at `Flags` and `FlagBook`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

import anyio
import msgspec

from redqueen.clock import Clock
from redqueen.errors import Conflict, NotFound, RedQueenError
from redqueen.events import Emit, LoopFailed, discard
from redqueen.experiments.flags import Flag, FlagRow, checked
from redqueen.experiments.own import OWN, is_own
from redqueen.store.audit import REGION, Audit
from redqueen.store.ports import ABSENT, Condition, Delete, Put, Record, Records

FLAGS: Final = "flags/definitions"
MAX_FLAGS: Final = 500
_STAMP: Final = "~"
"""Sorts behind every key, which begins with a letter."""
EVERY_S: Final = 0.5
_ANSWER_S: Final = 5.0
_TRIES: Final = 8


class Flags:
    """The region's flags and how they are changed."""

    def __init__(self, records: Records, clock: Clock, audit: Audit) -> None:
        """Keep them in `records`."""
        self._records = records
        self._clock = clock
        self._audit = audit

    async def all(self) -> list[FlagRow]:
        """Return every flag, by key."""
        return [_row(record) for record in await self._records.scan(FLAGS, end=_STAMP)]

    async def get(self, key: str) -> FlagRow:
        """Return one flag. Raises NotFound."""
        found = await self._found(key)
        if found is None:
            raise unknown(key)
        return _row(found)

    async def put(self, flag: Flag, revision: int | None, by: str, because: str = "") -> FlagRow:
        """Keep a flag that is still at `revision` (None: that does not exist yet); the same again changes nothing.

        Raises InvalidInput, Conflict.
        """
        flag = checked(flag)
        record = await self._found(flag.key)
        known = None if record is None else _row(record)
        if known is not None and known.flag == flag:
            return known
        if (known.revision if known else None) != revision:
            raise changed(flag.key)
        if known is not None and known.held_by and not _same_values(known.flag, flag):
            raise held(flag.key, known.held_by)
        if known is None and len(await self._records.scan(FLAGS, end=_STAMP, limit=MAX_FLAGS)) >= MAX_FLAGS:
            raise Conflict("flag.many", f"There are {MAX_FLAGS} flags already", hint="Remove those that nobody reads")
        holder = known.held_by if known else ""
        row = FlagRow(flag, (revision or 0) + 1, self._clock.now(), by, holder)
        await self._write(Put(flag.key, msgspec.json.encode(row), _condition(record)), flag.key)
        await self._audit.note(by, "set flag" if known else "make flag", f"flag {flag.key}", because or _told(row))
        return row

    async def remove(self, key: str, revision: int | None, by: str, because: str = "") -> None:
        """Forget a flag that is still at `revision` (None: any). Raises NotFound, Conflict."""
        record = await self._found(key)
        if record is None:
            raise unknown(key)
        if is_own(key):
            hint = "Change its default, or switch it off"
            raise Conflict("flag.own", f"Red Queen itself reads the flag {key}", hint=hint)
        if revision is not None and _row(record).revision != revision:
            raise changed(key)
        if _row(record).held_by:
            raise held(key, _row(record).held_by)
        await self._write(Delete(key, record.version), key)
        await self._audit.note(by, "remove flag", f"flag {key}", because)

    async def hold(self, key: str, experiment: str) -> Flag:
        """Let nothing but this experiment change a flag's values; again changes nothing. Raises NotFound, Conflict."""

        def taken(row: FlagRow) -> FlagRow:
            if row.held_by not in ("", experiment):
                raise held(key, row.held_by)
            return msgspec.structs.replace(row, held_by=experiment)

        return (await self._changed(key, taken)).flag

    async def let_go(self, key: str, experiment: str) -> None:
        """End an experiment's hold; no error where it has none."""
        if await self.find(key) is None:
            return
        await self._changed(
            key, lambda row: msgspec.structs.replace(row, held_by="") if row.held_by == experiment else row
        )

    async def make_default(self, key: str, variant: str, experiment: str, because: str) -> None:
        """Let everybody have what an experiment proved; again changes nothing. Raises NotFound, Conflict."""

        def won(row: FlagRow) -> FlagRow:
            if row.flag.default == variant or variant not in row.flag.variants:
                return row
            flag = msgspec.structs.replace(row.flag, default=variant)
            return FlagRow(flag, row.revision + 1, self._clock.now(), f"experiment {experiment}", row.held_by)

        before = await self.get(key)
        if (await self._changed(key, won)).revision > before.revision:
            await self._audit.note(
                REGION, "set flag", f"flag {key}", f"{variant} won the experiment {experiment}: {because}"
            )

    async def find(self, key: str) -> Flag | None:
        """Return a flag, or None."""
        found = await self._found(key)
        return None if found is None else _row(found).flag

    async def _changed(self, key: str, change: Callable[[FlagRow], FlagRow]) -> FlagRow:
        for _ in range(_TRIES):
            record = await self._found(key)
            if record is None:
                raise unknown(key)
            before = _row(record)
            after = change(before)
            if after == before:
                return after
            stamp = Put(_STAMP, secrets.token_hex(8).encode())
            if await self._records.batch(FLAGS, [Put(key, msgspec.json.encode(after), record.version), stamp]):
                return after
        raise changed(key)

    async def ensure_own(self) -> None:
        """Make the flags that Red Queen itself reads, where they were never made; safe to call from many nodes."""
        for flag in OWN:
            if await self._found(flag.key) is None:
                row = FlagRow(checked(flag), 1, self._clock.now(), REGION)
                stamp = Put(_STAMP, secrets.token_hex(8).encode())
                await self._records.batch(FLAGS, [Put(flag.key, msgspec.json.encode(row), ABSENT), stamp])

    async def _found(self, key: str) -> Record | None:
        return None if key == _STAMP else await self._records.get(FLAGS, key)

    async def _write(self, change: Put | Delete, key: str) -> None:
        stamp = Put(_STAMP, secrets.token_hex(8).encode())
        if not await self._records.batch(FLAGS, [change, stamp]):
            raise changed(key)


class FlagBook:
    """The flags as a node last read them."""

    def __init__(self, records: Records, clock: Clock, emit: Emit = discard) -> None:
        """Read from `records`."""
        self._records = records
        self._clock = clock
        self._emit = emit
        self._rows: tuple[FlagRow, ...] = ()
        self._stamp: bytes | None = None
        self._read_at = float("-inf")
        self._failing = False
        self._reading = anyio.Lock()

    @property
    def stamp(self) -> str:
        """Say which flags these are: another text after every change; empty while there never was one."""
        return (self._stamp or b"").decode()

    async def rows(self, *, now: bool = False) -> tuple[FlagRow, ...]:
        """Return the flags, at most half a second old (`now`: read at once); the same object until they change."""
        if now or self._clock.monotonic() - self._read_at >= EVERY_S:
            asked_at = self._clock.monotonic()
            async with self._reading:
                # Whoever waited while another read need not read again.
                if self._read_at <= asked_at or self._stamp is None:
                    await self._refresh()
        return self._rows

    async def _refresh(self) -> None:
        try:
            with anyio.fail_after(_ANSWER_S):
                await self._read()
            self._failing = False
        except (RedQueenError, TimeoutError, msgspec.MsgspecError) as error:
            if not self._failing:
                self._emit(LoopFailed("flags.follow", f"{type(error).__name__}: {error}", EVERY_S))
            self._failing = True
        self._read_at = self._clock.monotonic()

    async def _read(self) -> None:
        record = await self._records.get(FLAGS, _STAMP)
        stamp = b"" if record is None else record.value
        if stamp == self._stamp:
            return
        found = await self._records.scan(FLAGS, end=_STAMP)
        self._rows = tuple(_row(record) for record in found)
        self._stamp = stamp


def unknown(key: str) -> NotFound:
    """Say that there is no such flag."""
    return NotFound("flag.unknown", f"There is no flag {key[:80]}", hint="See them with: redqueen flag list")


def changed(key: str) -> Conflict:
    """Say that somebody was faster."""
    return Conflict("flag.changed", f"Somebody else changed the flag {key} meanwhile", hint="Look again, then decide")


def held(key: str, experiment: str) -> Conflict:
    """Say that an experiment needs the flag as it is."""
    hint = f"Wait, or end it: redqueen experiment stop {experiment}"
    return Conflict("flag.held", f"The experiment {experiment} tries the flag {key}", hint=hint)


def _same_values(one: Flag, other: Flag) -> bool:
    plain = {"enabled": True, "description": "", "owner": ""}
    return msgspec.structs.replace(one, **plain) == msgspec.structs.replace(other, **plain)


def _row(record: Record) -> FlagRow:
    return msgspec.json.decode(record.value, type=FlagRow)


def _condition(record: Record | None) -> Condition:
    return ABSENT if record is None else record.version


def _told(row: FlagRow) -> str:
    flag = row.flag
    state = "" if flag.enabled else ", off"
    return f"revision {row.revision}: default {flag.default}, {len(flag.rules)} rules{state}"
