"""How a file that a person wrote is refused: the file, the key, its value, and what would do.

Turns msgspec's sentence (`Expected `int`, got `str` - at `$.count``) into words that a maker can
act on. Pure. Enter at `Refusals`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import msgspec

from redqueen.errors import InvalidInput

_KINDS: Final = {
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}


@dataclass(frozen=True, slots=True)
class Refusals:
    """The words of one kind of file: its errors' code, what to do after a change, and the page that explains it."""

    code: str
    again: str
    page: str

    def wrong(self, source: str, key: str, value: object, accepted: str) -> InvalidInput:
        """Say that `key` cannot have this value, and what it could have."""
        shown = repr(value) if isinstance(value, str) else _shown(value)
        return InvalidInput(
            self.code, f"{source}: {key} = {shown[:200]}", why=f"it must be {accepted}", hint=self.again
        )

    def refused(self, raw: object, source: str, error: str, tables: Mapping[str, type[msgspec.Struct]]) -> InvalidInput:
        """Turn msgspec's sentence into key, value and what is accepted; `tables` are the structs by their key."""
        expected, _, where = error.partition(" - at `")
        path = where.rstrip("`").removeprefix("$").removeprefix(".")
        unknown = re.match(r"Object contains unknown field `(?P<name>.*)`", expected)
        if unknown:
            key = f"{path}.{unknown['name']}" if path else unknown["name"]
            table = tables.get(re.sub(r"\[\d+\]", "", path))
            known = ", ".join(table.__struct_fields__) if table else f"what {self.page} names"
            return self.wrong(source, key, _value_at(raw, key), f"one of {known}")
        missing = re.match(r"Object missing required field `(?P<name>.*)`", expected)
        if missing:
            key = f"{path}.{missing['name']}" if path else missing["name"]
            return InvalidInput(
                self.code,
                f"{source}: {key} is missing",
                why="it has no default",
                hint=f"See {self.page} for an example",
            )
        wanted = re.match(r"Expected `(?P<kind>[^`]*)`", expected)
        accepted = _KINDS.get(wanted["kind"].partition(" |")[0], wanted["kind"]) if wanted else expected
        return self.wrong(source, path or "the file", _value_at(raw, path), accepted)


def _shown(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:  # thousands of tables, one in the other
        return "…"


def _value_at(raw: object, path: str) -> object:
    """Return the plain value at a path such as `limits.memory_mb` or `command[1]`."""
    found: object = raw
    for part in re.findall(r"[^.\[\]]+", path):
        if isinstance(found, dict):
            found = cast("dict[str, object]", found).get(part)
        elif isinstance(found, list) and part.isdigit():
            found = (*cast("list[object]", found), None)[int(part)]
        else:
            # msgspec writes `[...]` for any value of a mapping: the mapping itself is shown.
            break
    return cast("object", found)
