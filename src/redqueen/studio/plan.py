"""What is to be made of a film, in which order, and how far that is. Pure.

The order is what viewers feel: the first two seconds of the smallest rung, the sound, the rest of that
rung by time, then better rungs from small to large. Jobs are put in the queue a window at a time.
Enter at `make`, `tasks`, `window` and `progress`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum

import msgspec

from redqueen.studio import cuts, ladder
from redqueen.studio.model import Done, Facts, Plan, Progress, Rung, RungProgress

RECIPE = 1
"""Grows when the same film would get other bytes."""
WINDOW = 48
_HEAD = 3
_AUDIO_COST = 0.02
_PACKAGE_COST = 0.04


class Kind(StrEnum):
    """What a job of the studio makes."""

    PROBE = "probe"
    VIDEO = "video"
    AUDIO = "audio"
    POSTER = "poster"
    TEXT = "text"
    PACKAGE = "package"


@dataclass(frozen=True, slots=True)
class Task:
    """One job: what it makes of which title."""

    title_id: str
    kind: Kind
    build: str = "-"
    rung: str = "-"
    index: int = 0

    @property
    def job_id(self) -> str:
        """Return the id that is the same whoever plans this."""
        return f"{self.title_id}/{self.build}/{self.kind}/{self.rung}/{self.index:06d}"


def make(facts: Facts, threads: int) -> Plan:
    """Decide everything about a title's bytes from its facts; equal facts give an equal build."""
    rate = facts.rate.exact
    rungs = ladder.rungs(facts.width, facts.height, rate)
    plan = Plan("", facts, rungs, cuts.gop_frames(rate), max(1, threads))
    digest = hashlib.sha256(msgspec.json.encode((RECIPE, plan))).hexdigest()
    return replace(plan, build=digest[:12])


def tasks(title_id: str, plan: Plan) -> list[tuple[Task, int]]:
    """List every encoding job with its priority (smaller first), in the order in which they are queued."""
    chunks = cuts.chunks(plan.facts.frames, plan.gop)
    ordered = [
        (Task(title_id, Kind.VIDEO, plan.build, rung.name, chunk.index), _priority(number, chunk.index))
        for number, rung in enumerate(plan.rungs)
        for chunk in chunks
    ]
    ordered.append((Task(title_id, Kind.POSTER, plan.build), 10 + 2 * _HEAD))
    if plan.facts.audio is not None:
        ordered.append((Task(title_id, Kind.AUDIO, plan.build), 11))
    ordered += [(Task(title_id, Kind.TEXT, plan.build, "-", text.index), 90) for text in plan.facts.texts]
    return sorted(ordered, key=lambda pair: pair[1])


def extras(title_id: str, plan: Plan) -> list[tuple[Task, int]]:
    """List the jobs of `tasks` for which a complete title need not wait: its poster and the texts inside the film."""
    return [pair for pair in tasks(title_id, plan) if pair[0].kind in (Kind.POSTER, Kind.TEXT)]


def _priority(rung: int, index: int) -> int:
    if rung == 0:
        return 10 + 2 * index if index < _HEAD else 100 + index
    return rung * 100_000 + index


def window(total: int, enqueued: int, done: int) -> range:
    """Tell which jobs of the list to queue now, so that about WINDOW are always waiting."""
    if enqueued >= total or enqueued - done > WINDOW // 2:
        return range(enqueued, enqueued)
    return range(enqueued, min(total, done + WINDOW))


def finished(plan: Plan, done: Done) -> bool:
    """Tell whether everything that packaging needs is there."""
    chunks = len(cuts.chunks(plan.facts.frames, plan.gop))
    video = all(len(done.chunks.get(rung.name, {})) == chunks for rung in plan.rungs)
    return video and (plan.facts.audio is None or (done.audio is not None and done.audio.whole))


def is_made(task: Task, done: Done) -> bool:
    """Tell whether a job's work is there; posters and texts leave no trace here and count as made."""
    if task.kind is Kind.VIDEO:
        return task.index in done.chunks.get(task.rung, {})
    if task.kind is Kind.AUDIO:
        return done.audio is not None and done.audio.whole
    return True


def leading(plan: Plan, done: Done) -> int:
    """Count the chunks of the instant rung that are there without a gap from the start."""
    made = done.chunks.get(plan.instant.name, {})
    count = 0
    while count in made:
        count += 1
    return count


def made(plan: Plan, done: Done) -> int:
    """Count the finished jobs, for the window."""
    return sum(len(chunks) for chunks in done.chunks.values()) + (done.audio is not None and done.audio.whole)


def progress(plan: Plan, done: Done) -> Progress:
    """Say how far the encode is, by the work that each rung costs; 1 only after packaging."""
    chunks = cuts.chunks(plan.facts.frames, plan.gop)
    rungs: list[RungProgress] = []
    total = spent = 0.0
    for rung in plan.rungs:
        frames = sum(chunk.frames for chunk in chunks if chunk.index in done.chunks.get(rung.name, {}))
        share = frames / plan.facts.frames
        rungs.append(RungProgress(rung.name, rung.height, rung.bitrate_bps, round(share, 4)))
        total += _cost(plan, rung)
        spent += share * _cost(plan, rung)
    heard = 1.0 if plan.facts.audio is None else _heard(plan, done)
    fraction = (1 - _AUDIO_COST - _PACKAGE_COST) * spent / total + _AUDIO_COST * heard
    return Progress(round(fraction, 4), tuple(rungs))


def _heard(plan: Plan, done: Done) -> float:
    if done.audio is None:
        return 0.0
    if done.audio.whole:
        return 1.0
    return min(1.0, done.audio.fragments * done.audio.samples / 48_000 / plan.facts.duration_s)


def _cost(plan: Plan, rung: Rung) -> float:
    return rung.width * rung.height + 0.15 * plan.facts.width * plan.facts.height
