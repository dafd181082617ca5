"""How a title may change: `step(title, event, now)`, pure.

    uploading -> waiting -> encoding -> playable -> complete
    and from each of the first four -> failed.

News may come late, twice or out of order, because workers die and others take over: what is
already known changes nothing, progress never goes back. Refuses (Conflict) what cannot be true,
such as a film that is playable before it has arrived.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from redqueen.catalogue.model import Facts, Failure, Rung, State, Subtitle, Title
from redqueen.errors import Conflict


@dataclass(frozen=True, slots=True)
class Uploaded:
    """So many bytes of the file are here."""

    uploaded_bytes: int


@dataclass(frozen=True, slots=True)
class Received:
    """The whole file is here and was handed to the studio."""


@dataclass(frozen=True, slots=True)
class Probed:
    """The studio knows what the file is."""

    facts: Facts


@dataclass(frozen=True, slots=True)
class Progressed:
    """The encode has come so far (0 to 1)."""

    fraction: float
    rungs: tuple[Rung, ...]


@dataclass(frozen=True, slots=True)
class BecamePlayable:
    """The first segments can be watched."""

    hls: str


@dataclass(frozen=True, slots=True)
class PosterMade:
    """There is a picture of it."""

    path: str


@dataclass(frozen=True, slots=True)
class Completed:
    """Every rung is there."""

    hls: str
    dash: str | None


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot be made."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Subtitled:
    """A subtitle track was added or replaced."""

    subtitle: Subtitle


@dataclass(frozen=True, slots=True)
class Described:
    """Somebody changed its name or description (None: as it is)."""

    title: str | None = None
    description: str | None = None


News = (
    Uploaded | Received | Probed | Progressed | BecamePlayable | PosterMade | Completed | Failed | Subtitled | Described
)

_WORKED_ON = (State.WAITING, State.ENCODING, State.PLAYABLE)


def step(title: Title, news: News, now: float) -> Title:
    """Return the title after `news` at `now` (epoch seconds). Raises Conflict when that cannot be."""
    changed = _RULES[type(news)](title, news)
    return title if changed == title else replace(changed, updated_at=now)


def _uploaded(title: Title, news: Uploaded) -> Title:
    if title.state is not State.UPLOADING:
        return title
    # A crash of the machine may lose the last bytes: the number then goes back, truthfully.
    return replace(title, uploaded_bytes=min(max(news.uploaded_bytes, 0), title.size_bytes))


def _received(title: Title, _: Received) -> Title:
    if title.state is not State.UPLOADING:
        return title
    return replace(title, state=State.WAITING, uploaded_bytes=title.size_bytes)


def _probed(title: Title, news: Probed) -> Title:
    if title.state in (State.COMPLETE, State.FAILED):
        return title
    _require(title, _WORKED_ON, "probed")
    facts = news.facts
    state = State.ENCODING if title.state is State.WAITING else title.state
    return replace(
        title, state=state, duration_s=facts.duration_s, width=facts.width, height=facts.height, fps=facts.fps
    )


def _progressed(title: Title, news: Progressed) -> Title:
    if title.state in (State.COMPLETE, State.FAILED):
        return title
    _require(title, _WORKED_ON, "encoded in part")
    fraction = news.fraction if math.isfinite(news.fraction) else 0.0
    state = State.ENCODING if title.state is State.WAITING else title.state
    return replace(
        title,
        state=state,
        progress=max(title.progress, min(max(fraction, 0.0), 1.0)),
        rungs=_further(title.rungs, news.rungs),
    )


def _further(known: tuple[Rung, ...], told: tuple[Rung, ...]) -> tuple[Rung, ...]:
    before = {rung.name: rung.progress for rung in known}
    return tuple(replace(rung, progress=max(rung.progress, before.get(rung.name, 0.0))) for rung in told) or known


def _playable(title: Title, news: BecamePlayable) -> Title:
    if title.state in (State.COMPLETE, State.FAILED):
        return title
    _require(title, _WORKED_ON, "playable")
    return replace(title, state=State.PLAYABLE, hls=news.hls)


def _poster(title: Title, news: PosterMade) -> Title:
    _require(title, (*_WORKED_ON, State.COMPLETE, State.FAILED), "given a poster")
    return replace(title, poster=news.path)


def _completed(title: Title, news: Completed) -> Title:
    _require(title, (*_WORKED_ON, State.COMPLETE), "complete")
    rungs = tuple(replace(rung, progress=1.0) for rung in title.rungs)
    return replace(title, state=State.COMPLETE, progress=1.0, rungs=rungs, hls=news.hls, dash=news.dash)


def _failed(title: Title, news: Failed) -> Title:
    if title.state in (State.COMPLETE, State.FAILED):
        return title  # a late worker's failure: the title has its end already
    return replace(title, state=State.FAILED, failure=news.failure)


def _subtitled(title: Title, news: Subtitled) -> Title:
    others = tuple(track for track in title.subtitles if track.lang != news.subtitle.lang)
    return replace(title, subtitles=tuple(sorted((*others, news.subtitle), key=lambda track: track.lang)))


def _described(title: Title, news: Described) -> Title:
    return replace(
        title,
        title=title.title if news.title is None else news.title,
        description=title.description if news.description is None else news.description,
    )


def _require(title: Title, states: tuple[State, ...], becoming: str) -> None:
    if title.state not in states:
        raise Conflict(
            "title.transition",
            f"Title {title.id} cannot be {becoming}",
            why=f"it is {title.state}",
            hint="Read the title again; if it stays so, report it",
        )


_RULES: dict[type, Callable[..., Title]] = {
    Uploaded: _uploaded,
    Received: _received,
    Probed: _probed,
    Progressed: _progressed,
    BecamePlayable: _playable,
    PosterMade: _poster,
    Completed: _completed,
    Failed: _failed,
    Subtitled: _subtitled,
    Described: _described,
}
