"""A title and its parts as values: what the catalogue keeps, and the API shows, of a film.

Times are epoch seconds, lengths seconds, sizes bytes. Media paths are relative to
`/media/<title id>/`. How a title may change is in `lifecycle.py`.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from enum import StrEnum

_TITLE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{10,63}")


class State(StrEnum):
    """How far a title has come; it can be watched in PLAYABLE and COMPLETE."""

    UPLOADING = "uploading"
    WAITING = "waiting"
    ENCODING = "encoding"
    PLAYABLE = "playable"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Rung:
    """One quality of the ladder and how much of it exists (0 to 1)."""

    name: str
    height: int
    bitrate_bps: int
    progress: float = 0.0


@dataclass(frozen=True, slots=True)
class Subtitle:
    """A subtitle track: BCP 47 language and the name a viewer reads."""

    lang: str
    label: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a title failed, in the words of the error that ended it."""

    code: str
    what: str
    why: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the probe found in a film."""

    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None


@dataclass(frozen=True, slots=True)
class Title:
    """A film of the library."""

    id: str
    title: str
    created_at: float
    updated_at: float
    description: str = ""
    state: State = State.UPLOADING
    progress: float = 0.0
    uploaded_bytes: int = 0
    size_bytes: int = 0
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    rungs: tuple[Rung, ...] = ()
    subtitles: tuple[Subtitle, ...] = ()
    failure: Failure | None = None
    poster: str | None = None
    hls: str | None = None
    dash: str | None = None
    sample: bool = False


def new_title_id() -> str:
    """Return a fresh title id: 12 url-safe characters (72 random bits), never first a dash."""
    while (title_id := secrets.token_urlsafe(9)).startswith("-"):
        pass
    return title_id


def is_title_id(text: str) -> bool:
    """Tell whether `text` has the form of a title id."""
    return _TITLE_ID.fullmatch(text) is not None
