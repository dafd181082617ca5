"""From which country a request comes, for audiences, flags and the region's events.

Decides by a header that a trusted edge sets, or by a database (MaxMind DB) of addresses; without
settings nobody has a country. Refuses (InvalidInput) a database that cannot be read or tells no
countries; one that turns bad while nodes run is said, and the last good one stays. It is held in
memory, since a file that is cut while it is mapped would end the node. Enter at `Countries.of`,
`read_database`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from redqueen.clock import Clock
from redqueen.errors import InvalidInput
from redqueen.events import Emit, Event

if TYPE_CHECKING:
    from maxminddb import Reader

LOOK_S: Final = 60.0
"""How often a file is looked at that may have been renewed."""
_MOST_BYTES: Final = 128 << 20
_PROBED: Final = 1000
"""Entries of which one must name a country."""
_CODE: Final = re.compile(r"[A-Z]{2}")
_UNKNOWN: Final = "XX"
"""What edges send where they do not know."""


@dataclass(frozen=True, slots=True)
class CountriesRefused(Event):
    """The database on disk cannot be used; the last good one stays, if there is one."""

    because: str


class Countries:
    """Knows where requests come from; `header` (in lower case) goes before the database."""

    def __init__(self, header: str = "", database: Database | None = None) -> None:
        """Know by either, both, or nothing."""
        self._header = header.lower()
        self._database = database

    def of(self, headers: Mapping[str, str], address: str) -> str:
        """Return a country as ISO 3166-1 has it, such as "DE"; empty where it is not known."""
        told = headers.get(self._header, "").upper() if self._header else ""
        if _CODE.fullmatch(told) and told != _UNKNOWN:
            return told
        return self._database.country(address) if self._database else ""


NOWHERE: Final = Countries()
"""Knows nothing."""


class Database:
    """A file of countries by address, read anew when it changes."""

    def __init__(self, path: Path, clock: Clock, emit: Emit) -> None:
        """Follow `path`; a file that is not good yet is waited for."""
        self._path = path
        self._clock = clock
        self._emit = emit
        self._reader: Reader | None = None
        self._seen: tuple[int, ...] | None = None
        self._look_at_s = clock.monotonic()

    def country(self, address: str) -> str:
        """Return an address's country; empty where the file knows none."""
        self._look()
        if self._reader is None:
            return ""
        try:
            return _country(cast(Any, self._reader).get(address))
        except Exception:  # noqa: BLE001 - no address, one of a kind the file has not, or a file that is damaged inside
            return ""

    def _look(self) -> None:
        now_s = self._clock.monotonic()
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + LOOK_S
        seen = _state(self._path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._reader = read_database(self._path)
        except InvalidInput as error:
            self._emit(CountriesRefused(str(error)))


def read_database(path: Path) -> Reader:
    """Read a database into memory. Raises InvalidInput (`config.countries`) naming file and reason."""
    from maxminddb import MODE_MEMORY, Reader

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _wrong(path, f"it has more than {_MOST_BYTES >> 20} MiB", "Give one of countries, not of cities")
        reader = Reader(path, MODE_MEMORY)
        entries = cast(Iterator[tuple[Any, Any]], iter(reader))
        if not any(_country(record) for _, record in islice(entries, _PROBED)):
            raise _wrong(path, "it names no countries", "Give one of countries, such as GeoLite2-Country.mmdb")
    except InvalidInput:
        raise
    except FileNotFoundError as error:
        raise _wrong(path, "there is no such file", "Correct the path in redqueen.toml") from error
    except OSError as error:
        why = f"it cannot be read: {error.strerror}"
        raise _wrong(path, why, "Make it readable for the user that runs the region") from error
    except Exception as error:  # a damaged file may raise anything
        raise _wrong(path, "it is not a MaxMind DB", "Fetch it again; the name ends in .mmdb") from error
    return reader


def _country(record: Any) -> str:
    """Return the country of a database's entry, as MaxMind, or those who keep it flat, write it."""
    if not isinstance(record, Mapping):
        return ""
    entry = cast(Mapping[str, Any], record)
    for name in ("country", "country_code", "registered_country"):
        found = entry.get(name)
        code = cast(Mapping[str, Any], found).get("iso_code") if isinstance(found, Mapping) else found
        if isinstance(code, str) and _CODE.fullmatch(code):
            return code
    return ""


def _wrong(path: Path, why: str, hint: str) -> InvalidInput:
    return InvalidInput("config.countries", f"country_database = {str(path)!r} cannot be used", why=why, hint=hint)


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns)
