"""Where viewers are in titles, and what a player needs to begin. Values and their rules, pure.

Decides when a title counts as watched (95 %) and drops out of "continue watching". Media
addresses are built here, once: `/media/<title>/…` with the cookie, `/v/<token>/<title>/…` without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from redqueen.errors import InvalidInput

FINISHED_FRACTION = 0.95
_MAX_POSITION_S = 1_000_000.0


class SubtitleTrack(Protocol):
    """What playback needs of a subtitle track."""

    @property
    def lang(self) -> str: ...
    @property
    def label(self) -> str: ...


class Film(Protocol):
    """What playback needs of a title; media paths are relative to the title's folder."""

    @property
    def id(self) -> str: ...
    @property
    def hls(self) -> str | None: ...
    @property
    def dash(self) -> str | None: ...
    @property
    def poster(self) -> str | None: ...
    @property
    def duration_s(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Progress:
    """Where one account stopped in one title (seconds), and when (epoch seconds)."""

    title_id: str
    position_s: float
    updated_at: float
    duration_s: float | None = None

    @property
    def finished(self) -> bool:
        """Tell whether the title counts as watched."""
        return self.duration_s is not None and self.position_s > FINISHED_FRACTION * self.duration_s

    @property
    def resume_s(self) -> float:
        """Return where to begin next time: the exact second, or 0 when it was watched."""
        return 0.0 if self.finished else self.position_s


@dataclass(frozen=True, slots=True)
class PlayLink:
    """Addresses that play one title without cookies until `expires_at` (epoch seconds)."""

    url: str
    dash_url: str | None
    expires_at: float


def checked_position(position_s: float, duration_s: float | None) -> float:
    """Return a position inside the film. Raises InvalidInput when it is no time at all."""
    if not math.isfinite(position_s) or not 0 <= position_s <= _MAX_POSITION_S:
        raise InvalidInput(
            "playback.position",
            "`position_s` is not a place in a film",
            why="it must be seconds from the beginning, 0 or more",
            hint="Send the player's current time",
        )
    return position_s if duration_s is None else min(position_s, duration_s)


def media_path(title_id: str, path: str | None) -> str | None:
    """Return the address of a title's file for players with the cookie."""
    return None if path is None else f"/media/{title_id}/{path}"


def subtitle_path(title_id: str, lang: str) -> str:
    """Return the address of a title's subtitle file for players with the cookie."""
    return f"/media/{title_id}/subtitles/{lang}.vtt"


def token_url(public_url: str, token: str, title_id: str, path: str) -> str:
    """Return the full address of a title's file that carries its own right."""
    return f"{public_url.rstrip('/')}/v/{token}/{title_id}/{path}"
