"""One viewer: fetches what the model is hungry for, in real time, and reports what it saw.

Decides nothing about playback itself (`model`), rungs (`choice`) or waits (`policy`): it runs
their decisions over a `Transport`. A track's loop fetches segments until 12 s lie ahead; a reload
loop follows playlists that still grow; a timekeeper ends the session. Refuses to go on after a
fatal error: 401, 403, a first playlist that cannot be had or read. Enter at `watch`.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import anyio

from redqueen.clock import Clock, SystemClock
from redqueen.errors import InvalidInput
from redqueen.testing.viewer import choice, model, policy
from redqueen.testing.viewer.http import Answer, Browser, TooSlow, Unreachable
from redqueen.testing.viewer.playlist import ByteRange, Master, Media, Part, Rung, Segment, parse
from redqueen.testing.viewer.policy import Failure, RetryPolicy
from redqueen.testing.viewer.report import Report, Setback

_MAX_SETBACKS = 50

_Work: TypeAlias = Callable[[str], Awaitable[None]]


class Transport(Protocol):
    """Where answers come from: a `Browser`, or a simulated network."""

    connections: int

    async def get(self, url: str, *, part: ByteRange | None = None, keep_body: bool = False) -> Answer:
        """Fetch `url` once. Raises Unreachable or TooSlow."""
        ...


@dataclass(frozen=True, slots=True)
class Wishes:
    """How this viewer watches; times in seconds."""

    duration_s: float | None = None
    """Leave after so many seconds of clock; None: watch to the end."""
    speed: float = 1.0
    """Seconds of film per second of clock. Waits and time limits of the policy are not scaled."""
    buffer_s: float = 12.0
    start_s: float = 0.0
    rung: str = "auto"
    """`auto`, `lowest`, `highest`, or a number of lines."""
    language: str = ""
    seeks: tuple[tuple[float, float], ...] = ()
    """Pairs: so many seconds after the session's start, go to that second of the film."""


class _Fatal(Exception):
    """The player cannot go on."""


@dataclass(slots=True)
class _Tally:
    requests: int = 0
    retries: int = 0
    bytes: int = 0
    switches: int = 0
    heights: set[int] = field(default_factory=set[int])
    setbacks: list[Setback] = field(default_factory=list[Setback])


@dataclass(slots=True)
class _Feed:
    """One track's playlist as last read, and who waits for its next reading."""

    url: str
    playlist: Media
    read_at: float
    changed: anyio.Event = field(default_factory=anyio.Event)


async def watch(
    url: str,
    *,
    duration_s: float | None = None,
    speed: float = 1.0,
    retry: RetryPolicy | None = None,
    wishes: Wishes | None = None,
    headers: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    seed: int = 0,
) -> Report:
    """Watch the HLS film at `url` for `duration_s` seconds (None: to its end) and report.

    `wishes` says more than `duration_s` and `speed`, and replaces both. Never raises because of
    the server or the address: a fatal error is in the report.
    """
    clock = clock or SystemClock()
    retry = retry or RetryPolicy()
    wishes = wishes or Wishes(duration_s=duration_s, speed=speed)
    async with Browser(retry, clock, headers=headers) as browser:
        return await Viewing(url, browser, clock, wishes=wishes, retry=retry, seed=seed).run()


