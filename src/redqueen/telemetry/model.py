"""What a player tells, and what a trial is told of it: sessions by the second, gateways' figures by the second.

A session is one play. Its grant fixes when its attribution window ends and which arms it is in,
before any of its data exists; each event carries the session's sums so far, so that the event with
the highest number alone tells everything, in any order, however many were lost. A session belongs
to the second in which it was granted (`Grant.second`), on whichever node its events arrive.
Values only. Enter at `Grant`, `PlayerEvent`, `SessionRow` and `FigureBin`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

WINDOW_S = 20
"""Seconds after the grant that a session's outcome may take; what comes later is kept but not judged."""
LATENESS_S = 3
"""Seconds after the window in which events may still be on their way."""
START_LIMIT_S = 15.0
"""A session without a first frame after so long has failed to start."""

LATENCY_BOUNDS_MS = (
    0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 10_000,
)  # fmt: skip
"""Upper bounds of the gateways' latency histograms; one more bucket lies above the last."""


Millis = Annotated[int, msgspec.Meta(ge=0, le=86_400_000)]
"""At most a day."""
Rate = Annotated[int, msgspec.Meta(ge=0, le=10_000_000_000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class Device(StrEnum):
    """Classes of devices, as the player tells them."""

    DESKTOP = "desktop"
    MOBILE = "mobile"
    TV = "tv"
    OTHER = "other"


class Kind(StrEnum):
    """What happened in a session."""

    ASKED = "asked"
    FIRST_FRAME = "first_frame"
    STALL_BEGIN = "stall_begin"
    STALL_END = "stall_end"
    ERROR = "error"
    QUALITY = "quality"
    HEARTBEAT = "heartbeat"
    END = "end"


class Grant(msgspec.Struct, frozen=True):
    """A session as the region allowed it; signed, it is the session's token and travels with every event.

    Unknown fields are passed over: only this region signs, and its nodes may be of two versions.
    """

    session: int
    """64 random bits."""
    viewer: int
    """64 bits, see `redqueen.viewers`."""
    title: str
    device: str
    zone: str
    """The zone of the gateway by which it was asked for."""
    second: int
    """When it was granted, Unix time by the granting node's clock."""
    window_s: int
    arms: dict[str, str]
    """Arm by trial, for each trial that this session may feel."""
    first: tuple[str, ...] = ()
    """Those of them in which the viewer was not before."""
    release: str = ""
    country: str = ""
    returning: bool = False


class PlayerEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One event and the session's sums so far. Times in milliseconds by the player's steady clock, from `asked`."""

    seq: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    """1, 2, 3 … within the session."""
    kind: Kind
    at_ms: Millis
    delay_ms: Annotated[int, msgspec.Meta(ge=-1, le=86_400_000)] = -1
    """From asked to the first frame; -1: none yet."""
    played_ms: Millis = 0
    stalled_ms: Millis = 0
    stalls: Count = 0
    errors: Count = 0
    bitrate_bps: Rate = 0
    """Of the rung now played."""
    mean_bitrate_bps: Rate = 0
    """Over the time played so far."""
    detail: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """What failed, in the player's words; at most 200 characters."""
    gateway: Annotated[str, msgspec.Meta(max_length=64)] = ""


class SessionRow(msgspec.Struct, frozen=True, array_like=True):
    """What one node knows of a session whose window has closed; of several rows the highest `seq` stands."""

    session: int
    seq: int
    """0: nothing was heard of it on this node."""
    viewer: int
    second: int
    device: str
    zone: str
    arms: dict[str, str]
    first: tuple[str, ...]
    failed: bool
    """No first frame within START_LIMIT_S, whatever the reason; False where nothing was heard."""
    delay_ms: int
    played_ms: int
    stalled_ms: int
    stalls: int
    errors: int
    bitrate_bps: int
    """The mean over the time played."""
    release: str = ""
    country: str = ""
    returning: bool = False


class FigureBin(msgspec.Struct, frozen=True, array_like=True):
    """What one gateway saw in one second of one arm of a trial (or, with no trial, of a whole service)."""

    second: int
    gateway: str
    zone: str
    service: str
    trial: str
    arm: str
    requests: int
    first: int
    """Of these, requests by viewers who were not in the trial before."""
    errors: int
    """Answers 500 to 599, the gateway's own included, after all tries."""
    latency: tuple[int, ...]
    """Requests by LATENCY_BOUNDS_MS, then those above the last bound."""
