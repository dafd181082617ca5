"""What viewers can see of a title while it is made, and when it is done.

Playlists are written after the segments they name, in the film's order, whatever order chunks are finished in.
Two workers may publish at once: each reads again after it wrote, so that the newest state wins.
Enter at `publish_instant`, `publish_final` and `add_text`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from redqueen.errors import InvalidInput, NotFound
from redqueen.studio import cuts, keys, languages, manifests, packaging, plan, playlists, recipe, subtitles
from redqueen.studio.model import AudioDone, ChunkDone, Done, Plan, Published, Segment, SubtitleText, Title
from redqueen.studio.rates import frame_ticks, timescale
from redqueen.studio.sound import HEAD
from redqueen.studio.workbench import Workbench

_TRIES = 4


def visible(made: Plan, done: Done) -> Published:
    """Decide how much of the instant playlists can be shown."""
    chunks = plan.leading(made, done)
    heard = done.audio.fragments if done.audio else 0
    silent = made.facts.audio is None or (done.audio is not None and done.audio.whole and not done.audio.fragments)
    if not silent and not heard:
        return Published()
    total = len(cuts.chunks(made.facts.frames, made.gop))
    whole = silent or (done.audio is not None and done.audio.whole)
    return Published(chunks, heard, not silent, chunks == total and whole)


def video_segments(made: Plan, done: Done, chunks: int) -> list[Segment]:
    """List the instant video segments of the first `chunks` chunks."""
    listed: list[Segment] = []
    for chunk in cuts.chunks(made.facts.frames, made.gop)[:chunks]:
        frames = cuts.gops(done.chunks[made.instant.name][chunk.index].frames, made.gop)
        for number, (first, past) in enumerate(cuts.grouped(len(frames))):
            listed.append(
                Segment(keys.video_segment(made.build, chunk.index, number), _seconds(made, frames[first:past]))
            )
    return listed


def _seconds(made: Plan, frames: list[int]) -> float:
    rate = made.facts.rate.exact
    return sum(frames) * frame_ticks(rate) / timescale(rate)


def audio_segments(made: Plan, sound: AudioDone) -> list[Segment]:
    """List the instant audio segments."""
    listed: list[Segment] = []
    for number, (first, past) in enumerate(cuts.grouped(sound.fragments, HEAD)):
        samples = (past - first) * sound.samples
        if past == sound.fragments:
            samples += sound.last_samples - sound.samples
        listed.append(Segment(keys.audio_segment(made.build, number), samples / recipe.AUDIO_RATE_HZ))
    return listed


async def publish_instant(bench: Workbench, title: Title, made: Plan, playable: Callable[[], Awaitable[None]]) -> None:
    """Bring the instant playlists up to date.

    `playable` is called when there is something to see for the first time, and again by the next worker where that
    did not come to its end.
    """
    title_id = title.title_id
    for _ in range(_TRIES):
        done = await bench.ledger.done(title_id)
        seen, now = await bench.ledger.published(title_id), visible(made, done)
        if now.chunks == 0 or seen == now:
            return
        await _put_lists(bench, title_id, made, done, now)
        if seen is None:
            await _put_instant_master(bench, title_id, made, done.chunks[made.instant.name][0], now)
            await playable()
        await bench.ledger.keep_published(title_id, now)


async def _put_lists(bench: Workbench, title_id: str, made: Plan, done: Done, now: Published) -> None:
    longest_s = _seconds(made, [made.gop] * cuts.SEGMENT_GOPS)
    shown = {"video": video_segments(made, done, now.chunks)}
    if now.sound and done.audio:
        shown["audio"] = audio_segments(made, done.audio)
        longest_s = max(longest_s, cuts.SEGMENT_GOPS * done.audio.samples / recipe.AUDIO_RATE_HZ)
    for kind, segments in shown.items():
        # Sound that is whole does not end its list before the picture: both stop growing together.
        text = playlists.event(
            keys.instant_init(made.build, kind),
            segments,
            ended=now.ended,
            longest_s=longest_s,
            folder=f"instant/{made.build}",
        )
        await bench.objects.put(keys.media(title_id, keys.instant_list(made.build, kind)), text)


async def _put_instant_master(bench: Workbench, title_id: str, made: Plan, first: ChunkDone, now: Published) -> None:
    audio = keys.instant_list(made.build, "audio") if now.sound else None
    master = playlists.instant_master(made, first.codec, keys.instant_list(made.build, "video"), audio)
    await _put_master(bench, title_id, made, master)
    # Only ever written over the final one when the last worker was this slow: put the final one back.
    fresh = await bench.ledger.title(title_id)
    if fresh is not None and fresh.state == "complete":
        await publish_final(bench, title_id, made)


async def _put_master(bench: Workbench, title_id: str, made: Plan, master: str) -> None:
    texts = await bench.ledger.texts(title_id)
    for text in texts:
        path = text.path.removesuffix(".vtt") + ".m3u8"
        await bench.objects.put(keys.media(title_id, path), playlists.subtitle_list(text, made.facts.duration_s))
    master = playlists.with_subtitles(master, texts)
    await bench.objects.put(keys.media(title_id, keys.MASTER), master.encode())


async def publish_final(bench: Workbench, title_id: str, made: Plan) -> None:
    """Put the final playlist and manifest, with all subtitles, at the title's stable addresses."""
    folder = f"{made.build}/"
    manifest = await bench.objects.get(keys.media(title_id, folder + packaging.AV_MANIFEST))
    master = await bench.objects.get(keys.media(title_id, folder + packaging.AV_MASTER))
    texts = await bench.ledger.texts(title_id)
    await bench.objects.put(
        keys.media(title_id, keys.MANIFEST), manifests.with_subtitles(manifest.decode(), texts).encode()
    )
    await _put_master(bench, title_id, made, master.decode())


async def add_text(bench: Workbench, title_id: str, lang: str, label: str, raw: bytes) -> SubtitleText:
    """Clean and store subtitles and offer them at once, whatever state the title is in. Raises InvalidInput."""
    tag = languages.language_tag(lang)
    if tag == "und" and lang != "und":
        raise InvalidInput(
            "subtitles.language", f"{lang[:20]!r} is no language tag", hint="Use one such as en or pt-BR"
        )
    text = subtitles.clean(raw)
    # The stable path is for people; players get a path of its own for each text, which caches may keep.
    named = SubtitleText(
        tag, playlists.quoted(label or tag), f"subtitles/{tag}-{hashlib.sha256(text).hexdigest()[:8]}.vtt"
    )
    await bench.objects.put(keys.media(title_id, f"subtitles/{tag}.vtt"), text)
    await bench.objects.put(keys.media(title_id, named.path), text)
    await bench.ledger.keep_text(title_id, named)
    await refresh(bench, title_id)
    return named


async def refresh(bench: Workbench, title_id: str) -> None:
    """Write the playlists that name subtitles again, if there are any yet."""
    title = await bench.ledger.title(title_id)
    if title is None or title.plan is None:
        return
    if title.state == "complete":
        return await publish_final(bench, title_id, title.plan)
    now = await bench.ledger.published(title_id)
    first = await bench.ledger.chunk(title_id, title.plan.instant.name, 0)
    if now is not None and first is not None:
        await _put_instant_master(bench, title_id, title.plan, first, now)


async def raw_text(bench: Workbench, key: str) -> bytes | None:
    """Return the raw subtitles of an object, or None when it is gone."""
    try:
        return await bench.objects.get(key)
    except NotFound:
        return None
