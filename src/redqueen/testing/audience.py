"""Light emulated viewers by the thousand: they start plays through the API and tell of them; no segment is fetched.

Decides who plays next (a seeded population that keeps its cookies), what a play would be by itself
(`viewer.fate`) and what the service made of it: an answer of 5xx after every try is a failed start,
time that answers took is added to the delay. Refuses nothing a service does. It reports whom the
service harmed, by arm, whether or not their events arrived. Enter at `Audience.run`, or from
threads at `attending`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import anyio
from anyio.from_thread import start_blocking_portal

from redqueen.clock import Clock, SystemClock
from redqueen.errors import InvalidInput
from redqueen.telemetry.model import Kind
from redqueen.testing.viewer.fate import DAY_S, Fate, Habits, next_start
from redqueen.testing.viewer.harm import Felt, Harm, Played, summed
from redqueen.testing.viewer.http import Answer, Browser, TooSlow, Unreachable
from redqueen.testing.viewer.policy import RetryPolicy
from redqueen.testing.viewer.telemetry import Granted, Teller, granted

PLAYBACK = "/api/v1/titles/{title}/playback"
AGENTS: Mapping[str, str] = {
    "desktop": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "mobile": "Mozilla/5.0 (Linux; Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0",
    "tv": "Mozilla/5.0 (SMART-TV; Linux; Tizen 8.0) AppleWebKit/537.36 (KHTML, like Gecko) TV Safari/537.36",
    "other": "Lavf/61.7.100",
}
_DURATION = re.compile(r";\s*dur=(\d+(?:\.\d+)?)")
"""A metric's milliseconds in Server-Timing (W3C)."""
_POLICY = RetryPolicy(timeout_s=10.0, connection_timeout_s=5.0)
_GRANT_S = 1.0
_PARTING_S = 20.0
"""How long a viewer who leaves still tries to deliver events."""


@dataclass(frozen=True, slots=True)
class Attendance:
    """How many come and what a play asks of the service; times in seconds."""

    viewers: int = 2000
    starts_per_minute: float = 300.0
    swing: float = 0.0
    """The rate swings by this share (0..1) once in `day_s`."""
    day_s: float = DAY_S
    paths: tuple[str, ...] = (PLAYBACK,)
    """What is asked for, in turn, before the first frame; `{title}` is filled in."""
    tries: int = 2
    """Requests of one path, the first included; the web app asks again after 1.5 s."""
    again_after_s: float = 1.5
    heartbeat_s: float = 10.0
    noticed_s: float = 0.1
    """Answers that take longer than this harm a viewer."""
    telemetry: bool = True


@dataclass(slots=True)
class Tally:
    """What happened so far; read it at any time."""

    plays: list[Played] = field(default_factory=list[Played])
    """Plays whose start has succeeded or failed."""
    begun: int = 0
    ungranted: int = 0
    told: int = 0
    acknowledged: int = 0
    failed_sends: int = 0
    refused: list[str] = field(default_factory=list[str])
    """What the region called wrong of events, at most 20."""

    @property
    def lost(self) -> int:
        """Return how many events of ended plays were never acknowledged."""
        return self.told - self.acknowledged

    def harm(self, trial: str, *, until_s: float | None = None) -> dict[str, Harm]:
        """Sum up by arm of `trial` the plays that began before `until_s` (Unix time); arm "": not in it."""
        return summed(self.plays, trial, until_s)


@dataclass(slots=True)
class _Person:
    number: int
    device: str
    cookies: dict[str, str] = field(default_factory=dict[str, str])
    returning: bool = False


