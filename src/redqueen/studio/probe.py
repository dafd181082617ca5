"""What a film is: ffprobe's answer turned into Facts, or a clear refusal. Pure.

Decides which video and audio stream counts, the size as shown, the output rate and how many frames
come out. Refuses what is no film, has no picture, is too large or too long. Enter at `understand`;
`inspection.py` runs ffprobe.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import msgspec

from redqueen.errors import InvalidInput
from redqueen.studio import untrusted
from redqueen.studio.languages import film_language
from redqueen.studio.model import AudioTrack, EmbeddedText, Facts, Ratio
from redqueen.studio.rates import output_rate

MAX_DURATION_S = 12 * 3600
_HDR = ("smpte2084", "arib-std-b67")
_MATRIX = {
    "bt709": "bt709",
    "smpte170m": "smpte170m",
    "bt470bg": "smpte170m",
    "bt2020nc": "bt2020",
    "bt2020c": "bt2020",
}
_MUST_HOLD = "an upload must be one film file, such as MP4, MOV, MKV, WebM, AVI or MPEG-TS"


class Disposition(msgspec.Struct):
    """Which roles a stream has, 0 or 1."""

    default: int = 0
    attached_pic: int = 0


class SideData(msgspec.Struct):
    """A packet of side data; only rotation (degrees) matters."""

    rotation: float = 0


class Stream(msgspec.Struct):
    """One stream as ffprobe shows it; rates and times are rationals or decimals as text."""

    index: int
    codec_type: str = ""
    codec_name: str = ""
    width: int = 0
    height: int = 0
    sample_aspect_ratio: str = "1:1"
    pix_fmt: str = ""
    field_order: str = ""
    color_transfer: str = ""
    color_space: str = ""
    r_frame_rate: str = "0/0"
    avg_frame_rate: str = "0/0"
    time_base: str = "1/1000"
    start_pts: int | None = None
    duration_ts: int | None = None
    channels: int = 0
    disposition: Disposition = msgspec.field(default_factory=Disposition)
    tags: dict[str, str] = {}
    side_data_list: list[SideData] = []


class Container(msgspec.Struct):
    """The file as a whole; times in seconds as text."""

    format_name: str = ""
    start_time: str = ""
    duration: str = ""


class Answer(msgspec.Struct):
    """ffprobe's JSON."""

    streams: list[Stream] = []
    format: Container | None = None


def decode(text: bytes) -> Answer:
    """Read ffprobe's JSON. Raises InvalidInput when it is none."""
    try:
        return msgspec.json.decode(text, type=Answer, strict=False)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise not_a_film(f"it could not be read: {error}") from error


def picture(answer: Answer) -> Stream:
    """Choose the video stream: the default one, else the largest. Raises InvalidInput."""
    if answer.format is None:
        raise not_a_film("no container was found in it")
    if len(answer.streams) > untrusted.MAX_STREAMS:
        raise InvalidInput(
            "film.too_many_streams", "The film has too many streams", hint="Keep one video and one audio"
        )
    seen = [s for s in answer.streams if s.codec_type == "video" and not s.disposition.attached_pic]
    usable = [s for s in seen if s.width > 0 and s.height > 0]
    if not usable:
        if seen:
            raise not_a_film("its video track cannot be read")
        raise InvalidInput(
            "film.no_video",
            "The file has no video track",
            why="only sound or cover art was found",
            hint="Upload a film",
        )
    return max(usable, key=lambda s: (s.disposition.default, s.width * s.height, -s.index))


def not_a_film(why: str) -> InvalidInput:
    """Say that a file is no film."""
    return InvalidInput("film.not_a_film", "The file is not a film that can be read", why=why, hint=_MUST_HOLD)


def truncated(found_s: float, promised_s: float) -> InvalidInput:
    """Say that a file ends before the film does (seconds)."""
    return InvalidInput(
        "film.truncated",
        "The film is cut off",
        why=f"it promises {promised_s:.1f} s and holds {found_s:.1f} s",
        hint="Copy the whole file and upload it again",
    )


def promised_end(answer: Answer, video: Stream) -> Fraction | None:
    """Return the second on the source's clock at which the container says the picture ends."""
    base, start = _ratio(video.time_base) or Fraction(1, 1000), _start(video)
    ends: list[Fraction] = []
    if video.duration_ts and video.duration_ts > 0:
        ends.append(start + video.duration_ts * base)
    tagged = _clock(next((v for k, v in video.tags.items() if k.upper().startswith("DURATION")), ""))
    if tagged is not None and not ends:
        ends.append(tagged)
    container = answer.format or Container()
    whole = _decimal(container.duration)
    if whole is not None and whole > 0:
        ends.append((_decimal(container.start_time) or Fraction(0)) + whole)
    return min(ends) if ends else None


