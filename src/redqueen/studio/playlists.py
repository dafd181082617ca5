"""HLS playlists of the title while it is being made, and of its subtitles. Pure text.

The instant playlists are EVENT lists that only ever grow and end with EXT-X-ENDLIST, so that a viewer
who began early plays on into the finished film. Enter at `event` and `instant_master`.
Source: RFC 8216 and draft-pantos-hls-rfc8216bis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from redqueen.studio.model import Plan, Segment, SubtitleText
from redqueen.studio.recipe import AUDIO_BPS


def event(init: str, segments: Sequence[Segment], *, ended: bool, longest_s: float, folder: str) -> bytes:
    """Write a media playlist that lies in `folder`; `longest_s` bounds every segment, now and later."""
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{max(1, math.ceil(longest_s))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "#EXT-X-START:TIME-OFFSET=0,PRECISE=YES",  # players else begin near the end of a growing list
        f'#EXT-X-MAP:URI="{_relative(init, folder)}"',
    ]
    for segment in segments:
        lines += [f"#EXTINF:{segment.duration_s:.6f},", _relative(segment.path, folder)]
    if ended:
        lines.append("#EXT-X-ENDLIST")
    return ("\n".join(lines) + "\n").encode()


def _relative(path: str, folder: str) -> str:
    return path.removeprefix(folder + "/")


def instant_master(plan: Plan, codec: str, video: str, audio: str | None) -> str:
    """Write the multivariant playlist that offers the instant rung only (subtitles are added later)."""
    rung, rate = plan.instant, plan.facts.rate.exact
    codecs = ",".join(part for part in (codec, "mp4a.40.2" if audio else "") if part)
    peak = rung.bitrate_bps + (AUDIO_BPS if audio else 0)
    # EXT-X-START stands in the media playlists only: FFmpeg refuses a master that has it.
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    if audio and plan.facts.audio:
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="{audio_name(plan.facts.audio.language)}",'
            f'LANGUAGE="{plan.facts.audio.language}",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="{audio}"'
        )
    group = ',AUDIO="audio"' if audio else ""
    lines.append(
        f"#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={peak * 3 // 4},"
        f'CODECS="{codecs}",RESOLUTION={rung.width}x{rung.height},FRAME-RATE={float(rate):.3f}{group},'
        "CLOSED-CAPTIONS=NONE"
    )
    lines.append(video)
    return "\n".join(lines) + "\n"


def audio_name(language: str) -> str:
    """Name an audio track for a player's menu."""
    return "Sound" if language == "und" else language


def subtitle_list(text: SubtitleText, duration_s: float) -> bytes:
    """Write the media playlist of one whole WebVTT file beside it."""
    name = text.path.rpartition("/")[2]
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{max(1, math.ceil(duration_s))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        f"#EXTINF:{duration_s:.3f},",
        name,
        "#EXT-X-ENDLIST",
    ]
    return ("\n".join(lines) + "\n").encode()


def with_subtitles(master: str, texts: Sequence[SubtitleText]) -> str:
    """Add subtitle renditions to a multivariant playlist that has none."""
    if not texts:
        return master
    lines: list[str] = []
    placed = False
    for line in master.splitlines():
        if line.startswith("#EXT-X-STREAM-INF:"):
            if not placed:
                lines += [_rendition(text) for text in texts]
                placed = True
            line += ',SUBTITLES="text"'
        lines.append(line)
    return "\n".join(lines) + "\n"


def _rendition(text: SubtitleText) -> str:
    uri = text.path.removesuffix(".vtt") + ".m3u8"
    return (
        f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="text",NAME="{quoted(text.label)}",LANGUAGE="{text.lang}",'
        f'DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="{uri}"'
    )


def quoted(text: str) -> str:
    """Make text safe inside a quoted attribute, which may hold no quote and no line break."""
    return " ".join(text.replace('"', "'").split())[:80] or "Subtitles"
