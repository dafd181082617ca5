"""What players may tell and how it is taken: a grant is given, beacons are checked, kept, then counted.

Decides that nothing is acknowledged or counted before it is on disk. The token says whose session
it is; events of one request are taken together or, batch by batch, refused with their reason.
Refuses what was not granted here, what is older than a day, what is not an event, and more than
the limits allow. Grants are on disk like events, so that exposures outlive the node. Enter at
`Intake.grant`, `Intake.take` and `Intake.reports`.
"""

from __future__ import annotations

import secrets
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from redqueen.clock import Clock
from redqueen.telemetry.cmcd import Report
from redqueen.telemetry.grants import opened, signed
from redqueen.telemetry.limits import Guard, Limits
from redqueen.telemetry.model import WINDOW_S, Grant, PlayerEvent
from redqueen.telemetry.ports import AssignedViewer, Assignment
from redqueen.telemetry.sessions import Sessions
from redqueen.telemetry.spool import Spool

MAX_BODY_BYTES = 64 << 10
"""What browsers send with sendBeacon at the most (Fetch, keep-alive limit)."""
MAX_EVENTS = 256
MAX_BATCHES = 32
MAX_AGE_S = 86_400
"""Seconds after its grant that a session may still be told of."""
MAX_ARMS = 32
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What a body can be; the last is one of thousands of brackets."""
_CMCD_SEQ = 1 << 30
"""CMCD reports are numbered from here on, beyond every event."""


class Told(msgspec.Struct, frozen=True):
    """A CMCD report among events: kept, not judged; the numbers are those that it has in common with them."""

    seq: int
    delay_ms: int
    stalled_ms: int
    bitrate_bps: int
    mean_bitrate_bps: int
    detail: str
    """The report as it was sent."""
    sid: str
    """The player's name for its session."""
    throughput_bps: int
    """As the player measured it."""
    stalls: int
    """1 where the player's buffer ran empty since its last report."""
    gateway: str = ""
    served_bytes: int = 0
    status: int = 0
    """Of the media request that carried it; 0 for one that was sent by itself."""
    kind: str = "cmcd"


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the spool: a grant (without events), or what one request told of a session."""

    received: float
    """When it arrived, Unix time of the node."""
    grant: Grant
    events: tuple[PlayerEvent, ...] = ()
    reports: tuple[Told, ...] = ()


class _Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str
    events: msgspec.Raw


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A beacon: one session's events, or several sessions'."""

    token: str | None = None
    events: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    batches: list[_Batch] = []


@dataclass(frozen=True, slots=True)
class Wish:
    """Who wants to play what, as the request and its gateway say."""

    viewer: int
    title: str
    device: str
    zone: str
    address: str
    told_arms: Mapping[str, str] = field(default_factory=dict[str, str])
    """Arms that the gateway decided: releases."""
    seen: tuple[str, ...] = ()
    """Trials that the player knows it was in."""
    release: str = ""
    country: str = ""
    returning: bool = False


@dataclass(frozen=True, slots=True)
class Granted:
    """A session's grant and token; with `wait_s` above 0 there is none, because too many were asked for."""

    grant: Grant | None
    token: str = ""
    wait_s: float = 0.0
    because: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a beacon: events kept, why a part was refused, how long to wait when nothing was taken."""

    kept: int = 0
    because: str = ""
    wait_s: float = 0.0


@dataclass(slots=True)
class Tally:
    """What came in since the node's start."""

    events: int = 0
    reports: int = 0
    """CMCD."""
    requests: int = 0
    grants: int = 0
    unjudged: int = 0
    """Grants whose address had as many as may be judged."""
    refused: Counter[str] = field(default_factory=Counter[str])
    folds: Counter[str] = field(default_factory=Counter[str])


