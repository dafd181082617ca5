"""Reads HLS playlists (RFC 8216) as far as a viewer needs them; pure.

Decides what a playlist offers: the rungs and audio renditions of a master playlist, or the
timed segments of a media playlist. Unknown tags are passed over, as the RFC demands. Refuses,
with the line and the reason: text that is no playlist, a rung without BANDWIDTH or address, a
segment without a finite duration. Sliding live windows are out of scope: a playlist is EVENT or
VOD, its first segment starts at 0 s. Enter at `parse`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

from redqueen.errors import InvalidInput

_ATTRIBUTE = re.compile(r'\s*([A-Z0-9-]+)=("[^"]*"|[^,]*)(?:,|$)')


@dataclass(frozen=True, slots=True)
class Rung:
    """One variant stream of a master playlist; rates in bits per second."""

    url: str
    bandwidth_bps: int
    average_bps: int | None = None
    width: int | None = None
    height: int | None = None
    codecs: str = ""
    audio_group: str | None = None


@dataclass(frozen=True, slots=True)
class Rendition:
    """One EXT-X-MEDIA line; `url` is None where the media is inside the variant stream."""

    kind: str
    group: str
    name: str
    url: str | None = None
    language: str = ""
    default: bool = False


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` to `start + length` (exclusive) of a resource."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Part:
    """A fetchable piece: a whole resource, or a range of it."""

    url: str
    range: ByteRange | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """One media segment: its place on the film's time line, and the init section it needs."""

    part: Part
    start_s: float
    duration_s: float
    init: Part | None = None

    @property
    def end_s(self) -> float:
        """Return the media time at which this segment ends, in seconds."""
        return self.start_s + self.duration_s


@dataclass(frozen=True, slots=True)
class Master:
    """A multivariant playlist: rungs in order of rising bandwidth, and renditions."""

    url: str
    rungs: tuple[Rung, ...]
    renditions: tuple[Rendition, ...] = ()

    def audio(self, rung: Rung, language: str = "") -> Rendition | None:
        """Return the separate audio rendition that plays with `rung`, or None if it carries its own."""
        group = [r for r in self.renditions if r.kind == "AUDIO" and r.group == rung.audio_group and r.url]
        wanted = [r for r in group if language and r.language == language]
        return next(iter(wanted or [r for r in group if r.default] or group), None)


@dataclass(frozen=True, slots=True)
class Media:
    """A media playlist; `ended` tells that no segment will be added."""

    url: str
    target_duration_s: float
    segments: tuple[Segment, ...]
    ended: bool
    kind: str = ""

    @property
    def duration_s(self) -> float:
        """Return how many seconds of film are listed now."""
        return self.segments[-1].end_s if self.segments else 0.0

    def after(self, position_s: float, *, tolerance_s: float = 0.05) -> Segment | None:
        """Return the first segment that holds something later than `position_s`, or None."""
        low, high = 0, len(self.segments)
        while low < high:
            middle = (low + high) // 2
            if self.segments[middle].end_s > position_s + tolerance_s:
                high = middle
            else:
                low = middle + 1
        return self.segments[low] if low < len(self.segments) else None


def parse(text: str, url: str) -> Master | Media:
    """Read a playlist fetched from `url`; relative addresses become absolute. Raises InvalidInput."""
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    if not lines or not lines[0].startswith("#EXTM3U"):
        raise _wrong(url, 1, "it does not begin with #EXTM3U", lines[0] if lines else "")
    if any(line.startswith("#EXT-X-STREAM-INF:") for line in lines):
        return _master(lines, url)
    return _media(lines, url)


def attributes(text: str) -> dict[str, str]:
    """Split an attribute list (RFC 8216, 4.2) into names and unquoted values; later names win."""
    return {match[1]: match[2].strip().strip('"') for match in _ATTRIBUTE.finditer(text)}


def _master(lines: list[str], url: str) -> Master:
    rungs: list[Rung] = []
    renditions: list[Rendition] = []
    for number, line in enumerate(lines, 1):
        if line.startswith("#EXT-X-STREAM-INF:"):
            found = attributes(line.partition(":")[2])
            rungs.append(_rung(found, _address_after(lines, number, url), url, number))
        elif line.startswith("#EXT-X-MEDIA:"):
            renditions.append(_rendition(attributes(line.partition(":")[2]), url))
    return Master(url, tuple(sorted(rungs, key=lambda rung: rung.bandwidth_bps)), tuple(renditions))