@dataclass(slots=True)
class Audience:
    """A population of viewers of `titles` (ids) at the region `base`; equal seeds give equal plays.

    `headers` (an Authorization, say) go with every request. On a loopback region each viewer comes
    from an address of its own, so that limits by address mean what they mean outside.
    """

    base: str
    titles: tuple[str, ...]
    attendance: Attendance = field(default_factory=Attendance)
    habits: Habits = field(default_factory=Habits)
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    seed: int = 0
    clock: Clock = field(default_factory=SystemClock)
    tally: Tally = field(default_factory=Tally)

    async def run(self, duration_s: float) -> Tally:
        """Let plays begin for `duration_s` seconds and end by themselves. Raises InvalidInput without a title."""
        if not self.titles:
            raise InvalidInput("audience.no_titles", "There is nothing to watch", hint="Give at least one title")
        luck = random.Random(self.seed)  # noqa: S311 - a model, not a secret
        people = [_Person(number, self.habits.device(luck)) for number in range(self.attendance.viewers)]
        began, at_s = self.clock.monotonic(), 0.0
        async with anyio.create_task_group() as group:
            while True:
                at_s = self._next(at_s, luck)
                if at_s > duration_s:
                    break
                person, title, fate = luck.choice(people), luck.choice(self.titles), self.habits.fate(luck)
                await self.clock.sleep(max(0.0, began + at_s - self.clock.monotonic()))
                group.start_soon(self._play, person, title, fate)
        return self.tally

    def _next(self, at_s: float, luck: random.Random) -> float:
        wish = self.attendance
        return next_start(at_s, wish.starts_per_minute, luck, swing=wish.swing, day_s=wish.day_s)

    async def _play(self, person: _Person, title: str, fate: Fate) -> None:
        self.tally.begun += 1
        asked_at, began = self.clock.monotonic(), self.clock.now()
        headers = {**self.headers, "User-Agent": AGENTS.get(person.device, ""), "X-Redqueen": "1"}
        async with Browser(_POLICY, self.clock, headers=headers, local_host=self._address(person)) as browser:
            line = _Line(browser, person)
            felt = await self._ask(line, title)
            answered_at = self.clock.monotonic()
            grant = await self._granted(line, title)
            # Like the web player, a viewer waits a second at most for the session.
            service_s = answered_at - asked_at + min(self.clock.monotonic() - answered_at, _GRANT_S)
            played = Played(
                at=began,
                viewer=person.number,
                device=person.device,
                arms={} if grant is None else grant.arms,
                own_failure=fate.fails,
                service_failure=felt[-1].failure if felt else "",
                own_delay_s=fate.delay_s,
                service_s=service_s,
                noticed_s=self.attendance.noticed_s,
                felt=felt,
            )
            if grant is None:
                self.tally.ungranted += self.attendance.telemetry
                self.tally.plays.append(played)
                return
            await self._told(line, Teller(grant, self.clock, asked_at), fate, played)

    async def _granted(self, line: _Line, title: str) -> Granted | None:
        person = line.person
        returning, person.returning = person.returning, True
        if not self.attendance.telemetry:
            return None
        return await granted(line, self.base, title, person.device, returning=returning)

    def _address(self, person: _Person) -> str | None:
        if urlsplit(self.base).hostname != "127.0.0.1":
            return None
        return f"127.{64 + (person.number >> 16) % 64}.{person.number >> 8 & 255}.{person.number & 255}"

    async def _ask(self, line: _Line, title: str) -> tuple[Felt, ...]:
        """Ask for what a play needs until something fails after every try; say what each address did."""
        felt: list[Felt] = []
        for path in self.attendance.paths:
            url, began, said, own_s = self.base + path.format(title=title), self.clock.monotonic(), "", None
            for attempt in range(self.attendance.tries):
                pause_s = self.attendance.again_after_s if attempt else 0.0
                await self.clock.sleep(pause_s)
                said, took_s = await _tried(line, url)
                own_s = own_s if took_s is None else (own_s or 0.0) + pause_s + took_s
                if not said:
                    break
            felt.append(Felt(said, self.clock.monotonic() - began, own_s))
            if said:
                break
        return tuple(felt)

    async def _told(self, line: _Line, teller: Teller, fate: Fate, played: Played) -> None:
        teller.note(Kind.ASKED)
        try:
            if played.failed:
                teller.note(Kind.ERROR, teller.add(errors=1), detail=played.service_failure or "no first frame")
                self.tally.plays.append(played)
            else:
                due = teller.asked_at + played.delay_s
                await self.clock.sleep(max(0.0, due - self.clock.monotonic()))
                self.tally.plays.append(played)
                await self._watched(line, teller, fate)
            await teller.flush(line, self.base, patience_s=_PARTING_S)
        finally:
            tally = self.tally
            tally.told += teller.told
            tally.acknowledged += teller.acknowledged
            tally.failed_sends += teller.failed_sends
            if teller.refused and len(tally.refused) < 20:
                tally.refused.append(teller.refused)

    async def _watched(self, line: _Line, teller: Teller, fate: Fate) -> None:
        """Play from the first frame to the end: stall where fate says so, tell the sums now and then."""
        rate = fate.bitrate_bps
        # Measured, not computed: the region refuses a delay that is longer than the time that has passed.
        delay_ms = int((self.clock.monotonic() - teller.asked_at) * 1000)
        first = teller.add(delay_ms=delay_ms, bitrate_bps=rate, mean_bitrate_bps=rate)
        teller.note(Kind.FIRST_FRAME, first)
        await teller.flush(line, self.base)
        from_s, moments = 0.0, _moments(fate, self.attendance.heartbeat_s)
        for at_s, kind in moments:
            await self.clock.sleep(at_s - from_s)
            teller.add(played_ms=teller.sums.played_ms + round((at_s - from_s) * 1000))
            from_s = at_s
            if kind is Kind.STALL_BEGIN:
                teller.note(kind, teller.add(stalls=teller.sums.stalls + 1))
                await self.clock.sleep(fate.stall_s)
                teller.note(Kind.STALL_END, teller.add(stalled_ms=teller.sums.stalled_ms + round(fate.stall_s * 1000)))
            else:
                teller.note(kind)
                await teller.flush(line, self.base)


