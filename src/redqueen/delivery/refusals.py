"""How a manifest is refused: the file, the key, its value, and what would do.

Turns msgspec's sentence (`Expected `int`, got `str` - at `$.count``) into words that a maker can
act on. Pure. Enter at `wrong` and `refused`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
_SEE = "See docs/ship.md for an example"


def wrong(source: str, key: str, value: object, accepted: str) -> InvalidInput:
    """Say that `key` cannot have this value, and what it could have."""
    shown = repr(value) if isinstance(value, str) else msgspec.json.encode(value).decode()
    return InvalidInput(
        "release.manifest",
        f"{source}: {key} = {shown[:200]}",
        why=f"it must be {accepted}",
        hint="Change it and ship again",
    )


def refused(raw: object, source: str, error: str, tables: Mapping[str, type[msgspec.Struct]]) -> InvalidInput:
    """Turn msgspec's sentence into key, value and what is accepted; `tables` are the structs by their key."""
    expected, _, where = error.partition(" - at `")
    path = where.rstrip("`").removeprefix("$").removeprefix(".")
    unknown = re.match(r"Object contains unknown field `(?P<name>.*)`", expected)
    if unknown:
        key = f"{path}.{unknown['name']}" if path else unknown["name"]
        table = tables.get(re.sub(r"\[\d+\]", "", path))
        known = ", ".join(table.__struct_fields__) if table else "what docs/ship.md names"
        return wrong(source, key, value_at(raw, key), f"one of the keys {known}")
    missing = re.match(r"Object missing required field `(?P<name>.*)`", expected)
    if missing:
        key = f"{path}.{missing['name']}" if path else missing["name"]
        return InvalidInput("release.manifest", f"{source}: {key} is missing", why="it has no default", hint=_SEE)
    wanted = re.match(r"Expected `(?P<kind>[^`]*)`", expected)
    accepted = _KINDS.get(wanted["kind"].partition(" |")[0], wanted["kind"]) if wanted else expected
    return wrong(source, path or "the file", value_at(raw, path), accepted)


def value_at(raw: object, path: str) -> object:
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
