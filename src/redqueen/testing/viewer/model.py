"""What a viewer sees while films are fetched: starting, playing, stalled, ended; pure.

Decides, from segments that arrive and from time that passes, where the playhead stands, when it
stopped for want of media and for how long. The exact moment of a stall is computed from the
buffer, however late anybody looks. Refuses: time that goes back. Enter at `begin`, `step` and
`hungry_in`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType


class Phase(StrEnum):
    """Where a viewing stands."""

    STARTING = "starting"
    PLAYING = "playing"
    STALLED = "stalled"
    SEEKING = "seeking"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Track:
    """One buffered stream: media time held from `from_s` to `until_s`; `complete` at the film's end."""

    from_s: float
    until_s: float
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Stall:
    """The playhead stood still at `position_s` for `seconds`, starved by `starved`.

    `at_edge` tells that everything listed had been fetched: the playlist, not a segment, was late.
    """

    at: float
    position_s: float
    seconds: float
    starved: str
    at_edge: bool = False


@dataclass(frozen=True, slots=True)
class Playback:
    """The whole state of one viewing; `as_of` is the moment up to which it is computed."""

    asked_at: float
    as_of: float
    tracks: Mapping[str, Track]
    phase: Phase = Phase.STARTING
    position_s: float = 0.0
    speed: float = 1.0
    resume_s: float = 0.0
    """Seconds of media needed ahead of the playhead before it moves again (Shaka's rebufferingGoal)."""
    waiting_since: float = 0.0
    starved: str = ""
    starved_at_edge: bool = False
    edge: frozenset[str] = field(default_factory=frozenset[str])
    """Tracks that have fetched all that is listed now."""
    first_frame_at: float | None = None
    stalls: tuple[Stall, ...] = ()
    seek_delays_s: tuple[float, ...] = ()
    because: str = ""

    @property
    def play_delay_s(self) -> float | None:
        """Return seconds from the wish to watch to the first frame, or None before it."""
        return None if self.first_frame_at is None else self.first_frame_at - self.asked_at

    @property
    def over(self) -> bool:
        """Tell whether nothing will happen any more."""
        return self.phase in (Phase.ENDED, Phase.FAILED)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A segment of `track` arrived that holds `start_s` to `end_s`; `last` if it ends the film."""

    track: str
    start_s: float
    end_s: float
    last: bool = False


@dataclass(frozen=True, slots=True)
class AtEdge:
    """A track has fetched all that its playlist lists; `ended` if no more will be listed."""

    track: str
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Seek:
    """The viewer moves the playhead."""

    to_s: float


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The player cannot go on."""

    because: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


Event = Fetched | AtEdge | Seek | GaveUp | Tick


def begin(tracks: tuple[str, ...], now: float, *, start_s: float = 0.0, speed: float = 1.0) -> Playback:
    """Start a viewing that was asked for at `now`, of the named tracks, at `start_s` of the film."""
    empty = {name: Track(start_s, start_s) for name in tracks}
    return Playback(now, now, MappingProxyType(empty), position_s=start_s, speed=speed, waiting_since=now)


def step(state: Playback, event: Event, now: float) -> Playback:
    """Return the state after `event` at `now` (monotonic seconds). Nothing changes once it is over."""
    state = advance(state, now)
    if state.over:
        return state
    match event:
        case Fetched():
            return _go_on(_extended(state, event), now)
        case AtEdge():
            return _go_on(_edged(state, event), now)
        case Seek():
            return _go_on(_sought(state, event, now), now)
        case GaveUp():
            return _closed(replace(state, phase=Phase.FAILED, because=event.because), state, now)
        case Tick():
            return state


def advance(state: Playback, now: float) -> Playback:
    """Move the playhead to where it stands at `now`, stopping it exactly where media ran out."""
    now = max(now, state.as_of)
    if state.phase is not Phase.PLAYING:
        return replace(state, as_of=now)
    limit = playable_until(state)
    position = state.position_s + (now - state.as_of) * state.speed
    if position < limit:
        return replace(state, as_of=now, position_s=position)
    stopped_at = min(now, state.as_of + max(0.0, limit - state.position_s) / state.speed)
    state = replace(state, as_of=now, position_s=limit, waiting_since=stopped_at)
    if _all_complete(state):
        return replace(state, phase=Phase.ENDED, because="the film is over")
    starved = _shortest(state)
    return replace(state, phase=Phase.STALLED, starved=starved, starved_at_edge=starved in state.edge)


