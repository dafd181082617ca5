"""The product's services with their stores, and each one's ports answered by another.

What the studio finds out goes to the catalogue; what the API asks goes to the studio. Values are
translated here, so that the packages need not know each other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from redqueen.api.intake import Uploads
from redqueen.catalogue import model as titles
from redqueen.catalogue.service import Catalogue
from redqueen.errors import NotFound
from redqueen.roles.stores import Stores
from redqueen.store.jobs import Jobs
from redqueen.store.ports import Objects
from redqueen.studio.model import Facts, Failure, RungProgress
from redqueen.studio.service import Studio


class CatalogueSink:
    """The studio's TitleSink over the catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def probed(self, title_id: str, facts: Facts) -> None:
        """Keep what the film is."""
        fps = round(float(facts.rate.exact), 3)
        await self._catalogue.probed(title_id, titles.Facts(facts.duration_s, facts.width, facts.height, fps))

    async def progress(self, title_id: str, fraction: float, rungs: Sequence[RungProgress]) -> None:
        """Keep how far the encode is."""
        found = [titles.Rung(rung.name, rung.height, rung.bitrate_bps, rung.progress) for rung in rungs]
        await self._catalogue.progress(title_id, fraction, found)

    async def playable(self, title_id: str, hls_path: str) -> None:
        """Let the title be watched from now on."""
        await self._catalogue.playable(title_id, hls_path)

    async def poster(self, title_id: str, path: str) -> None:
        """Keep the poster's path."""
        await self._catalogue.poster(title_id, path)

    async def subtitled(self, title_id: str, lang: str, label: str) -> None:
        """Keep that there are subtitles in a language."""
        with contextlib.suppress(NotFound):  # the title was removed meanwhile
            await self._catalogue.subtitled(title_id, lang, label)

    async def complete(self, title_id: str, hls_path: str, dash_path: str) -> None:
        """Mark the title complete."""
        await self._catalogue.complete(title_id, hls_path, dash_path)

    async def failed(self, title_id: str, failure: Failure) -> None:
        """Keep why the film cannot be made into a title."""
        await self._catalogue.failed(title_id, titles.Failure(failure.code, failure.what, failure.why, failure.hint))


class StudioDesk:
    """What the API asks of the studio; films and their subtitles leave with their title."""

    def __init__(self, studio: Studio, objects: Objects) -> None:
        self._studio = studio
        self._objects = objects

    async def submit(self, title_id: str, source_key: str) -> None:
        """Take a film that has arrived whole."""
        await self._studio.submit(title_id, source_key)

    async def set_subtitles(self, title_id: str, lang: str, label: str, text: str) -> None:
        """Clean subtitles and offer them to viewers. Raises InvalidInput."""
        await self._studio.add_subtitles(title_id, lang, label, text.encode())

    async def remove(self, title_id: str) -> None:
        """Stop work on a title and remove its bytes."""
        await self._studio.forget(title_id)
        await self._objects.delete_all(f"sources/{title_id}")


class Product:
    """The product's services over the region's stores."""

    def __init__(self, stores: Stores) -> None:
        records, objects, clock, emit = stores.records, stores.objects, stores.clock, stores.emit
        self.catalogue = Catalogue(records, clock)
        sink, scratch = CatalogueSink(self.catalogue), stores.data_dir / "scratch"
        self.studio = Studio(records, Jobs(records, clock), objects, sink, clock, emit, scratch=scratch)
        self.desk = StudioDesk(self.studio, objects)
        spool = stores.data_dir / "uploads"
        self.uploads = Uploads(records, objects, self.catalogue, self.desk, spool, clock, emit)