class Intake:
    """One node's door for telemetry."""

    def __init__(
        self,
        secret: bytes,
        spool: Spool,
        sessions: Sessions,
        assignment: Assignment,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self._secret = secret
        self._spool = spool
        self._sessions = sessions
        self._assignment = assignment
        self._clock = clock
        self._guard = Guard(limits or Limits())
        self._encoder = msgspec.json.Encoder()
        self._bodies = msgspec.json.Decoder(_Body)
        self._events = msgspec.json.Decoder(tuple[PlayerEvent, ...])
        self.tally = Tally()

    async def grant(self, wish: Wish) -> Granted:
        """Fix a session's second, window and arms, and keep that on disk. Raises Exhausted, Unavailable."""
        now = self._clock.now()
        wait_s = self._guard.start(wish.viewer, wish.address, self._clock.monotonic())
        if wait_s:
            self.tally.refused["starts"] += 1
            return Granted(None, wait_s=wait_s, because="more plays were started than one viewer or one address may")
        arms = self._arms(wish)
        grant = Grant(
            session=secrets.randbits(64),
            viewer=wish.viewer,
            title=wish.title,
            device=wish.device,
            zone=wish.zone,
            second=int(now),
            window_s=WINDOW_S,
            arms=arms,
            first=tuple(sorted(trial for trial in arms if trial not in wish.seen)),
            release=wish.release,
            country=wish.country,
            returning=wish.returning,
        )
        await self._spool.append(self._encoder.encode(Line(now, grant)) + b"\n")
        self._sessions.granted(grant, now)
        self.tally.grants += 1
        return Granted(grant, signed(self._secret, grant))

    async def take(self, body: bytes, address: str) -> Taken:
        """Keep a beacon's events and count them. Raises Exhausted, Unavailable when they cannot be kept."""
        self.tally.requests += 1
        try:
            batches = _batches(self._bodies.decode(body))
        except _UNREADABLE as error:
            return self._refused("body", str(error), address)
        told: list[Line] = []
        refused, now = Taken(), self._clock.now()
        for number, batch in enumerate(batches):
            found = self._checked(batch, address, now)
            if isinstance(found, Line):
                told.append(found)
            elif found.wait_s:
                return found
            else:
                where = f"batches[{number}]: " if len(batches) > 1 else ""
                refused = Taken(because=refused.because or where + found.because)
        if told:
            await self._keep(told)
        return Taken(sum(len(line.events) for line in told), refused.because)

    async def reports(self, token: str, reports: Sequence[Report], address: str) -> Taken:
        """Keep CMCD reports of a session. Raises Exhausted, Unavailable when they cannot be kept."""
        self.tally.requests += 1
        grant = self.opened(token, address)
        if isinstance(grant, Taken):
            return grant
        session = f"{grant.session:016x}"
        if any(report.word("sid") not in ("", session) for report in reports):
            return self._refused("cmcd", "sid is not the session that the token grants", address)
        wait_s = self._guard.events(grant.session, grant.viewer, len(reports), self._clock.monotonic())
        if wait_s:
            self.tally.refused["events"] += 1
            return Taken(because="more was sent than one session or one viewer may", wait_s=wait_s)
        line = Line(self._clock.now(), grant, reports=tuple(told(report, report.text) for report in reports))
        await self._spool.append(self._encoder.encode(line) + b"\n")
        self.tally.reports += len(reports)
        return Taken(len(reports))

    def unreadable(self, because: str, address: str) -> Taken:
        """Refuse reports that are none."""
        return self._refused("cmcd", because, address)

    def opened(self, token: str, address: str) -> Grant | Taken:
        """Return what a token grants, or why it is refused."""
        grant = opened(self._secret, token)
        if grant is None:
            return self._refused("token", "the token is not one of this region's", address)
        if self._clock.now() - grant.second > MAX_AGE_S:
            return self._refused("old", "the session was granted more than a day ago", address)
        return grant

    def _checked(self, batch: _Batch, address: str, now: float) -> Line | Taken:
        grant = self.opened(batch.token, address)
        if isinstance(grant, Taken):
            return grant
        try:
            events = self._events.decode(batch.events)
        except _UNREADABLE as error:
            return self._refused("event", f"events: {error}", address)
        if not 0 < len(events) <= MAX_EVENTS:
            return self._refused("event", f"events: there are {len(events)}, 1 to {MAX_EVENTS} are taken", address)
        wait_s = self._guard.events(grant.session, grant.viewer, len(events), self._clock.monotonic())
        if wait_s:
            self.tally.refused["events"] += 1
            return Taken(because="more events were sent than one session or one viewer may", wait_s=wait_s)
        return Line(now, grant, events)

    async def _keep(self, told: Sequence[Line]) -> None:
        await self._spool.append(b"".join(self._encoder.encode(line) + b"\n" for line in told))
        folds = self.tally.folds
        for line in told:
            self.tally.events += len(line.events)
            folds.update(self._sessions.heard(line.grant, line.events, line.received))

    def _refused(self, why: str, because: str, address: str) -> Taken:
        self.tally.refused[why] += 1
        wait_s = self._guard.forged(address, self._clock.monotonic())
        return Taken(because=because, wait_s=wait_s)

    def _arms(self, wish: Wish) -> dict[str, str]:
        if not self._guard.judged(wish.address, self._clock.monotonic()):
            self.tally.unjudged += 1
            return {}
        viewer = AssignedViewer(wish.viewer, wish.device, wish.zone, wish.country, wish.returning)
        arms = {**self._assignment.arms(viewer), **wish.told_arms}
        return dict(sorted(arms.items())[:MAX_ARMS])


def replayed(sessions: Sessions, line: Line) -> None:
    """Fold a line of a spool as it was folded when it arrived."""
    sessions.granted(line.grant, line.received)
    sessions.heard(line.grant, line.events, line.received)


def told(report: Report, identity: str, *, gateway: str = "", served_bytes: int = 0, status: int = 0) -> Told:
    """Return a report as it is kept; its number follows from its identity, so that one kept twice counts once."""
    return Told(
        seq=_CMCD_SEQ + zlib.crc32(identity.encode()) % _CMCD_SEQ,
        delay_ms=_whole(report, "msd", 1, -1),
        stalled_ms=_whole(report, "bsd", 1, 0),
        bitrate_bps=_whole(report, "br", 1000, 0),
        mean_bitrate_bps=_whole(report, "ab", 1000, 0),
        detail=report.text,
        sid=report.word("sid")[:64],
        throughput_bps=_whole(report, "mtp", 1000, 0),
        stalls=int(report.flag("bs")),
        gateway=gateway,
        served_bytes=served_bytes,
        status=status,
    )


def _whole(report: Report, key: str, unit: int, otherwise: int) -> int:
    """Return a number of a report in our unit, CMCD's being kbit/s and ms."""
    number = report.number(key)
    return otherwise if number is None or not 0 <= number < 10_000_000 else round(number * unit)


def _batches(body: _Body) -> Sequence[_Batch]:
    if body.batches:
        if body.token is not None or body.events is not msgspec.UNSET:
            raise msgspec.ValidationError("send `token` and `events`, or `batches`")
        if len(body.batches) > MAX_BATCHES:
            raise msgspec.ValidationError(f"there are {len(body.batches)} batches, {MAX_BATCHES} are taken")
        return body.batches
    if body.token is None or isinstance(body.events, msgspec.UnsetType):
        raise msgspec.ValidationError("`token` and `events` are missing")
    return [_Batch(body.token, body.events)]
