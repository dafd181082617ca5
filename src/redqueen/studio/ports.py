"""What the studio tells whoever keeps the titles. The composition root hands an adapter in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from redqueen.studio.model import Facts, Failure, RungProgress


class TitleSink(Protocol):
    """Takes news of titles; every call may come twice and must then change nothing."""

    async def probed(self, title_id: str, facts: Facts) -> None:
        """Take what the film is; encoding begins."""
        ...

    async def progress(self, title_id: str, fraction: float, rungs: Sequence[RungProgress]) -> None:
        """Take how far the encode is, 0 to 1, whole and by rung; at most about once a second."""
        ...

    async def playable(self, title_id: str, hls_path: str) -> None:
        """Take that the title can be watched from now on, at a path relative to `media/<title>/`."""
        ...

    async def poster(self, title_id: str, path: str) -> None:
        """Take the poster's path relative to `media/<title>/`."""
        ...

    async def subtitled(self, title_id: str, lang: str, label: str) -> None:
        """Take that there are subtitles in a language that were found inside the film."""
        ...

    async def complete(self, title_id: str, hls_path: str, dash_path: str) -> None:
        """Take that everything is made; paths are relative to `media/<title>/`."""
        ...

    async def failed(self, title_id: str, failure: Failure) -> None:
        """Take that the film cannot be made into a title, and why."""
        ...