class Viewing:
    """One session from the wish to watch to its end."""

    def __init__(
        self, url: str, transport: Transport, clock: Clock, *, wishes: Wishes, retry: RetryPolicy, seed: int = 0
    ) -> None:
        self._url = url
        self._transport = transport
        self._clock = clock
        self._wishes = wishes
        self._retry = retry
        self._random = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self._tally = _Tally()
        self._bandwidth = choice.Bandwidth()
        self._master: Master | None = None
        self._rung: int | None = None
        self._switched_at = clock.monotonic()
        self._feeds: dict[str, _Feed] = {}
        self._inits: set[Part] = set()
        self._state = model.begin(("video",), clock.monotonic(), start_s=wishes.start_s, speed=wishes.speed)

    async def run(self) -> Report:
        """Watch until the film or the time is over, or a fatal error, and report."""
        started_at = self._clock.now()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._guard, group.cancel_scope)
                group.start_soon(self._session, group.cancel_scope)
        finally:
            ended = self._clock.monotonic()
            self._state = model.closed(self._state, ended)
        return self._report(started_at, ended)

    async def _session(self, scope: anyio.CancelScope) -> None:
        try:
            await self._open()
            async with anyio.create_task_group() as group:
                for name in self._feeds:
                    group.start_soon(self._ending, scope, self._stream, name)
                    group.start_soon(self._ending, scope, self._follow, name)
                group.start_soon(self._seek)
        except _Fatal as error:
            self._fail(str(error), scope)

    async def _ending(self, scope: anyio.CancelScope, work: _Work, name: str) -> None:
        try:
            await work(name)
        except _Fatal as error:
            self._fail(str(error), scope)

    def _fail(self, because: str, scope: anyio.CancelScope) -> None:
        self._step(model.GaveUp(because))
        scope.cancel()

    async def _guard(self, scope: anyio.CancelScope) -> None:
        """End the session when the film is over, the time is up, or the viewer has had enough."""
        limit_s = self._wishes.duration_s
        deadline = None if limit_s is None else self._state.asked_at + limit_s
        while True:
            now = self._step(model.Tick())
            if self._state.over or (deadline is not None and now >= deadline):
                scope.cancel()
                return
            if (waited_s := model.waiting_s(self._state, now)) >= self._retry.give_up_s:
                self._fail(f"the picture stood still for {waited_s:.0f} s", scope)
                return
            due = min(1.0, model.event_in(self._state) + 0.001)
            await self._clock.sleep(due if deadline is None else max(0.0, min(due, deadline - now)))

    # -- opening

    async def _open(self) -> None:
        found = await self._playlist(self._url, forever=False)
        if isinstance(found, Media):
            self._feeds["video"] = _Feed(found.url, found, self._clock.monotonic())
        else:
            await self._open_master(found)
        asked_at = self._state.asked_at
        begun = model.begin(tuple(self._feeds), asked_at, start_s=self._wishes.start_s, speed=self._wishes.speed)
        self._state = model.advance(begun, self._clock.monotonic())

    async def _open_master(self, master: Master) -> None:
        self._master = master
        chosen = self._chosen(master.rungs)
        rung = master.rungs[chosen.index]
        self._take(chosen.index, rung)
        audio = master.audio(rung, self._wishes.language)
        wanted = {"video": rung.url} | ({"audio": audio.url} if audio and audio.url else {})
        async with anyio.create_task_group() as group:
            for name, url in wanted.items():
                group.start_soon(self._open_feed, name, url)
        self._feeds = {name: self._feeds[name] for name in wanted if name in self._feeds}
        if len(self._feeds) < len(wanted):
            raise _Fatal("; ".join(setback.why for setback in self._tally.setbacks[-2:]) or "no playlist")

    async def _open_feed(self, name: str, url: str) -> None:
        try:
            self._feeds[name] = await self._feed(url, forever=False)
        except _Fatal as error:
            self._setback(url, Failure.STATUS, str(error))

    # -- the loops of one track

    async def _stream(self, name: str) -> None:
        while not self._state.over:
            wait_s = model.hungry_in(self._state, name, self._wishes.buffer_s)
            if wait_s > 0:
                if wait_s == float("inf") and not self._wishes.seeks:
                    return
                await self._clock.sleep(min(wait_s, 0.25) if self._wishes.seeks else wait_s)
                self._step(model.Tick())
                continue
            await self._feed_one(name)

    async def _feed_one(self, name: str) -> None:
        if name == "video" and self._master is not None:
            await self._adapt(self._master)
        feed = self._feeds[name]
        segment = feed.playlist.after(self._state.tracks[name].until_s)
        if segment is not None:
            await self._fetch(name, segment, feed.playlist)
            return
        self._step(model.AtEdge(name, ended=feed.playlist.ended))
        if not feed.playlist.ended:
            await feed.changed.wait()

    async def _fetch(self, name: str, segment: Segment, playlist: Media) -> None:
        if segment.init is not None and segment.init not in self._inits:
            await self._get(segment.init, forever=self._retry.retry_streaming)
            self._inits.add(segment.init)
        answer = await self._get(segment.part, forever=self._retry.retry_streaming)
        self._bandwidth = self._bandwidth.sampled(answer.size_bytes, answer.seconds)
        last = playlist.ended and segment is playlist.segments[-1]
        self._step(model.Fetched(name, segment.start_s, segment.end_s, last))

    async def _follow(self, name: str) -> None:
        """Read a growing playlist again every target duration, until it has ended."""
        while not self._state.over:
            feed = self._feeds[name]
            if feed.playlist.ended:
                if self._master is None or len(self._master.rungs) < 2:
                    return
                await self._clock.sleep(feed.playlist.target_duration_s)
                continue
            due = feed.read_at + feed.playlist.target_duration_s
            await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
            try:
                fresh = await self._feed(feed.url, forever=False, attempts=1)
            except _Fatal:
                await self._clock.sleep(self._retry.reload_retry_s)
                continue
            self._replace(name, feed, fresh)

    def _replace(self, name: str, old: _Feed, fresh: _Feed) -> None:
        if self._feeds[name] is old:
            self._feeds[name] = fresh
        old.changed.set()

    async def _adapt(self, master: Master) -> None:
        chosen = self._chosen(master.rungs)
        if chosen.index == self._rung:
            return
        rung = master.rungs[chosen.index]
        fresh = await self._feed(rung.url, forever=self._retry.retry_streaming)
        self._take(chosen.index, rung)
        self._tally.switches += 1
        self._replace("video", self._feeds["video"], fresh)
        audio = master.audio(rung, self._wishes.language)
        if audio and audio.url and "audio" in self._feeds and audio.url != self._feeds["audio"].url:
            fresh = await self._feed(audio.url, forever=self._retry.retry_streaming)
            self._replace("audio", self._feeds["audio"], fresh)

    def _chosen(self, rungs: tuple[Rung, ...]) -> choice.Choice:
        if self._wishes.rung != "auto":
            return choice.fixed(rungs, self._wishes.rung)
        since_s = self._clock.monotonic() - self._switched_at
        return choice.choose(rungs, self._rung, self._bandwidth.estimate_bps, since_s)

    def _take(self, index: int, rung: Rung) -> None:
        self._rung = index
        self._switched_at = self._clock.monotonic()
        if rung.height:
            self._tally.heights.add(rung.height)

    async def _seek(self) -> None:
        for after_s, to_s in sorted(self._wishes.seeks):
            due = self._state.asked_at + after_s
            await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
            self._step(model.Seek(to_s))

    # -- requests

    async def _feed(self, url: str, *, forever: bool, attempts: int | None = None) -> _Feed:
        found = await self._playlist(url, forever=forever, attempts=attempts)
        if not isinstance(found, Media):
            raise _Fatal(f"{url} is a master playlist where a media playlist was expected")
        return _Feed(url, found, self._clock.monotonic())

    async def _playlist(self, url: str, *, forever: bool, attempts: int | None = None) -> Master | Media:
        answer = await self._get(Part(url), forever=forever, keep_body=True, attempts=attempts)
        try:
            return parse(answer.body.decode("utf-8", "replace"), answer.url)
        except InvalidInput as error:
            raise _Fatal(str(error)) from error

    async def _get(self, part: Part, *, forever: bool, keep_body: bool = False, attempts: int | None = None) -> Answer:
        again, turn = False, 0
        while True:
            failure, why = Failure.CONNECTION, ""
            for attempt in range(attempts or self._retry.max_attempts):
                await self._clock.sleep(policy.attempt_delay_s(self._retry, attempt, self._random.random()))
                self._tally.retries += again
                again = True
                outcome = await self._try(part, keep_body)
                if isinstance(outcome, Answer):
                    return outcome
                failure, why = outcome
                if failure is Failure.REFUSED:
                    raise _Fatal(why)
            if not forever:
                raise _Fatal(why)
            await self._clock.sleep(policy.streaming_delay_s(self._retry, failure, turn, self._random.random()))
            turn += 1

    async def _try(self, part: Part, keep_body: bool) -> Answer | tuple[Failure, str]:
        self._tally.requests += 1
        try:
            answer = await self._transport.get(part.url, part=part.range, keep_body=keep_body)
        except Unreachable as error:
            return self._setback(part.url, Failure.CONNECTION, str(error))
        except TooSlow as error:
            return self._setback(part.url, Failure.TIMEOUT, str(error))
        except InvalidInput as error:
            raise _Fatal(str(error)) from error
        self._tally.bytes += answer.size_bytes
        failure = policy.judge_status(answer.status)
        if failure is None:
            return answer
        said = answer.body[:200].decode("utf-8", "replace").strip()
        return self._setback(part.url, failure, f"status {answer.status} {said}".strip())

    def _setback(self, url: str, failure: Failure, why: str) -> tuple[Failure, str]:
        text = f"{url}: {why}"
        if len(self._tally.setbacks) < _MAX_SETBACKS:
            after_s = self._clock.monotonic() - self._state.asked_at
            self._tally.setbacks.append(Setback(after_s, url, failure.value, why))
        return failure, text

    def _step(self, event: model.Event) -> float:
        now = self._clock.monotonic()
        self._state = model.step(self._state, event, now)
        return now

    def _report(self, started_at: float, ended: float) -> Report:
        state, tally = self._state, self._tally
        failed = state.phase is model.Phase.FAILED
        return Report(
            url=self._url,
            started_at=started_at,
            wall_s=ended - state.asked_at,
            played_s=max(0.0, state.position_s - self._wishes.start_s),
            play_delay_s=state.play_delay_s,
            stalls=state.stalls,
            error=state.because if failed else "",
            because=state.because or "the time was up",
            ended=state.phase is model.Phase.ENDED,
            requests=tally.requests,
            retries=tally.retries,
            bytes=tally.bytes,
            switches=tally.switches,
            connections=self._transport.connections,
            heights=tuple(sorted(tally.heights)),
            seek_delays_s=state.seek_delays_s,
            setbacks=tuple(tally.setbacks),
        )