def _address_after(lines: list[str], number: int, url: str) -> str:
    for line in lines[number:]:
        if line and not line.startswith("#"):
            return _join(url, line, number)
        if line.startswith("#EXT-X-STREAM-INF:"):
            break
    raise _wrong(url, number, "no address follows this variant", lines[number - 1])


def _rung(found: Mapping[str, str], address: str, url: str, number: int) -> Rung:
    bandwidth = _whole(found.get("BANDWIDTH", ""))
    if not bandwidth:
        raise _wrong(url, number, "a variant needs BANDWIDTH, a whole number of bits per second", str(dict(found)))
    width, _, height = found.get("RESOLUTION", "").lower().partition("x")
    average = _whole(found.get("AVERAGE-BANDWIDTH", ""))
    return Rung(address, bandwidth, average, _whole(width), _whole(height), found.get("CODECS", ""), found.get("AUDIO"))


def _rendition(found: Mapping[str, str], url: str) -> Rendition:
    address = found.get("URI")
    return Rendition(
        kind=found.get("TYPE", ""),
        group=found.get("GROUP-ID", ""),
        name=found.get("NAME", ""),
        url=_join(url, address, 0) if address else None,
        language=found.get("LANGUAGE", ""),
        default=found.get("DEFAULT") == "YES",
    )


def _media(lines: list[str], url: str) -> Media:
    return Media(
        url=url,
        target_duration_s=_target(lines, url),
        segments=tuple(_segments(lines, url)),
        ended="#EXT-X-ENDLIST" in lines,
        kind=_value(lines, "#EXT-X-PLAYLIST-TYPE:") or "",
    )


def _target(lines: list[str], url: str) -> float:
    text = _value(lines, "#EXT-X-TARGETDURATION:")
    target = _seconds(text or "")
    if target is None or target <= 0:
        raise _wrong(url, 1, "a media playlist needs a positive EXT-X-TARGETDURATION", text or "")
    return target


def _segments(lines: list[str], url: str) -> Iterator[Segment]:
    start_s, duration_s = 0.0, None
    init: Part | None = None
    span: str | None = None
    previous: Part | None = None
    for number, line in enumerate(lines, 1):
        if line.startswith("#EXTINF:"):
            duration_s = _seconds(line[8:].partition(",")[0])
            if duration_s is None:
                raise _wrong(url, number, "EXTINF needs a duration in seconds", line)
        elif line.startswith("#EXT-X-BYTERANGE:"):
            span = line.partition(":")[2]
        elif line.startswith("#EXT-X-MAP:"):
            init = _map(attributes(line.partition(":")[2]), url, number)
        elif line and not line.startswith("#"):
            if duration_s is None:
                raise _wrong(url, number, "a segment needs EXTINF before its address", line)
            previous = _part(_join(url, line, number), span, previous, url, number)
            yield Segment(previous, start_s, duration_s, init)
            start_s, duration_s, span = start_s + duration_s, None, None


def _map(found: Mapping[str, str], url: str, number: int) -> Part:
    address = found.get("URI")
    if not address:
        raise _wrong(url, number, "EXT-X-MAP needs URI", str(dict(found)))
    return _part(_join(url, address, number), found.get("BYTERANGE"), None, url, number)


def _part(address: str, span: str | None, previous: Part | None, url: str, number: int) -> Part:
    if span is None:
        return Part(address)
    length_text, _, start_text = span.partition("@")
    length, start = _whole(length_text), _whole(start_text)
    if start is None and not start_text and previous and previous.range and previous.url == address:
        start = previous.range.start + previous.range.length
    if length is None or (start is None and start_text):
        raise _wrong(url, number, "a byte range is LENGTH[@START] in whole numbers", span)
    return Part(address, ByteRange(start or 0, length))


def _value(lines: list[str], tag: str) -> str | None:
    return next((line[len(tag) :].strip() for line in lines if line.startswith(tag)), None)


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e9 else None  # also refuses NaN and infinity


def _join(url: str, address: str, number: int) -> str:
    try:
        return urljoin(url, address)
    except ValueError as error:
        raise _wrong(url, number, f"its address cannot be read ({error})", address) from error


def _wrong(url: str, number: int, why: str, line: str) -> InvalidInput:
    return InvalidInput(
        "playlist.invalid",
        f"The playlist {url} cannot be played: line {number}: {line[:120]!r}",
        why=why,
        hint="Check what the server sent at that address",
    )