def playable_until(state: Playback) -> float:
    """Return the media time that the playhead can reach with what is buffered.

    A track that is complete starves nobody: audio may end some frames before the picture.
    """
    if _all_complete(state):
        return max(track.until_s for track in state.tracks.values())
    return min(track.until_s for track in state.tracks.values() if not track.complete)


def buffered_s(state: Playback, track: str) -> float:
    """Return seconds of media that `track` holds ahead of the playhead."""
    return state.tracks[track].until_s - state.position_s


def hungry_in(state: Playback, track: str, goal_s: float) -> float:
    """Return seconds of clock until `track` wants its next segment: 0 at once, infinity for never."""
    if state.over or state.tracks[track].complete:
        return math.inf
    spare_s = buffered_s(state, track) - goal_s
    if spare_s < 0:
        return 0.0
    # While the playhead stands still nothing is eaten; look again when it could have moved.
    return max(spare_s / state.speed, 0.01) if state.phase is Phase.PLAYING else 0.05


def event_in(state: Playback) -> float:
    """Return seconds of clock until something happens by itself (media runs out), or infinity."""
    if state.phase is not Phase.PLAYING:
        return math.inf
    return max(0.0, playable_until(state) - state.position_s) / state.speed


def waiting_s(state: Playback, now: float) -> float:
    """Return for how long the viewer has been looking at a standing picture, 0 while it moves."""
    still = state.phase in (Phase.STARTING, Phase.STALLED, Phase.SEEKING)
    return max(0.0, now - state.waiting_since) if still else 0.0


def closed(state: Playback, now: float) -> Playback:
    """Return the state as the viewer leaves at `now`: a stall under way is counted up to here."""
    state = advance(state, now)
    return _closed(state, state, now)


def _extended(state: Playback, event: Fetched) -> Playback:
    track = state.tracks[event.track]
    if event.start_s > track.until_s + 0.5 or event.end_s < track.until_s:
        return state  # a segment that no longer joins on: fetched before a seek
    grown = replace(track, until_s=event.end_s, complete=event.last)
    return replace(_with(state, event.track, grown), edge=state.edge - {event.track})


def _edged(state: Playback, event: AtEdge) -> Playback:
    if event.ended:
        return _with(state, event.track, replace(state.tracks[event.track], complete=True))
    return replace(state, edge=state.edge | {event.track})


def _sought(state: Playback, event: Seek, now: float) -> Playback:
    state = _closed(state, state, now)
    held = all(track.from_s <= event.to_s < track.until_s for track in state.tracks.values())
    if not held:
        empty = {name: Track(event.to_s, event.to_s) for name in state.tracks}
        state = replace(state, tracks=MappingProxyType(empty), edge=frozenset[str]())
    phase = Phase.SEEKING if state.first_frame_at is not None else Phase.STARTING
    return replace(state, phase=phase, position_s=event.to_s, waiting_since=now, starved="")


def _go_on(state: Playback, now: float) -> Playback:
    if state.phase is Phase.PLAYING or state.over:
        return state
    ahead_s = playable_until(state) - state.position_s
    if _all_complete(state) and ahead_s <= 0:
        ended = replace(state, phase=Phase.ENDED, because="the film is over")
        return _closed(ended, state, now)
    if ahead_s <= 0 or (ahead_s < state.resume_s and not _all_complete(state)):
        return state
    moving = replace(state, phase=Phase.PLAYING)
    if state.first_frame_at is None:
        return replace(moving, first_frame_at=now)
    return _closed(moving, state, now)


def _closed(new: Playback, old: Playback, now: float) -> Playback:
    """Add to `new` the stall or seek that `old` was in, ended at `now`."""
    if old.phase is Phase.STALLED:
        seconds = now - old.waiting_since
        stall = Stall(old.waiting_since, old.position_s, seconds, old.starved, old.starved_at_edge)
        return replace(new, stalls=(*new.stalls, stall), waiting_since=now)
    if old.phase is Phase.SEEKING:
        return replace(new, seek_delays_s=(*new.seek_delays_s, now - old.waiting_since), waiting_since=now)
    return new


def _with(state: Playback, name: str, track: Track) -> Playback:
    return replace(state, tracks=MappingProxyType({**state.tracks, name: track}))


def _all_complete(state: Playback) -> bool:
    return all(track.complete for track in state.tracks.values())


def _shortest(state: Playback) -> str:
    short = {name: track.until_s for name, track in state.tracks.items() if not track.complete}
    return min(short, key=lambda name: short[name])
