"""The tus 1.0.0 protocol's headers as values: what a client sent, what it is told. Pure.

Strict: numbers are plain digits, metadata is valid base64 with unique ASCII keys, the version is
exactly 1.0.0. Extensions: creation, expiration, termination. Refuses deferred lengths and empty
files. Source: https://tus.io/protocols/resumable-upload. Enter at `creation` and `patch_offset`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate

from redqueen.errors import InvalidInput

VERSION = "1.0.0"
EXTENSIONS = "creation,expiration,termination"
CONTENT_TYPE = "application/offset+octet-stream"
MAX_METADATA_CHARS = 16_384
_MAX_VALUE_BYTES = 8192
_NUMBER = re.compile(r"[0-9]{1,19}")
_KEY = re.compile(r"[!-+\--~]+")


@dataclass(frozen=True, slots=True)
class Creation:
    """What a client wants to upload: its length in bytes and what it says about it."""

    length: int
    metadata: Mapping[str, str]


def check_version(headers: Mapping[str, str]) -> None:
    """Raise InvalidInput (`tus.version`) unless the client speaks 1.0.0."""
    if headers.get("tus-resumable") != VERSION:
        raise InvalidInput(
            "tus.version",
            "This upload does not say that it speaks tus 1.0.0",
            hint=f"Send the header Tus-Resumable: {VERSION}",
        )


def creation(headers: Mapping[str, str], *, max_bytes: int) -> Creation:
    """Read the headers of a creation request. Raises InvalidInput."""
    if "upload-defer-length" in headers:
        raise InvalidInput("upload.length", "Uploads of unknown length are not taken", hint="Send Upload-Length")
    length = _number(headers, "upload-length", "upload.length")
    if length == 0:
        raise InvalidInput("upload.empty", "The file is empty", why="it has 0 bytes", hint="Choose a file with a film")
    if length > max_bytes:
        raise InvalidInput(
            "upload.too_large",
            f"The file is larger than this region takes: {length} bytes",
            why=f"the limit is {max_bytes} bytes",
            hint="Send a smaller file",
        )
    return Creation(length, metadata(headers.get("upload-metadata", "")))


def patch_offset(headers: Mapping[str, str]) -> int:
    """Read the offset of a PATCH. Raises InvalidInput (also for a wrong content type)."""
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != CONTENT_TYPE:
        raise InvalidInput(
            "upload.content_type", "A part of an upload has another content type", hint=f"Send {CONTENT_TYPE}"
        )
    return _number(headers, "upload-offset", "upload.offset_header")


def metadata(text: str) -> dict[str, str]:
    """Parse Upload-Metadata: `key base64,key base64,flag`. Raises InvalidInput."""
    if len(text) > MAX_METADATA_CHARS:
        raise _bad_metadata(f"it has more than {MAX_METADATA_CHARS} characters")
    found: dict[str, str] = {}
    for pair in text.split(",") if text.strip() else ():
        key, _, value = pair.strip().partition(" ")
        if not _KEY.fullmatch(key):
            raise _bad_metadata("a key is empty or has other than printable ASCII characters")
        if key in found:
            raise _bad_metadata(f"the key {key[:40]} is there twice")
        found[key] = _decoded(key, value)
    return found


def _decoded(key: str, value: str) -> str:
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad_metadata(f"the value of {key[:40]} is not base64") from error
    if len(decoded) > _MAX_VALUE_BYTES:
        raise _bad_metadata(f"the value of {key[:40]} is longer than {_MAX_VALUE_BYTES} bytes")
    # File names on POSIX are bytes: what is not UTF-8 is read as Windows-1252, not refused.
    try:
        return decoded.decode("utf-8")
    except UnicodeDecodeError:
        return decoded.decode("cp1252", "replace")


def _bad_metadata(why: str) -> InvalidInput:
    return InvalidInput(
        "upload.metadata",
        "Upload-Metadata cannot be read",
        why=why,
        hint="Send comma-separated `key base64value` pairs",
    )


def _number(headers: Mapping[str, str], name: str, code: str) -> int:
    text = headers.get(name, "")
    if not _NUMBER.fullmatch(text):
        shown = name.title()
        raise InvalidInput(code, f"The header {shown} is missing or no number of bytes", hint=f"Send {shown}: <digits>")
    return int(text)


def http_date(at: float) -> str:
    """Return an RFC 9110 date for epoch seconds."""
    return formatdate(at, usegmt=True)
