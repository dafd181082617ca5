"""What the studio remembers of each title, in the records store.

Partition `studio/<title>` holds the title, each finished chunk, the sound and what is published; the
partition `studio` lists the titles that are not finished. A chunk's record is written once its
bytes are stored, so whoever finds the record need not do the work. Enter at `Ledger`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from redqueen.errors import Conflict
from redqueen.store.ports import ABSENT, Delete, Put, Records
from redqueen.studio.model import AudioDone, ChunkDone, Done, Published, SubtitleText, Title

_ACTIVE = "studio"
_PAGE = 1000
_TRIES = 20
T = TypeVar("T")


class Ledger:
    """The studio's memory of titles."""

    def __init__(self, records: Records) -> None:
        """Keep it in `records`."""
        self._records = records

    async def open(self, title: Title) -> bool:
        """Remember a new title; False when it is known already."""
        await self._records.put(_ACTIVE, Put(title.title_id, b""))
        return await self._records.put(_at(title.title_id), Put("title", _json(title), when=ABSENT)) is not None

    async def title(self, title_id: str) -> Title | None:
        """Return what is remembered of a title."""
        return await self._get(title_id, "title", Title)

    async def change(self, title_id: str, rule: Callable[[Title], Title | None]) -> Title | None:
        """Change a title by a pure rule (None: leave it); return it as stored, None when there is none."""
        for _ in range(_TRIES):
            record = await self._records.get(_at(title_id), "title")
            if record is None:
                return None
            before = msgspec.json.decode(record.value, type=Title)
            after = rule(before)
            if after is None or after == before:
                return before
            change = Put("title", _json(after), when=record.version)
            if await self._records.put(_at(title_id), change) is not None:
                return after
        raise Conflict("studio.contended", f"The title {title_id} changes too fast", hint="Try again")

    async def close(self, title_id: str) -> None:
        """Take a title off the list of unfinished ones."""
        await self._records.delete(_ACTIVE, Delete(title_id))

    async def active(self) -> list[str]:
        """List the titles that are not finished."""
        return [record.clustering for record in await self._records.scan(_ACTIVE, limit=_PAGE)]

    async def chunk(self, title_id: str, rung: str, index: int) -> ChunkDone | None:
        """Return what a chunk left, or None while it is not made."""
        return await self._get(title_id, _chunk(rung, index), ChunkDone)

    async def keep_chunk(self, title_id: str, rung: str, index: int, done: ChunkDone) -> None:
        """Remember a chunk whose bytes are stored."""
        await self._put(title_id, _chunk(rung, index), done)

    async def audio(self, title_id: str) -> AudioDone | None:
        """Return how far the sound is."""
        return await self._get(title_id, "audio", AudioDone)

    async def keep_audio(self, title_id: str, done: AudioDone) -> None:
        """Remember how far the sound is; what is remembered never shrinks."""
        before = await self.audio(title_id)
        if before is None or (done.whole, done.fragments) > (before.whole, before.fragments):
            await self._put(title_id, "audio", done)

    async def done(self, title_id: str) -> Done:
        """Gather everything that has been made."""
        chunks: dict[str, dict[int, ChunkDone]] = {}
        start = "chunk/"
        while page := await self._records.scan(_at(title_id), start=start, end="chunk0", limit=_PAGE):
            for record in page:
                _, rung, index = record.clustering.split("/")
                chunks.setdefault(rung, {})[int(index)] = msgspec.json.decode(record.value, type=ChunkDone)
            start = page[-1].clustering + "\0"
        return Done(chunks, await self.audio(title_id))

    async def published(self, title_id: str) -> Published | None:
        """Return how much viewers can see, None before the first playlist."""
        return await self._get(title_id, "published", Published)

    async def keep_published(self, title_id: str, published: Published) -> None:
        """Remember how much viewers can see."""
        await self._put(title_id, "published", published)

    async def texts(self, title_id: str) -> tuple[SubtitleText, ...]:
        """List the subtitles that viewers are offered, by language."""
        rows = await self._records.scan(_at(title_id), start="text/", end="text0", limit=100)
        return tuple(msgspec.json.decode(row.value, type=SubtitleText) for row in rows)

    async def keep_text(self, title_id: str, text: SubtitleText) -> None:
        """Remember subtitles; one set for each language."""
        await self._put(title_id, f"text/{text.lang}", text)

    async def forget(self, title_id: str) -> None:
        """Remove everything that is remembered of a title."""
        while page := await self._records.scan(_at(title_id), limit=100):
            await self._records.batch(_at(title_id), [Delete(record.clustering) for record in page])
        await self.close(title_id)

    async def _get(self, title_id: str, clustering: str, kind: type[T]) -> T | None:
        record = await self._records.get(_at(title_id), clustering)
        return None if record is None else msgspec.json.decode(record.value, type=kind)

    async def _put(self, title_id: str, clustering: str, value: Any) -> None:
        await self._records.put(_at(title_id), Put(clustering, _json(value)))


def _at(title_id: str) -> str:
    return f"studio/{title_id}"


def _chunk(rung: str, index: int) -> str:
    return f"chunk/{rung}/{index:06d}"


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
