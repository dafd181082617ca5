"""Names that people and their file systems give films, made safe and pleasant to show.

Decides what stays of a name: no control, NUL or bidirectional override marks, no line breaks, no
lone surrogates, at most 200 characters, never nothing. Pure; refuses nothing, since a film with
an odd name is still a film. Enter at `cleaned` and `from_filename`.
"""

from __future__ import annotations

import re
import unicodedata

MAX_CHARS = 200
MAX_DESCRIPTION_CHARS = 4000
UNTITLED = "Untitled"

_KNOWN_ENDINGS = re.compile(
    r"\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|m2?ts|ts|wmv|flv|ogv|ogg|3gp|mxf|vob|y4m|film|video)$", re.IGNORECASE
)
# Marks that change the order or the presence of what is read: bidi controls, zero-width space,
# byte order mark, interlinear marks. Zero-width (non-)joiners stay: Persian and emoji need them.
_INVISIBLE = re.compile("[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\u206a-\u206f\ufeff\ufff9-\ufffb]")


def cleaned(text: str, *, limit: int = MAX_CHARS, empty: str = UNTITLED) -> str:
    """Return `text` on one line, safe to show, at most `limit` characters; `empty` if nothing stays."""
    shown = _INVISIBLE.sub("", unicodedata.normalize("NFC", _without_surrogates(text[: limit * 8])))
    shown = "".join(" " if _is_break(mark) else mark for mark in shown if _is_break(mark) or not _is_hidden(mark))
    shown = " ".join(shown.split())[:limit].rstrip()
    # Only joiners and combining marks left is nothing to read.
    return shown if any(unicodedata.category(mark)[0] in "LNPS" for mark in shown) else empty


def cleaned_description(text: str) -> str:
    """Return a description of at most 4000 characters; its line breaks stay, other controls go."""
    lines = [cleaned(line, limit=MAX_DESCRIPTION_CHARS, empty="") for line in text[:40_000].splitlines()]
    return "\n".join(lines).strip()[:MAX_DESCRIPTION_CHARS].rstrip()


def from_filename(filename: str) -> str:
    """Return a title for a file: no folders, no ending, dots and underscores read as spaces."""
    stem = _KNOWN_ENDINGS.sub("", re.split(r"[/\\]", cleaned(filename, limit=5000, empty=""))[-1])
    if " " not in stem:
        stem = re.sub(r"[._]+", " ", stem)
    return cleaned(stem.strip(" -_."))


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", "ignore").decode()


def _is_break(mark: str) -> bool:
    return mark in "\t\n\r\v\f\x85\u2028\u2029"


def _is_hidden(mark: str) -> bool:
    return unicodedata.category(mark) in ("Cc", "Cs", "Co", "Cn")