def last_end(lines: bytes, video: Stream) -> Fraction | None:
    """Return the second at which the last of ffprobe's packets (`pts,duration` a line) ends."""
    base = _ratio(video.time_base) or Fraction(1, 1000)
    ends: list[tuple[int, int]] = []
    for line in lines.decode(errors="replace").splitlines():
        pts, _, duration = line.strip().partition(",")
        if pts.lstrip("-").isdigit():
            length = duration.strip(",")
            ends.append((int(pts), int(length) if length.isdigit() else 0))
    if not ends:
        return None
    pts, duration = max(ends)
    if duration <= 0:
        rate, _ = output_rate(_ratio(video.r_frame_rate), _ratio(video.avg_frame_rate))
        return pts * base + 1 / rate
    return (pts + duration) * base


def understand(answer: Answer, end: Fraction, size_bytes: int) -> Facts:
    """Turn ffprobe's answer and the picture's end (seconds, source clock) into Facts. Raises InvalidInput."""
    video = picture(answer)
    container = answer.format or Container()
    width, height = shown_size(video)
    nominal, average = _ratio(video.r_frame_rate), _ratio(video.avg_frame_rate)
    rate, variable = output_rate(nominal, average)
    zero = _zero(container, video, rate)
    frames = max(1, round((end - zero) * rate))
    _refuse_excess(width, height, float(frames / rate))
    return Facts(
        container=container.format_name.split(",")[0],
        size_bytes=size_bytes,
        codec=video.codec_name,
        pixel_format=video.pix_fmt,
        video_index=video.index,
        width=width,
        height=height,
        rate=Ratio.of(rate),
        frames=frames,
        variable=variable,
        zero=Ratio.of(zero),
        interlaced=video.field_order in ("tt", "bb", "tb", "bt"),
        hdr=video.color_transfer if video.color_transfer in _HDR else "",
        matrix=_MATRIX.get(video.color_space, "bt709" if height >= 720 else "smpte170m"),
        audio=_sound(answer.streams),
        texts=_texts(answer.streams),
    )


def shown_size(video: Stream) -> tuple[int, int]:
    """Return width and height as shown: square pixels, turned upright."""
    aspect = _ratio(video.sample_aspect_ratio.replace(":", "/")) or Fraction(1)
    if not Fraction(1, 10) <= aspect <= 10:
        aspect = Fraction(1)
    width, height = max(1, round(video.width * aspect)), video.height
    turned = any(round(data.rotation) % 180 == 90 for data in video.side_data_list)
    return (height, width) if turned else (width, height)


def _refuse_excess(width: int, height: int, duration_s: float) -> None:
    if width * height > untrusted.MAX_PIXELS or max(width, height) > untrusted.MAX_SIDE:
        raise InvalidInput("film.too_large", f"The picture is too large: {width}x{height}", hint="At most 8192x4320")
    if duration_s > MAX_DURATION_S:
        raise InvalidInput(
            "film.too_long", f"The film is too long: {duration_s / 3600:.1f} h", hint="At most 12 h; cut it in parts"
        )


def _zero(container: Container, video: Stream, rate: Fraction) -> Fraction:
    # Frame 0 is the first picture, so that source frames fall exactly on output indices; a picture
    # that comes long after the sound gets whole frames of lead instead of losing the sound.
    first = _start(video)
    start = _decimal(container.start_time)
    if start is None or first - start <= Fraction(1, 2):
        return first
    return first - round((first - start) * rate) / rate


def _start(video: Stream) -> Fraction:
    return (video.start_pts or 0) * (_ratio(video.time_base) or Fraction(1, 1000))


def _sound(streams: Sequence[Stream]) -> AudioTrack | None:
    tracks = [s for s in streams if s.codec_type == "audio" and s.channels > 0 and s.codec_name]
    if not tracks:
        return None
    best = max(tracks, key=lambda s: (s.disposition.default, s.channels, -s.index))
    return AudioTrack(best.index, best.codec_name, best.channels, film_language(best.tags.get("language", "")))


def _texts(streams: Sequence[Stream]) -> tuple[EmbeddedText, ...]:
    texts = [s for s in streams if s.codec_type == "subtitle" and s.codec_name in untrusted.TEXT_CODECS]
    return tuple(
        EmbeddedText(s.index, s.codec_name, film_language(s.tags.get("language", "")), s.tags.get("title", "")[:60])
        for s in texts[:8]
    )


def _ratio(text: str) -> Fraction | None:
    num, _, den = text.partition("/")
    if not num.isdigit() or not den.isdigit() or int(num) == 0 or int(den) == 0:
        return None
    return Fraction(int(num), int(den))


def _decimal(text: str) -> Fraction | None:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def _clock(text: str) -> Fraction | None:
    parts = text.split(":")
    if len(parts) != 3:
        return None
    numbers = [_decimal(part) for part in parts]
    if any(number is None for number in numbers):
        return None
    hours, minutes, seconds = (number or Fraction(0) for number in numbers)
    return hours * 3600 + minutes * 60 + seconds
