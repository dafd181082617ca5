"""The plan: order of jobs, windows, progress, and what viewers may see."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.studio import cuts, keys, plan, playlists, publishing
from redqueen.studio.model import AudioDone, AudioTrack, ChunkDone, Done, Facts, Plan, Ratio, SubtitleText
from redqueen.studio.plan import Kind

FACTS = Facts(
    container="mov",
    size_bytes=10,
    codec="h264",
    pixel_format="yuv420p",
    video_index=0,
    width=1920,
    height=1080,
    rate=Ratio(24, 1),
    frames=24 * 600,
    variable=False,
    zero=Ratio(0, 1),
    audio=AudioTrack(1, "aac", 2, "en"),
)
MADE = plan.make(FACTS, 1)
CHUNKS = cuts.chunks(FACTS.frames, MADE.gop)


def _done(made: Plan, counts: dict[str, int], audio: AudioDone | None = None) -> Done:
    chunks = {
        name: {chunk.index: ChunkDone(chunk.frames, 1, 1, "avc1.64001e", "near") for chunk in CHUNKS[:count]}
        for name, count in counts.items()
    }
    return Done(chunks, audio)


def test_equal_films_get_an_equal_build_and_other_threads_another() -> None:
    assert plan.make(FACTS, 1).build == MADE.build
    assert plan.make(FACTS, 2).build != MADE.build
    assert plan.make(replace(FACTS, frames=FACTS.frames + 1), 1).build != MADE.build


def test_the_first_picture_and_the_sound_come_before_everything() -> None:
    listed = [task for task, _ in plan.tasks("t", MADE)]
    assert (listed[0].kind, listed[0].rung, listed[0].index) == (Kind.VIDEO, "360p", 0)
    assert listed[1].kind is Kind.AUDIO
    instant = [n for n, task in enumerate(listed) if task.kind is Kind.VIDEO and task.rung == "360p"]
    others = [n for n, task in enumerate(listed) if task.kind is Kind.VIDEO and task.rung != "360p"]
    assert max(instant) < min(others)
    assert len({task.job_id for task in listed}) == len(listed)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_windows_queue_every_job_once_in_order_and_never_many(data: st.DataObject) -> None:
    total = data.draw(st.integers(0, 500))
    enqueued = done = 0
    seen: list[int] = []
    while done < total:
        step = plan.window(total, enqueued, done)
        assert len(step) <= plan.WINDOW
        seen += list(step)
        enqueued = max(enqueued, step.stop)
        assert enqueued > done
        done = data.draw(st.integers(done + 1, enqueued))
    assert seen == list(range(total))


def test_progress_grows_to_just_below_one_before_packaging() -> None:
    empty = plan.progress(MADE, _done(MADE, {}))
    half = plan.progress(MADE, _done(MADE, {"360p": len(CHUNKS)}, AudioDone(10, 96256, 96256)))
    names = {rung.name: len(CHUNKS) for rung in MADE.rungs}
    full = plan.progress(MADE, _done(MADE, names, AudioDone(300, 96256, 100, whole=True)))
    assert empty.fraction == 0
    assert 0 < half.fraction < full.fraction < 1
    assert [rung.progress for rung in full.rungs] == [1, 1, 1, 1]
    assert plan.finished(MADE, _done(MADE, names, AudioDone(300, 96256, 100, whole=True)))
    assert not plan.finished(MADE, _done(MADE, names, AudioDone(300, 96256, 100)))


def test_chunks_that_finish_out_of_order_are_shown_in_order() -> None:
    chunk = ChunkDone(48, 1, 1, "avc1.64001e", "near")
    sound = AudioDone(4, 96256, 96256)
    assert publishing.visible(MADE, Done({"360p": {1: chunk, 2: chunk}}, sound)).chunks == 0
    assert publishing.visible(MADE, Done({"360p": {0: chunk, 2: chunk}}, sound)).chunks == 1
    assert publishing.visible(MADE, Done({"360p": {0: chunk, 1: chunk, 2: chunk}}, sound)).chunks == 3


def test_nothing_is_shown_before_the_sound_unless_there_is_none() -> None:
    assert publishing.visible(MADE, _done(MADE, {"360p": 3})).chunks == 0
    silent = replace(MADE, facts=replace(FACTS, audio=None))
    assert publishing.visible(silent, _done(silent, {"360p": 3})).chunks == 3
    broken = AudioDone(whole=True, because="exit code 1")
    assert publishing.visible(MADE, _done(MADE, {"360p": 3}, broken)).sound is False


def test_instant_lists_only_grow_and_end_once() -> None:
    texts: list[bytes] = []
    for count in range(1, len(CHUNKS) + 1):
        done = _done(MADE, {"360p": count}, AudioDone(300, 96256, 100, whole=True))
        now = publishing.visible(MADE, done)
        segments = publishing.video_segments(MADE, done, now.chunks)
        texts.append(
            playlists.event(
                keys.instant_init("b", "video"), segments, ended=now.ended, longest_s=4, folder=f"instant/{MADE.build}"
            )
        )
    assert all(right.startswith(left) for left, right in pairwise(texts))
    assert [b"ENDLIST" in text for text in texts] == [False] * (len(CHUNKS) - 1) + [True]
    total = sum(segment.duration_s for segment in publishing.video_segments(MADE, done, len(CHUNKS)))
    assert abs(total - 600) < 1e-6


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 400), st.integers(1, 94))
def test_audio_segments_add_up_to_the_sound(fragments: int, last: int) -> None:
    sound = AudioDone(fragments, 94 * 1024, last * 1024, whole=True)
    total = sum(segment.duration_s for segment in publishing.audio_segments(MADE, sound))
    assert abs(total - ((fragments - 1) * 94 + last) * 1024 / 48_000) < 1e-6


def test_subtitles_are_offered_on_every_variant_and_cannot_break_out_of_their_quotes() -> None:
    master = playlists.instant_master(MADE, "avc1.64001e", "v.m3u8", "a.m3u8")
    assert "EXT-X-START" not in master, "FFmpeg takes it for a media playlist's tag and refuses the master"
    text = SubtitleText("en", playlists.quoted('Eng"\nlish'), "subtitles/en-1.vtt")
    full = playlists.with_subtitles(master, [text])
    assert full.count("TYPE=SUBTITLES") == 1
    assert 'NAME="Eng\' lish"' in full
    assert all('SUBTITLES="text"' in line for line in full.splitlines() if line.startswith("#EXT-X-STREAM-INF"))


def test_rates_with_odd_denominators_keep_exact_durations() -> None:
    odd = replace(MADE, facts=replace(FACTS, rate=Ratio.of(Fraction(24000, 1001))))
    done = _done(odd, {"360p": 1})
    assert publishing.video_segments(odd, done, 1)[0].duration_s == 48 * 1001 / 24000
