"""The studio: takes films in, and does its jobs one at a time in as many workers as there are.

Every step may be interrupted by death: bytes are stored before their record, the record before the job
ends, and whoever comes next finds what is there and goes on. Enter at `Studio.submit` and `Studio.sweep`
(for the control loop); the workers' loop is `service.work`.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from redqueen.clock import Clock
from redqueen.errors import Broken, InvalidInput, RedQueenError
from redqueen.events import Emit, Event
from redqueen.store.jobs import Jobs
from redqueen.store.model import Job
from redqueen.store.ports import Objects, Records
from redqueen.studio import cuts, encoding, inspection, keys, packaging, plan, posters, publishing, sound, texts
from redqueen.studio.engines import Engines, find
from redqueen.studio.ledger import Ledger
from redqueen.studio.model import Failure, Plan, SubtitleText, SubtitleTrack, Title
from redqueen.studio.plan import Kind, Task
from redqueen.studio.ports import TitleSink
from redqueen.studio.workbench import Workbench

QUEUE = "studio"
_MAX_ATTEMPTS = 1000  # deaths of workers count as attempts and must not lose a title; real failures end sooner
_PROBE_PRIORITY, _PACKAGE_PRIORITY = 0, 50
_PROGRESS_S = 1.0
RESERVE_BYTES = 512 << 20
"""Free disk below which no job is begun."""


@dataclass(frozen=True, slots=True)
class TitlePlayable(Event):
    """A title can be watched, so many seconds after it was submitted."""

    title_id: str
    after_s: float


@dataclass(frozen=True, slots=True)
class TitleComplete(Event):
    """Everything of a title is made."""

    title_id: str
    after_s: float


@dataclass(frozen=True, slots=True)
class TitleFailed(Event):
    """A film cannot be made into a title."""

    title_id: str
    because: str


@dataclass(frozen=True, slots=True)
class SubtitlesRefused(Event):
    """Subtitles that came with a film were left out."""

    title_id: str
    lang: str
    because: str


class Studio:
    """Turns films into titles."""

    def __init__(
        self,
        records: Records,
        jobs: Jobs,
        objects: Objects,
        sink: TitleSink,
        clock: Clock,
        emit: Emit,
        *,
        scratch: Path,
        engines: Engines | None = None,
        threads: int = 0,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        """Work in `scratch` (best on the objects' own disk); `threads` of x264 for each job, 0: half the cores."""
        self.jobs = jobs
        self.clock = clock
        self.emit = emit
        self.scratch = scratch
        self._objects = objects
        self._sink = sink
        self._ledger = Ledger(records)
        self._engines = engines or find()
        self._threads = threads or max(1, min(8, (os.cpu_count() or 2) // 2))
        self._reserve_bytes = reserve_bytes
        self._told_s: dict[str, float] = {}

    def bench(self, owner: str) -> Workbench:
        """Give the tools that the worker `owner` uses."""
        return Workbench(self._engines, self._objects, self._ledger, self.scratch / owner)

    def room(self) -> bool:
        """Tell whether there is enough disk to begin a job."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.scratch).free >= self._reserve_bytes

    async def submit(self, title_id: str, source_key: str, subtitles: Sequence[SubtitleTrack] = ()) -> None:
        """Begin to make a title of a film; again after a failure, no effect while it goes on. Raises InvalidInput."""
        if not title_id or "/" in title_id:
            raise InvalidInput("studio.title", f"{title_id!r} is no title id", hint="Use one without slashes")
        before = await self._ledger.title(title_id)
        if before is not None and before.state == "failed":
            await self._reset(title_id)
        title = Title(title_id, source_key, submitted_at=self.clock.now(), subtitles=tuple(subtitles))
        await self._ledger.open(title)
        await self._enqueue(Task(title_id, Kind.PROBE), _PROBE_PRIORITY)

    async def _reset(self, title_id: str) -> None:
        kept = await self._ledger.texts(title_id)
        await self.jobs.forget(QUEUE, f"{title_id}/")
        await self._ledger.forget(title_id)
        for text in kept:
            await self._ledger.keep_text(title_id, text)

    async def forget(self, title_id: str) -> None:
        """Stop making a title and remove everything that was made of it, but not its source."""
        await self.jobs.forget(QUEUE, f"{title_id}/")
        await self._ledger.forget(title_id)
        await self._objects.delete_all(keys.work_folder(title_id))
        await self._objects.delete_all(f"media/{title_id}")

    async def title(self, title_id: str) -> Title | None:
        """Return what the studio remembers of a title."""
        return await self._ledger.title(title_id)

    async def add_subtitles(self, title_id: str, lang: str, label: str, raw: bytes) -> SubtitleText:
        """Clean SubRip or WebVTT and offer it to viewers at once, in any state of the title. Raises InvalidInput."""
        return await publishing.add_text(self.bench("subtitles"), title_id, lang, label, raw)

    async def perform(self, task: Task, bench: Workbench) -> None:
        """Do one job, unless its work is there already. Raises what engines and stores raise."""
        title = await self._ledger.title(task.title_id)
        if title is None or title.state == "failed":
            return
        if title.state == "complete" and title.plan is not None:
            if task.kind is Kind.PACKAGE:
                await self._complete(title.title_id, title.plan)  # its worker died between the two
            elif task.kind in (Kind.POSTER, Kind.TEXT):
                await self._make(task, title, title.plan, bench)
            return
        if task.kind is Kind.PROBE:
            await self._probe(title, bench)
        elif title.plan is not None and title.plan.build == task.build:
            await self._make(task, title, title.plan, bench)
        if task.kind is not Kind.PACKAGE:
            await self.advance(task.title_id)

    async def _make(self, task: Task, title: Title, made: Plan, bench: Workbench) -> None:
        match task.kind:
            case Kind.VIDEO:
                await self._video(task, title, made, bench)
            case Kind.AUDIO:
                await self._audio(title, made, bench)
            case Kind.POSTER:
                path = await posters.make_poster(bench, title, made.facts)
                if path is not None:
                    await self._sink.poster(title.title_id, path)
            case Kind.TEXT:
                await texts.extract(bench, title, made.facts, task.index)
                for text in await bench.ledger.texts(title.title_id):
                    await self._sink.subtitled(title.title_id, text.lang, text.label)
            case Kind.PACKAGE:
                await self._package(title, made, bench)
            case Kind.PROBE:
                raise Broken("studio.task", "A probe has no plan", hint="Report it")

    async def _probe(self, title: Title, bench: Workbench) -> None:
        if title.plan is None:
            async with self._objects.local(title.source_key) as film:
                facts = await inspection.inspect(self._engines, film.resolve())
            made = plan.make(facts, self._threads)
            changed = await self._ledger.change(title.title_id, lambda seen: _planned(seen, made))
            title = changed or title
        if title.plan is not None:
            await self._top_up(title, title.plan, 0)
            await self._sink.probed(title.title_id, title.plan.facts)
        await self._take_subtitles(title, bench)

    async def _take_subtitles(self, title: Title, bench: Workbench) -> None:
        for track in title.subtitles:
            raw = await publishing.raw_text(bench, track.key)
            try:
                if raw is not None:
                    await publishing.add_text(bench, title.title_id, track.lang, track.label, raw)
            except InvalidInput as error:
                self.emit(SubtitlesRefused(title.title_id, track.lang, str(error)))

    async def _video(self, task: Task, title: Title, made: Plan, bench: Workbench) -> None:
        if await self._ledger.chunk(title.title_id, task.rung, task.index) is not None:
            return
        rung = next(rung for rung in made.rungs if rung.name == task.rung)
        chunk = cuts.chunks(made.facts.frames, made.gop)[task.index]
        done = await encoding.encode(bench, title, made, rung, chunk)
        await self._ledger.keep_chunk(title.title_id, task.rung, task.index, done)

    async def _audio(self, title: Title, made: Plan, bench: Workbench) -> None:
        before = await self._ledger.audio(title.title_id)
        if made.facts.audio is not None and (before is None or not before.whole):
            await sound.make_sound(bench, title, made, made.facts.audio, lambda: self.advance(title.title_id))

    async def _package(self, title: Title, made: Plan, bench: Workbench) -> None:
        await packaging.package(bench, title, made, await self._ledger.done(title.title_id))
        # State first: whoever still publishes the instant master sees it and puts the final one back.
        await self._ledger.change(title.title_id, lambda seen: dataclasses.replace(seen, state="complete"))
        await self._complete(title.title_id, made)

    async def _complete(self, title_id: str, made: Plan) -> None:
        await publishing.publish_final(self.bench("final"), title_id, made)
        await self._sink.complete(title_id, keys.MASTER, keys.MANIFEST)
        await self._objects.delete_all(keys.work_folder(title_id))
        await self._ledger.close(title_id)
        extras = plan.extras(title_id, made)
        late = [(task, rank) for task, rank in extras if await self.jobs.outcome(QUEUE, task.job_id) is None]
        await self.jobs.forget(QUEUE, f"{title_id}/")
        for task, rank in late:
            await self._enqueue(task, rank)
        title = await self._ledger.title(title_id)
        if title is not None:
            self.emit(TitleComplete(title_id, round(self.clock.now() - title.submitted_at, 3)))

    async def advance(self, title_id: str) -> None:
        """Publish what has become visible, queue what is next, tell how far it is. Idempotent."""
        title = await self._ledger.title(title_id)
        if title is None or title.plan is None or title.state != "encoding":
            return

        async def playable() -> None:
            await self._sink.playable(title_id, keys.MASTER)
            self.emit(TitlePlayable(title_id, round(self.clock.now() - title.submitted_at, 3)))

        await publishing.publish_instant(self.bench("instant"), title, title.plan, playable)
        done = await self._ledger.done(title_id)
        await self._top_up(title, title.plan, plan.made(title.plan, done))
        if plan.finished(title.plan, done):
            await self._enqueue(Task(title_id, Kind.PACKAGE, title.plan.build), _PACKAGE_PRIORITY)
        await self._tell_progress(title, title.plan)

    async def _tell_progress(self, title: Title, made: Plan) -> None:
        now = self.clock.monotonic()
        if now - self._told_s.get(title.title_id, -_PROGRESS_S) < _PROGRESS_S:
            return
        self._told_s[title.title_id] = now
        progress = plan.progress(made, await self._ledger.done(title.title_id))
        await self._sink.progress(title.title_id, progress.fraction, progress.rungs)

    async def _top_up(self, title: Title, made: Plan, done: int) -> None:
        listed = plan.tasks(title.title_id, made)
        wanted = plan.window(len(listed), title.enqueued, done)
        for task, priority in listed[wanted.start : wanted.stop]:
            await self._enqueue(task, priority)
        if wanted:
            reached = wanted.stop
            await self._ledger.change(
                title.title_id, lambda seen: dataclasses.replace(seen, enqueued=max(seen.enqueued, reached))
            )

    async def _enqueue(self, task: Task, priority: int) -> None:
        payload = msgspec.json.encode(task)
        await self.jobs.enqueue(Job(QUEUE, task.job_id, payload, priority, _MAX_ATTEMPTS))

    async def give_up(self, title_id: str, error: RedQueenError) -> None:
        """Record that a title cannot be made, and why; what viewers can see already stays."""
        failure = Failure(error.code, error.what, error.why, error.hint)
        await self._ledger.change(title_id, lambda seen: _failed(seen, failure))
        await self._sink.failed(title_id, failure)
        await self._ledger.close(title_id)
        await self._objects.delete_all(keys.work_folder(title_id))
        await self.jobs.forget(QUEUE, f"{title_id}/")
        self.emit(TitleFailed(title_id, str(error)))

    async def sweep(self) -> None:
        """Set going again whatever stands still: lost jobs, missed news, half-finished ends. Idempotent."""
        for title_id in await self._ledger.active():
            title = await self._ledger.title(title_id)
            if title is None:
                await self._ledger.close(title_id)
            elif title.state == "complete" and title.plan is not None:
                await self._complete(title_id, title.plan)
            elif title.state == "failed" and title.failure is not None:
                await self._sink.failed(title_id, title.failure)
                await self._ledger.close(title_id)
            elif title.plan is None:
                await self._enqueue(Task(title_id, Kind.PROBE), _PROBE_PRIORITY)
                await self._check_given_up(title_id, [Task(title_id, Kind.PROBE)])
            else:
                await self._unstick(title, title.plan)

    async def _unstick(self, title: Title, made: Plan) -> None:
        listed = plan.tasks(title.title_id, made)[: title.enqueued]
        done = await self._ledger.done(title.title_id)
        missing = [(task, priority) for task, priority in listed if not plan.is_made(task, done)]
        for task, priority in missing[: plan.WINDOW]:
            await self._enqueue(task, priority)
        await self._check_given_up(title.title_id, [task for task, _ in missing[: plan.WINDOW]])
        if await self._ledger.published(title.title_id) is not None:
            await self._sink.playable(title.title_id, keys.MASTER)
        await self.advance(title.title_id)

    async def _check_given_up(self, title_id: str, tasks: Sequence[Task]) -> None:
        for task in tasks:
            outcome = await self.jobs.outcome(QUEUE, task.job_id)
            if outcome is not None and not outcome.ok:
                why = outcome.because
                error = Broken("studio.given_up", "The film was given up", why=why, hint="Submit it again")
                return await self.give_up(title_id, error)


def _planned(title: Title, made: Plan) -> Title | None:
    return None if title.plan is not None else dataclasses.replace(title, plan=made, state="encoding")


def _failed(title: Title, failure: Failure) -> Title | None:
    if title.state in ("complete", "failed"):
        return None
    return dataclasses.replace(title, state="failed", failure=failure)
