"""Playback over records: remember where each viewer is, and give out links that play.

Progress lies in one partition per account, one record per title; the last writer wins, since the
last device used is the one that matters. Links are bounded to 60 s .. 7 days and name one title.
Refuses links to what cannot be watched yet. Enter at `Playback`.
"""

from __future__ import annotations

import msgspec

from redqueen.clock import Clock
from redqueen.errors import Conflict, InvalidInput
from redqueen.playback.model import Film, PlayLink, Progress, checked_position, token_url
from redqueen.playback.ports import MediaSigner
from redqueen.store.ports import Delete, Put, Records

MIN_LINK_S = 60
MAX_LINK_S = 7 * 86_400
_MOST = 1000


class Playback:
    """Where viewers are, and their links."""

    def __init__(
        self, records: Records, clock: Clock, signer: MediaSigner, *, public_url: str, link_ttl_s: int
    ) -> None:
        self._records = records
        self._clock = clock
        self._signer = signer
        self._public_url = public_url
        self._link_ttl_s = link_ttl_s

    async def keep_progress(self, account_id: str, film: Film, position_s: float) -> Progress:
        """Remember where an account is in a title. Raises InvalidInput for what is no time."""
        position_s = checked_position(position_s, film.duration_s)
        progress = Progress(film.id, position_s, self._clock.now(), film.duration_s)
        await self._records.put(_partition(account_id), Put(film.id, msgspec.json.encode(progress)))
        return progress

    async def progress(self, account_id: str, title_id: str) -> Progress | None:
        """Return where an account is in a title, or None if it never began."""
        record = await self._records.get(_partition(account_id), title_id)
        return None if record is None else msgspec.json.decode(record.value, type=Progress)

    async def all_progress(self, account_id: str) -> dict[str, Progress]:
        """Return where an account is in every title it began (at most 1000)."""
        records = await self._records.scan(_partition(account_id), limit=_MOST)
        return {record.clustering: msgspec.json.decode(record.value, type=Progress) for record in records}

    async def forget(self, account_id: str, title_id: str) -> None:
        """Forget where an account is in a title."""
        await self._records.delete(_partition(account_id), Delete(title_id))

    async def play_link(self, film: Film, ttl_s: int | None = None) -> PlayLink:
        """Return addresses for players that keep no cookies. Raises InvalidInput, Conflict."""
        ttl_s = self._link_ttl_s if ttl_s is None else ttl_s
        if not MIN_LINK_S <= ttl_s <= MAX_LINK_S:
            raise InvalidInput(
                "playback.ttl",
                f"A link cannot live {ttl_s} s",
                why=f"it must be {MIN_LINK_S} to {MAX_LINK_S} s",
                hint="Choose a time in between",
            )
        if film.hls is None:
            raise Conflict(
                "title.not_playable",
                "This title cannot be watched yet",
                why="its first segments are not encoded",
                hint="Wait until its state is playable",
            )
        right = await self._signer.sign([film.id], ttl_s)
        url = token_url(self._public_url, right.token, film.id, film.hls)
        dash = None if film.dash is None else token_url(self._public_url, right.token, film.id, film.dash)
        return PlayLink(url, dash, right.expires_at)


def _partition(account_id: str) -> str:
    return f"playback/progress/{account_id}"
