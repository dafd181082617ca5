"""How films arrive: uploads over records and the spool, from creation to the studio.

An upload's facts are one record, its bytes one spool file; the offset is the file's size, so any
node can go on where another died. The last step (move to `sources/<title>/film`, tell the
catalogue, hand to the studio, mark done) is repeatable from any point. Refuses what does not fit
on the disk before the first byte. Enter at `Uploads.create` and `append`; loops call `sweep`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import msgspec

from redqueen.api.ports import StudioPort
from redqueen.api.spool import Spool, Writer
from redqueen.catalogue import names
from redqueen.catalogue.model import new_title_id
from redqueen.catalogue.service import Catalogue
from redqueen.clock import Clock
from redqueen.errors import Conflict, Exhausted, InvalidInput, NotFound, RedQueenError
from redqueen.events import Emit, Event
from redqueen.store.ports import ABSENT, Delete, Objects, Put, Records

_PARTITION = "uploads"
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
_BATCH_BYTES = 512 << 10
_TELL_S = 0.5
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What is taken: largest file, how long an idle upload stays, how much disk is left free."""

    max_bytes: int = 200 << 30
    idle_s: float = 86_400.0
    reserve_bytes: int = 512 << 20
    reserve_fraction: float = 0.02


@dataclass(frozen=True, slots=True)
class Upload:
    """The facts of one upload; `done_at` (epoch seconds) is set when the studio has the film."""

    id: str
    account_id: str
    title_id: str
    length: int
    created_at: float
    done_at: float | None = None

    @property
    def source_key(self) -> str:
        """Return where the film lies when it is whole."""
        return f"sources/{self.title_id}/film"


@dataclass(frozen=True, slots=True)
class UploadBegun(Event):
    """Somebody began to send a film."""

    upload: str
    title: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class UploadFinished(Event):
    """A film is whole and with the studio."""

    upload: str
    title: str


@dataclass(frozen=True, slots=True)
class UploadRemoved(Event):
    """An upload ended without a film."""

    upload: str
    title: str
    because: str


class ConnectionCut(Exception):
    """The client's connection ended before its request did."""


def refuse_without_room(length: int, free: int, total: int, promised: int, limits: UploadLimits) -> None:
    """Raise Exhausted unless `length` bytes fit beside what is promised and what must stay free."""
    reserve = min(limits.reserve_bytes, int(total * limits.reserve_fraction))
    room = max(0, free - promised - reserve)
    if length > room:
        raise Exhausted(
            "upload.no_room",
            f"There is no room for this file: it has {length} bytes, {room} are free",
            why=f"{promised} bytes are promised to other uploads and {reserve} are kept in reserve",
            hint="Remove titles or unfinished uploads, or give the data folder a larger disk",
        )


