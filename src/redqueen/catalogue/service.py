"""The library over records: make, find, change and remove titles.

Every change is one step of `lifecycle.py` written back under compare-and-set, tried again when
somebody else was faster, so that many nodes may tell news at once. The library is one partition.
News about a title that is gone is dropped by the studio's six verbs (a film may be removed while
it encodes); other changes raise NotFound. Enter at `Catalogue.create` and `Catalogue.tell`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from redqueen.catalogue import lifecycle, names, search
from redqueen.catalogue.lifecycle import News
from redqueen.catalogue.model import Facts, Failure, Rung, State, Subtitle, Title, is_title_id, new_title_id
from redqueen.clock import Clock
from redqueen.errors import Conflict, NotFound
from redqueen.store.ports import ABSENT, Delete, Put, Records

_PARTITION = "catalogue/titles"
_TRIES = 50
_PAGE = 1000


class Catalogue:
    """The titles of the region."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    async def create(
        self, title: str, *, size_bytes: int, sample: bool = False, description: str = "", title_id: str | None = None
    ) -> Title:
        """Add a title in state uploading; the name is cleaned. Raises Conflict if the id is taken."""
        now = self._clock.now()
        made = Title(
            id=title_id or new_title_id(),
            title=names.cleaned(title),
            description=names.cleaned_description(description),
            created_at=now,
            updated_at=now,
            size_bytes=size_bytes,
            sample=sample,
        )
        if await self._records.put(_PARTITION, Put(made.id, msgspec.json.encode(made), when=ABSENT)) is None:
            raise Conflict("title.exists", f"There is a title {made.id} already", hint="Choose another id")
        return made

    async def get(self, title_id: str) -> Title:
        """Return one title. Raises NotFound."""
        found = await self.find(title_id)
        if found is None:
            raise _gone(title_id)
        return found

    async def find(self, title_id: str) -> Title | None:
        """Return one title, or None."""
        if not is_title_id(title_id):
            return None
        record = await self._records.get(_PARTITION, title_id)
        return None if record is None else msgspec.json.decode(record.value, type=Title)

    async def all(self) -> list[Title]:
        """Return every title, by id. Cost: one read of the library's partition."""
        titles: list[Title] = []
        start = ""
        while True:
            records = await self._records.scan(_PARTITION, start=start, limit=_PAGE)
            titles += [msgspec.json.decode(record.value, type=Title) for record in records]
            if len(records) < _PAGE:
                return titles
            start = records[-1].clustering + "\x00"

    async def search(self, query: str, *, limit: int = 50, after: str | None = None) -> search.Page:
        """Return one page of the titles that match `query`, best first (newest first without one)."""
        return search.page(search.found(await self.all(), query), limit, after)

    async def tell(self, title_id: str, news: News) -> Title:
        """Apply news to a title and return it. Raises NotFound, and Conflict when it cannot be."""
        for _ in range(_TRIES):  # a failed try means that somebody else's change went in
            record = await self._records.get(_PARTITION, title_id)
            if record is None:
                raise _gone(title_id)
            before = msgspec.json.decode(record.value, type=Title)
            after = lifecycle.step(before, news, self._clock.now())
            if after is before:
                return before
            change = Put(title_id, msgspec.json.encode(after), when=record.version)
            if await self._records.put(_PARTITION, change) is not None:
                return after
        raise Conflict("title.busy", f"Title {title_id} is being changed by many at once", hint="Try again")

    async def describe(self, title_id: str, title: str | None, description: str | None) -> Title:
        """Change name or description; None leaves it. Raises NotFound."""
        news = lifecycle.Described(
            None if title is None else names.cleaned(title),
            None if description is None else names.cleaned_description(description),
        )
        return await self.tell(title_id, news)

    async def delete(self, title_id: str) -> bool:
        """Remove a title from the library; False if it was gone. Its bytes are the studio's to remove."""
        existed = await self.find(title_id) is not None
        await self._records.delete(_PARTITION, Delete(title_id))
        return existed

    async def abandon(self, title_id: str) -> bool:
        """Remove a title whose upload will never end; False if it has arrived, or is gone."""
        record = await self._records.get(_PARTITION, title_id)
        if record is None or msgspec.json.decode(record.value, type=Title).state is not State.UPLOADING:
            return False
        return await self._records.delete(_PARTITION, Delete(title_id, when=record.version))

    async def uploaded(self, title_id: str, uploaded_bytes: int) -> None:
        """Note how many bytes of the file are here."""
        await self._tell_if_there(title_id, lifecycle.Uploaded(uploaded_bytes))

    async def received(self, title_id: str) -> None:
        """Note that the whole file is here."""
        await self._tell_if_there(title_id, lifecycle.Received())

    async def subtitled(self, title_id: str, lang: str, label: str) -> Title:
        """Note a subtitle track. Raises NotFound."""
        return await self.tell(
            title_id, lifecycle.Subtitled(Subtitle(lang, names.cleaned(label, limit=60, empty=lang)))
        )

    async def probed(self, title_id: str, facts: Facts) -> None:
        """Note what the file is."""
        await self._tell_if_there(title_id, lifecycle.Probed(facts))

    async def progress(self, title_id: str, fraction: float, rungs: Sequence[Rung]) -> None:
        """Note how far the encode is (0 to 1)."""
        await self._tell_if_there(title_id, lifecycle.Progressed(fraction, tuple(rungs)))

    async def playable(self, title_id: str, hls_path: str) -> None:
        """Note that it can be watched from its first segments."""
        await self._tell_if_there(title_id, lifecycle.BecamePlayable(hls_path))

    async def poster(self, title_id: str, path: str) -> None:
        """Note its picture."""
        await self._tell_if_there(title_id, lifecycle.PosterMade(path))

    async def complete(self, title_id: str, hls_path: str, dash_path: str | None) -> None:
        """Note that everything is there."""
        await self._tell_if_there(title_id, lifecycle.Completed(hls_path, dash_path))

    async def failed(self, title_id: str, failure: Failure) -> None:
        """Note that it cannot be made, and why."""
        await self._tell_if_there(title_id, lifecycle.Failed(failure))

    async def _tell_if_there(self, title_id: str, news: News) -> None:
        try:
            await self.tell(title_id, news)
        except NotFound:
            return


def _gone(title_id: str) -> NotFound:
    shown = title_id if is_title_id(title_id) else "of that id"
    return NotFound("title.unknown", f"There is no title {shown}", hint="List them with: redqueen titles")
