"""The studio with real engines on clips of real films: whole titles, proven by decoding them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import m3u8
import pytest
from studio_rig import Rig, clip, even, ffmpeg, frames

from redqueen.errors import Unavailable
from redqueen.studio import posters, texts
from redqueen.studio.model import SubtitleTrack

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path / "data")
    yield made
    await made.close()


def _prove(rig: Rig) -> None:
    facts = rig.diary.facts
    assert facts is not None
    final = m3u8.load(str(rig.media / "master.m3u8"))
    lists = [rig.media / str(variant.uri) for variant in final.playlists] + list(rig.media.glob("instant/*/video.m3u8"))
    for playlist in lists:
        times = frames(playlist, "v")
        assert len(times) == facts.frames, playlist
        assert even(times), playlist
        assert m3u8.load(str(playlist)).is_endlist
    if facts.audio is not None:
        for playlist in [rig.media / str(final.media[0].uri), *rig.media.glob("instant/*/audio.m3u8")]:
            times = frames(playlist, "a")
            assert times[0] == 0
            assert even(times), playlist
            assert abs(len(times) * 1024 / 48_000 - facts.duration_s) < 0.05
    assert len(final.iframe_playlists) == len(final.playlists)
    ElementTree.parse(rig.media / "manifest.mpd")  # noqa: S314 - our own manifest
    assert (rig.media / "poster.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert not list((rig.data / "objects" / "work" / "t1").rglob("*"))


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("animation_bbb_480p24_30s.mp4", 7),
        ("live_tos_1080p2997_8s.mp4", 2.2),
        ("live_tos_800x332_70s.webm", 5),
        ("screen_mediabunny_1080p30_35s.mkv", 2.5),
        ("animation_bbb_2160p60_16s.mp4", 0.4),
    ],
)
async def test_every_real_film_becomes_a_complete_title_without_a_gap(
    films: Path, tmp_path: Path, rig: Rig, name: str, seconds: float
) -> None:
    await rig.take(clip(films / name, seconds, tmp_path))
    await rig.until_over("poster")
    assert rig.diary.failure is None
    assert rig.diary.events.index("playable") < rig.diary.events.index("complete")
    _prove(rig)


_HDR = (
    *("-c:v", "libx265", "-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc"),
    *("-x265-params", "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"),
)
_TONE = ("-f", "lavfi", "-i", "sine=r=44100:d=3")


@pytest.mark.parametrize(
    ("picture", "rest", "name"),
    [
        ("testsrc2=s=16x16:r=25:d=3", ("-c:v", "libx264"), "tiny.mp4"),
        ("testsrc2=s=177x99:r=12:d=3", ("-c:v", "ffv1", "-c:a", "pcm_s16le"), "odd.mkv"),
        ("testsrc2=s=320x240:r=50:d=3,setsar=16/11,format=yuv420p10le", ("-c:v", "libx265"), "ten_bit_anamorphic.mp4"),
        ("testsrc2=s=320x180:r=24:d=2,format=yuv420p10le", _HDR, "hdr.mp4"),
        ("testsrc2=s=320x180:r=24000/1001:d=3", ("-c:v", "mpeg2video", "-c:a", "mp2"), "late_clock.ts"),
        ("testsrc2=s=320x180:r=120:d=2", ("-c:v", "libx264", "-bf", "0"), "fast.mp4"),
        ("testsrc2=s=160x120:r=3:d=4", ("-c:v", "mpeg4", "-c:a", "libmp3lame"), "slow.avi"),
    ],
)
async def test_odd_films_become_titles_too(
    tmp_path: Path, rig: Rig, picture: str, rest: tuple[str, ...], name: str
) -> None:
    ffmpeg("-f", "lavfi", "-i", picture, *_TONE, *rest, tmp_path / name)
    await rig.take(tmp_path / name)
    await rig.until_over("poster")
    assert rig.diary.failure is None
    _prove(rig)


async def test_a_poster_and_texts_that_are_late_come_after_the_title_is_complete(
    tmp_path: Path, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(make: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def made(*arguments: Any) -> Any:
            if not rig.diary.over.is_set():
                raise Unavailable("test.busy", "Not now", hint="Try again")
            return await make(*arguments)

        return made

    monkeypatch.setattr(texts, "extract", late(texts.extract))
    monkeypatch.setattr(posters, "make_poster", late(posters.make_poster))
    film = tmp_path / "film.mkv"
    (tmp_path / "inside.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nInside\n")
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=160x90:r=24:d=1", "-i", tmp_path / "inside.srt"),
        *("-c:v", "libx264", "-c:s", "srt", "-metadata:s:s:0", "language=fre", film),
    )
    await rig.take(film)
    await rig.until_over("subtitled fr", "poster", limit_s=60)
    assert rig.diary.events.index("complete") < rig.diary.events.index("subtitled fr")
    assert 'LANGUAGE="fr"' in (rig.media / "master.m3u8").read_text()


async def test_subtitles_are_offered_whenever_they_come(tmp_path: Path, rig: Rig) -> None:
    film = tmp_path / "film.mkv"
    text = "1\n00:00:00,500 --> 00:00:01,500\n{}\n"
    (tmp_path / "inside.srt").write_text(text.format("Inside"))
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=160x90:r=24:d=3", "-i", tmp_path / "inside.srt"),
        *("-c:v", "libx264", "-c:s", "srt", "-metadata:s:s:0", "language=fre", film),
    )
    await rig.objects.put("subtitles/t1/en.srt", text.format("<script>x</script>Early").encode())
    await rig.take(film, [SubtitleTrack("en", "English", "subtitles/t1/en.srt")])
    await rig.until_over("subtitled fr")
    await rig.studio.add_subtitles("t1", "de", "Deutsch", text.format("Spät").encode())
    master = (rig.media / "master.m3u8").read_text()
    offered = {media.language: media.uri for media in m3u8.loads(master).media if media.type == "SUBTITLES"}
    assert set(offered) == {"en", "de", "fr"}
    for lang, said in (("en", "Early"), ("de", "Spät"), ("fr", "Inside")):
        body = (rig.media / "subtitles" / f"{lang}.vtt").read_text()
        assert said in body
        assert "script" not in body
        listed = m3u8.load(str(rig.media / str(offered[lang])))
        assert (rig.media / "subtitles" / str(listed.segments[0].uri)).read_text() == body
    manifest = (rig.media / "manifest.mpd").read_text()
    assert manifest.count('mimeType="text/vtt"') == 3
    ElementTree.fromstring(manifest)  # noqa: S314 - our own manifest
