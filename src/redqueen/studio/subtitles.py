"""Subtitles from strangers, SubRip or WebVTT, turned into clean WebVTT. Pure.

Keeps what is said and when, and bold, italic, underline; everything else that could act in a browser
(tags, styles, regions, scripts, notes) is left out and the rest is escaped. Tolerant of encodings,
line ends, missing numbers and blank lines; refuses text without a single cue. Enter at `clean`.
Source: W3C WebVTT; SubRip as its players read it.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from redqueen.errors import InvalidInput

MAX_BYTES = 2 << 20
MAX_CUES = 20_000
_MAX_CUE_CHARS = 2_000
_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMING = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?$", re.ASCII)
_TAG = re.compile(r"<(/?)([A-Za-z]+)[^<>]*>|<[\d:.]+>|\{\\[^{}]*\}")
_ACTIVE = re.compile(r"<\s*(script|style|iframe|object)\b.*?(<\s*/\s*\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_KEPT = ("b", "i", "u")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Cue:
    """Text that is shown from `start_ms` to `end_ms`; already clean WebVTT cue text."""

    start_ms: int
    end_ms: int
    text: str


def clean(raw: bytes) -> bytes:
    """Turn SubRip or WebVTT into clean WebVTT. Raises InvalidInput (`subtitles.*`)."""
    if len(raw) > MAX_BYTES:
        raise InvalidInput("subtitles.too_large", "The subtitles are too large", hint="At most 2 MiB of text")
    return write(read(decoded(raw)))


def decoded(raw: bytes) -> str:
    """Decode UTF-8 (with or without a mark), UTF-16 with a mark, else Latin-1. Raises InvalidInput."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = raw.decode("utf-16", errors="replace")
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("cp1252", errors="replace")
    if text.count("\x00") > 0:
        raise InvalidInput("subtitles.not_text", "The subtitles are not text", hint="Send an .srt or .vtt file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read(text: str) -> list[Cue]:
    """Read every cue, sorted by time. Raises InvalidInput when there is none or there are too many."""
    cues: list[Cue] = []
    lines = text.split("\n")
    timings = [(number, match) for number, line in enumerate(lines) if (match := _TIMING.match(line))]
    for position, (number, match) in enumerate(timings):
        past = timings[position + 1][0] if position + 1 < len(timings) else len(lines)
        cue = _cue(match, _body(lines[number + 1 : past], last=position + 1 == len(timings)))
        if cue is not None:
            cues.append(cue)
    if not cues:
        raise InvalidInput(
            "subtitles.no_cues",
            "There are no subtitles in the text",
            why='no line such as "00:00:01,000 --> 00:00:02,500" was found with text under it',
            hint="Send SubRip (.srt) or WebVTT (.vtt)",
        )
    if len(cues) > MAX_CUES:
        raise InvalidInput("subtitles.too_many", f"There are {len(cues)} cues", hint=f"At most {MAX_CUES}")
    return sorted(cues, key=lambda cue: (cue.start_ms, cue.end_ms))


def _body(lines: list[str], *, last: bool) -> str:
    # A blank line ends a cue, but SubRip in the wild has blank lines inside: text goes on until the
    # next timing, less the number or name that belongs to it. Notes and styles end it for good.
    kept: list[str] = []
    if not last and lines and _is_name(lines):
        lines = lines[:-1]
    for line in lines:
        if kept and not kept[-1].strip() and re.match(r"^(NOTE|STYLE|REGION)\b", line):
            break
        kept.append(line)
    return "\n".join(line for line in kept if line.strip())


def _is_name(lines: list[str]) -> bool:
    # The line right above a timing: a number, or anything that stands alone after a blank line.
    alone = len(lines) > 1 and not lines[-2].strip()
    return bool(lines[-1].strip()) and (alone or lines[-1].strip().isdigit())


def _cue(match: re.Match[str], body: str) -> Cue | None:
    numbers = match.groups()
    start_ms, end_ms = _ms(numbers[:4]), _ms(numbers[4:])
    text = _safe(body)[:_MAX_CUE_CHARS]
    if end_ms <= start_ms or not text.strip():
        return None
    return Cue(start_ms, end_ms, _balanced(text))


def _ms(parts: tuple[str | None, ...]) -> int:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(fraction.ljust(3, "0"))


def _safe(body: str) -> str:
    body = _CONTROL.sub("", _ACTIVE.sub("", body))
    out: list[str] = []
    at = 0
    for match in _TAG.finditer(body):
        out.append(_escaped(body[at : match.start()]))
        name = (match.group(2) or "").lower()
        if name in _KEPT:
            out.append(f"<{match.group(1)}{name}>")
        at = match.end()
    out.append(_escaped(body[at:]))
    return "".join(out).strip()


def _escaped(text: str) -> str:
    plain = _CONTROL.sub("", html.unescape(text))
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _balanced(text: str) -> str:
    # Close what is open and drop what closes nothing, also after a cue was cut to its longest.
    text = re.sub(r"(<[^<>]{0,3}|&[a-z]{0,3})$", "", text)
    open_tags: list[str] = []
    out: list[str] = []
    for part in re.split(r"(</?[biu]>)", text):
        if not re.fullmatch(r"</?[biu]>", part):
            out.append(part)
        elif part[1] != "/":
            open_tags.append(part[1])
            out.append(part)
        elif open_tags and open_tags[-1] == part[2]:
            open_tags.pop()
            out.append(part)
    return "".join(out) + "".join(f"</{name}>" for name in reversed(open_tags))


def write(cues: list[Cue]) -> bytes:
    """Write WebVTT in UTF-8."""
    blocks = [f"{_stamp(cue.start_ms)} --> {_stamp(cue.end_ms)}\n{cue.text}\n" for cue in cues]
    return ("WEBVTT\n\n" + "\n".join(blocks)).encode()


def _stamp(ms: int) -> str:
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}.{ms:03d}"
