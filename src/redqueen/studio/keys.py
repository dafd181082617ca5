"""Where the studio's objects lie. Pure; the only place that spells these paths.

`media/<title>/` is what gateways serve: names there are never reused for other bytes, except the
playlists and manifests at its top. `work/<title>/` vanishes when the title is complete.
"""

from __future__ import annotations

MASTER = "master.m3u8"
MANIFEST = "manifest.mpd"
POSTER = "poster.jpg"


def media(title_id: str, path: str) -> str:
    """Return the object's key for a path relative to `media/<title>/`."""
    return f"media/{title_id}/{path}"


def work_folder(title_id: str) -> str:
    """Return the folder of everything intermediate."""
    return f"work/{title_id}"


def chunk(title_id: str, build: str, rung: str, index: int) -> str:
    """Return where an encoded chunk waits to be packaged."""
    return f"work/{title_id}/{build}/{rung}/{index:06d}.mp4"


def sound(title_id: str, build: str) -> str:
    """Return where the encoded sound waits to be packaged."""
    return f"work/{title_id}/{build}/sound.mp4"


def instant(build: str, kind: str) -> str:
    """Return the folder of instant segments (`video` or `audio`), relative to `media/<title>/`."""
    return f"instant/{build}/{kind}"


def instant_list(build: str, kind: str) -> str:
    """Return the instant media playlist, relative to `media/<title>/`."""
    return f"instant/{build}/{kind}.m3u8"


def instant_init(build: str, kind: str) -> str:
    """Return the instant initialisation part, relative to `media/<title>/`."""
    return f"{instant(build, kind)}/init.mp4"


def video_segment(build: str, chunk_index: int, number: int) -> str:
    """Return an instant video segment, relative to `media/<title>/`."""
    return f"{instant(build, 'video')}/{chunk_index:05d}-{number}.m4s"


def audio_segment(build: str, number: int) -> str:
    """Return an instant audio segment, relative to `media/<title>/`."""
    return f"{instant(build, 'audio')}/{number:05d}.m4s"