@dataclass(frozen=True, slots=True)
class _Line:
    """A viewer's connections with the viewer's cookies."""

    browser: Browser
    person: _Person

    async def send(self, method: str, url: str, body: bytes = b"") -> Answer:
        headers: dict[str, str] = {"Content-Type": "application/json"} if body else {}
        if self.person.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.person.cookies.items())
        answer = await self.browser.send(method, url, body=body, headers=headers)
        for cookie in answer.cookies:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.person.cookies[name.strip()] = value.strip()
        return answer


async def _tried(line: _Line, url: str) -> tuple[str, float | None]:
    """Ask once; say what failed (empty: nothing) and what the service says that it took."""
    try:
        answer = await line.send("GET", url)
    except (Unreachable, TooSlow) as error:
        return str(error), None
    durations = _DURATION.findall(answer.headers.get("server-timing", ""))
    took_s = sum(map(float, durations)) / 1000.0 if durations else None
    return f"status {answer.status}" if answer.status >= 400 else "", took_s


def _moments(fate: Fate, heartbeat_s: float) -> list[tuple[float, Kind]]:
    """List what is told after the first frame, in order of played seconds."""
    beats = [(n * heartbeat_s, Kind.HEARTBEAT) for n in range(1, int(fate.watch_s / heartbeat_s) + 1)]
    stalls = [(fate.stall_after_s, Kind.STALL_BEGIN)] if fate.stall_after_s < fate.watch_s else []
    return [*sorted(beats + stalls, key=lambda one: one[0]), (fate.watch_s, Kind.END)]


@contextmanager
def attending(audience: Audience, duration_s: float = 1e9) -> Generator[Tally]:
    """Let the audience play in a thread of its own while the block runs; plays under way end with the block."""
    with start_blocking_portal() as portal:
        playing = portal.start_task_soon(audience.run, duration_s)
        try:
            yield audience.tally
            if playing.done():
                playing.result()
        finally:
            playing.cancel()