class Uploads:
    """Films on their way in."""

    def __init__(
        self,
        records: Records,
        objects: Objects,
        catalogue: Catalogue,
        studio: StudioPort,
        folder: Path,
        clock: Clock,
        emit: Emit,
        limits: UploadLimits | None = None,
    ) -> None:
        self._records = records
        self._objects = objects
        self._catalogue = catalogue
        self._studio = studio
        self._spool = Spool(folder)
        self._clock = clock
        self._emit = emit
        self._told: dict[str, float] = {}
        self.limits = limits or UploadLimits()

    async def create(self, account_id: str, length: int, *, title: str, filename: str) -> Upload:
        """Begin an upload and its title. Raises Exhausted when there is no room."""
        open_uploads = [upload for upload in await self._all() if upload.done_at is None]
        promised = sum(max(0, upload.length - self._written(upload)) for upload in open_uploads)
        refuse_without_room(length, *self._spool.free(), promised, self.limits)
        upload = Upload(secrets.token_hex(16), account_id, new_title_id(), length, self._clock.now())
        # The record comes first: everything else is found and swept by it after a crash.
        await self._records.put(_PARTITION, Put(upload.id, msgspec.json.encode(upload), when=ABSENT))
        self._spool.create(upload.id)
        name = title if names.cleaned(title, empty="") else names.from_filename(filename)
        await self._catalogue.create(name, size_bytes=length, title_id=upload.title_id)
        self._emit(UploadBegun(upload.id, upload.title_id, length))
        return upload

    async def find(self, upload_id: str, account_id: str) -> Upload:
        """Return an upload of this account. Raises NotFound, also for those of others."""
        record = await self._records.get(_PARTITION, upload_id) if _UPLOAD_ID.fullmatch(upload_id) else None
        upload = None if record is None else msgspec.json.decode(record.value, type=Upload)
        if upload is None or upload.account_id != account_id:
            raise _gone()
        return upload

    async def offset(self, upload: Upload) -> int:
        """Return how many bytes are here; a whole upload is finished first. Raises NotFound, Conflict."""
        if upload.done_at is None and await self._is_whole(upload):
            await self._finish_alone(upload)
            return upload.length
        if upload.done_at is None and self._spool.facts(upload.id) is None:
            raise _gone()
        return self._written(upload)

    def expires_at(self, upload: Upload) -> float:
        """Return when the upload is given up if nothing more comes (epoch seconds)."""
        facts = self._spool.facts(upload.id)
        return (upload.created_at if facts is None else facts[1]) + self.limits.idle_s

    async def append(self, upload: Upload, offset: int, pieces: AsyncIterator[bytes]) -> int:
        """Write what comes at `offset` and return the new one; the last byte hands the film in.

        Raises Conflict (wrong offset, another writer), Exhausted, InvalidInput (too long), and
        ConnectionCut after keeping what had come.
        """
        if upload.done_at is not None:
            return _checked_offset(offset, upload.length)
        async with self._spool.writer(upload.id, take_over=True) as writer:
            if writer is None:
                return _checked_offset(offset, await self.offset(await self.find(upload.id, upload.account_id)))
            _checked_offset(offset, writer.size)
            cut = await self._receive(upload, writer, pieces)
            if writer.size == upload.length:
                await self._finish(upload, writer)
            elif cut is not None:
                raise cut
            return writer.size

    async def terminate(self, upload: Upload, because: str) -> None:
        """End an upload and remove its bytes; a film that is whole already stays."""
        if upload.done_at is None:
            async with self._spool.writer(upload.id, take_over=True) as writer:
                if writer is None and await self._is_whole(upload):
                    await self._finish(upload)  # a node died between the move and the studio
                else:
                    self._spool.remove(upload.id)
                    await self._catalogue.abandon(upload.title_id)
        await self._records.delete(_PARTITION, Delete(upload.id))
        self._told.pop(upload.id, None)
        self._emit(UploadRemoved(upload.id, upload.title_id, because))

    async def terminate_for(self, title_id: str) -> None:
        """End the uploads of a title that is being removed."""
        for upload in await self._all():
            if upload.title_id == title_id:
                await self.terminate(upload, "its title was removed")

    async def sweep(self) -> int:
        """Finish what a dead node left whole, give up what has been idle too long; return how many."""
        return await self.finish_pending() + await self.expire()

    async def finish_pending(self) -> int:
        """Hand in every upload that is whole but not done; return how many."""
        finished = 0
        for upload in await self._all():
            if upload.done_at is None and await self._is_whole(upload):
                try:
                    await self._finish_alone(upload)
                except (Conflict, NotFound):
                    continue  # somebody else is at it, or removed it
                finished += 1
        return finished

    async def expire(self) -> int:
        """Remove uploads to which nothing came for `limits.idle_s` seconds; return how many."""
        late = [
            upload
            for upload in await self._all()
            if upload.done_at is None and self.expires_at(upload) < self._clock.now()
        ]
        for upload in late:
            await self.terminate(upload, f"nothing came for {self.limits.idle_s:.0f} s")
        return len(late)

    async def _receive(self, upload: Upload, writer: Writer, pieces: AsyncIterator[bytes]) -> Exception | None:
        """Pump until the end, the length, or a newcomer; return ConnectionCut, raise the rest."""
        failure: Exception | None = Conflict(
            "upload.superseded", "Another connection goes on with this upload", hint="Ask for its offset again"
        )

        async def watch(scope: anyio.CancelScope) -> None:
            await writer.superseded()
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(watch, group.cancel_scope)
            try:
                await self._pump(upload, writer, pieces)
                failure = None
            except (RedQueenError, ConnectionCut, OSError) as error:
                failure = error
            group.cancel_scope.cancel()
        await self._tell(upload, writer.size, last=True)
        if failure is not None and not isinstance(failure, ConnectionCut):
            raise failure
        return failure

    async def _pump(self, upload: Upload, writer: Writer, pieces: AsyncIterator[bytes]) -> None:
        batch = bytearray()
        try:
            async for piece in pieces:
                batch += piece
                if writer.size + len(batch) > upload.length:
                    raise InvalidInput(
                        "upload.too_long",
                        "More bytes came than this upload was said to have",
                        why=f"its length is {upload.length}",
                        hint="Begin a new upload with the right length",
                    )
                if len(batch) >= _BATCH_BYTES:
                    full, batch = batch, bytearray()
                    await writer.append(full)
                    await self._tell(upload, writer.size)
        except ConnectionCut:
            await writer.append(batch)
            raise
        await writer.append(batch)

    async def _tell(self, upload: Upload, size: int, *, last: bool = False) -> None:
        now = self._clock.monotonic()
        if now - self._told.get(upload.id, float("-inf")) < _TELL_S and not (last and size == upload.length):
            return
        self._told[upload.id] = now
        await self._catalogue.uploaded(upload.title_id, size)

    async def _is_whole(self, upload: Upload) -> bool:
        facts = self._spool.facts(upload.id)
        return await self._objects.exists(upload.source_key) if facts is None else facts[0] == upload.length

    async def _finish_alone(self, upload: Upload) -> None:
        async with self._spool.writer(upload.id, take_over=False):
            await self._finish(upload)

    async def _finish(self, upload: Upload, writer: Writer | None = None) -> None:
        """Take the last step; every part of it may have been taken before."""
        if self._spool.facts(upload.id) is not None:
            await self._objects.put_file(upload.source_key, self._spool.path(upload.id))
        await self._catalogue.received(upload.title_id)
        await self._studio.submit(upload.title_id, upload.source_key)
        if await self._catalogue.find(upload.title_id) is None:
            await self._studio.remove(upload.title_id)  # the title was removed while its last bytes came
        if writer is not None:
            await writer.sync()  # only now: the studio need not wait for the disk, the client's answer does
        done = replace(upload, done_at=self._clock.now())
        await self._records.put(_PARTITION, Put(upload.id, msgspec.json.encode(done), ttl_s=self.limits.idle_s))
        self._spool.remove(upload.id)
        self._told.pop(upload.id, None)
        self._emit(UploadFinished(upload.id, upload.title_id))

    async def _all(self) -> list[Upload]:
        found: list[Upload] = []
        start = ""
        while True:
            records = await self._records.scan(_PARTITION, start=start, limit=_PAGE)
            found += [msgspec.json.decode(record.value, type=Upload) for record in records]
            if len(records) < _PAGE:
                return found
            start = records[-1].clustering + "\x00"

    def _written(self, upload: Upload) -> int:
        if upload.done_at is not None:
            return upload.length
        facts = self._spool.facts(upload.id)
        return 0 if facts is None else facts[0]


def _checked_offset(asked: int, here: int) -> int:
    if asked != here:
        raise Conflict(
            "upload.offset",
            f"The upload goes on at byte {here}, not {asked}",
            hint="Ask for its offset (HEAD), then send from there",
        )
    return here


def _gone() -> NotFound:
    return NotFound("upload.unknown", "There is no such upload", why="it ended or expired", hint="Begin a new one")
