"""Common Media Client Data as players send it: in a query, in four headers, or line by line in a body.

Decides how a report is read: a Structured Fields dictionary (RFC 8941) with CMCD's keys, of version
1 (CTA-5004) or 2 (CTA-5004-A), whose lists give their first value where we want one. Unknown and
custom keys are kept, since players may send what we do not know. Refuses (ValueError, with the
place) what is not such a dictionary, or too long. Pure. Enter at `from_query`, `from_headers` and
`from_body`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import unquote_plus

Bare: TypeAlias = str | int | float | bool
Value: TypeAlias = Bare | tuple[Bare, ...]

MEDIA_TYPE: Final = "application/cmcd"
HEADERS: Final = ("cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status")
MAX_REPORT_CHARS: Final = 2000
MAX_REPORTS: Final = 64
_MAX_KEYS: Final = 100

_KEY: Final = re.compile(r"[A-Za-z*][A-Za-z0-9_.*-]*")
_NUMBER: Final = re.compile(r"-?\d{1,15}(?:\.\d{1,3})?(?![0-9.])")
_TEXT: Final = re.compile(r'"((?:[^"\\\x00-\x1f\x7f]|\\["\\])*)"')
_TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~:/0-9A-Za-z-]*")
_BOOLEAN: Final = re.compile(r"\?([01])")
_DATE: Final = re.compile(r"@(-?\d{1,15})")
_BYTES: Final = re.compile(r":([A-Za-z0-9+/=]*):")
_SPACE: Final = re.compile(r"[ \t]*")


@dataclass(frozen=True, slots=True)
class Report:
    """What a player said once; `text` is how it said it."""

    keys: Mapping[str, Value]
    text: str

    @property
    def version(self) -> int:
        """Return the version of CMCD; without a key `v` it is 1."""
        return int(self.number("v") or 1)

    def word(self, key: str) -> str:
        """Return a string or token (of a list the first), or an empty one."""
        value = self._first(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> float | None:
        """Return a number (of a list the first), or None."""
        value = self._first(key)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def flag(self, key: str) -> bool:
        """Tell whether a boolean is set (of a list, the first)."""
        return self._first(key) is True

    def _first(self, key: str) -> Bare | None:
        value = self.keys.get(key)
        return (value[0] if value else None) if isinstance(value, tuple) else value


def from_query(value: str) -> Report:
    """Read the value of the query parameter `CMCD`, percent-encoded as in the address. Raises ValueError."""
    return parsed(unquote_plus(value.replace("+", "%2B")))


def from_headers(headers: Mapping[str, str]) -> Report | None:
    """Read a request's four headers (names in lower case); None where there is none. Raises ValueError."""
    told = [headers[name] for name in HEADERS if headers.get(name)]
    return parsed(", ".join(told)) if told else None


def from_body(body: str) -> list[Report]:
    """Read the reports of event mode, one a line. Raises ValueError naming the line."""
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    if len(lines) > MAX_REPORTS:
        raise ValueError(f"there are {len(lines)} reports, {MAX_REPORTS} are taken")
    found: list[Report] = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(parsed(line))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return found


def parsed(text: str) -> Report:
    """Read one dictionary. Raises ValueError with the place."""
    if len(text) > MAX_REPORT_CHARS:
        raise ValueError(f"a report has at most {MAX_REPORT_CHARS} characters")
    keys = dict(_members(text.strip(" \t")))
    if not keys:
        raise ValueError("the report is empty")
    return Report(keys, text)


def _members(text: str) -> Iterator[tuple[str, Value]]:
    at = count = 0
    while at < len(text):
        key, at = _match(_KEY, text, at, "a key")
        value: Value = True
        if text.startswith("=", at):
            value, at = _value(text, at + 1)
        at = _after_parameters(text, at)
        yield key, value
        count += 1
        at = _skipped(text, at)
        if at == len(text):
            return
        if text[at] != "," or count >= _MAX_KEYS:
            raise ValueError(f"expected a comma at {at}")
        at = _skipped(text, at + 1)
        if at == len(text):
            raise ValueError("nothing behind the last comma")


def _value(text: str, at: int) -> tuple[Value, int]:
    if not text.startswith("(", at):
        return _bare(text, at)
    items: list[Bare] = []
    at = _skipped(text, at + 1)
    while not text.startswith(")", at):
        item, at = _bare(text, at)
        items.append(item)
        at = _skipped(text, _after_parameters(text, at))
    return tuple(items), at + 1


def _bare(text: str, at: int) -> tuple[Bare, int]:
    if found := _NUMBER.match(text, at):
        number = found[0]
        return (float(number) if "." in number else int(number)), found.end()
    if found := _TEXT.match(text, at):
        return found[1].replace('\\"', '"').replace("\\\\", "\\"), found.end()
    if found := _BOOLEAN.match(text, at):
        return found[1] == "1", found.end()
    if found := _DATE.match(text, at):
        return int(found[1]), found.end()
    if found := _TOKEN.match(text, at) or _BYTES.match(text, at):
        return found[0], found.end()
    raise ValueError(f"expected a value at {at}")


def _after_parameters(text: str, at: int) -> int:
    while text.startswith(";", at):
        _, at = _match(_KEY, text, _skipped(text, at + 1), "a parameter")
        if text.startswith("=", at):
            _, at = _bare(text, at + 1)
    return at


def _match(pattern: re.Pattern[str], text: str, at: int, what: str) -> tuple[str, int]:
    found = pattern.match(text, at)
    if found is None:
        raise ValueError(f"expected {what} at {at}")
    return found[0], found.end()


def _skipped(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
