"""The final title: every rung joined without encoding, then packaged once for HLS and DASH.

Shaka Packager cuts 4 s CMAF segments that both kinds of playlist share, measures bit rates and adds I-frame
playlists. Its clock is faked so that the same film gives the same bytes. Enter at `package`.
"""

from __future__ import annotations

from pathlib import Path

import anyio.to_thread

from redqueen.errors import Broken
from redqueen.studio import cuts, keys
from redqueen.studio.fragments import Piece, cut_out
from redqueen.studio.model import Done, Plan, Rung, Title
from redqueen.studio.playlists import audio_name
from redqueen.studio.workbench import Workbench, said

SEGMENT_S = cuts.GOP_S * cuts.SEGMENT_GOPS
AV_MASTER, AV_MANIFEST = "av.m3u8", "av.mpd"
"""The packager's own playlists, without subtitles, kept in the build's folder."""
_TIMEOUT_S = 4 * 3600


def command(packager: Path, plan: Plan, joined: Path, out: Path, sound: bool) -> list[str]:
    """List the packager's arguments; outputs lie in `out`/<build>/, the two playlists in `out`."""
    streams = [_video(plan, rung, joined) for rung in plan.rungs]
    if sound:
        streams.append(_audio(plan, joined))
    return [
        str(packager),
        "--quiet",
        *streams,
        *("--segment_duration", str(SEGMENT_S)),
        *("--hls_master_playlist_output", str(out / keys.MASTER), "--hls_playlist_type", "VOD"),
        *("--mpd_output", str(out / keys.MANIFEST), "--generate_static_live_mpd"),
        "--single_threaded",  # else the order of tracks in the manifest is a race
        "--use_fake_clock_for_muxer",  # no dates in the bytes
    ]


def _video(plan: Plan, rung: Rung, joined: Path) -> str:
    folder = f"{plan.build}/{rung.name}"
    return (
        f"in={joined / rung.name}.mp4,stream=video,init_segment={folder}/init.mp4,"
        f"segment_template={folder}/$Number%05d$.m4s,"
        f"playlist_name={folder}/video.m3u8,iframe_playlist_name={folder}/iframes.m3u8"
    )


def _audio(plan: Plan, joined: Path) -> str:
    folder = f"{plan.build}/audio"
    language = plan.facts.audio.language if plan.facts.audio else "und"
    return (
        f"in={joined / 'sound'}.mp4,stream=audio,init_segment={folder}/init.mp4,"
        f"segment_template={folder}/$Number%05d$.m4s,playlist_name={folder}/audio.m3u8,"
        f"hls_group_id=audio,hls_name={audio_name(language)}"
    ) + (f",lang={language}" if language != "und" else "")  # it refuses `und`


async def package(bench: Workbench, title: Title, plan: Plan, done: Done) -> None:
    """Join, package and store everything but the title's own two playlists. Raises Broken, Exhausted, Unavailable."""
    sound = done.audio is not None and done.audio.fragments > 0
    with bench.folder() as folder:
        joined, out = folder / "joined", folder / "out"
        joined.mkdir()
        (out / plan.build).mkdir(parents=True)
        for rung in plan.rungs:
            await _join(bench, title, plan, rung, done, joined / f"{rung.name}.mp4")
        if sound:
            async with bench.objects.local(keys.sound(title.title_id, plan.build)) as path:
                await anyio.to_thread.run_sync(cut_out, [Piece(path, 0, path.stat().st_size)], joined / "sound.mp4")
        argv = command(bench.engines.packager, plan, joined, out, sound)
        ran = await bench.engine(argv, read=[joined], write=out, timeout_s=_TIMEOUT_S)
        if ran.exit_code != 0 or not (out / keys.MASTER).exists():
            raise Broken("studio.packager", "The film could not be packaged", why=said(ran), hint="Report it")
        _default_sound(out / keys.MASTER, out / plan.build / AV_MASTER)
        (out / keys.MANIFEST).replace(out / plan.build / AV_MANIFEST)
        await _store_all(bench, title, out)


def _default_sound(packed: Path, goal: Path) -> None:
    # The packager makes a default only of a language it knows; ours has one sound, whatever its language.
    goal.write_text(packed.read_text().replace(",DEFAULT=NO,", ",DEFAULT=YES,", 1))


async def _join(bench: Workbench, title: Title, plan: Plan, rung: Rung, done: Done, goal: Path) -> None:
    for index, chunk in sorted(done.chunks[rung.name].items()):
        async with bench.objects.local(keys.chunk(title.title_id, plan.build, rung.name, index)) as path:
            offset = 0 if index == 0 else chunk.init_bytes
            await anyio.to_thread.run_sync(cut_out, [Piece(path, offset, chunk.size_bytes - offset)], goal, index > 0)


async def _store_all(bench: Workbench, title: Title, out: Path) -> None:
    for path in _files(out):
        await bench.objects.put_file(keys.media(title.title_id, path.relative_to(out).as_posix()), path)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
