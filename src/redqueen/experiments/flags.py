"""A flag as a value: its kind, its named variants, rules for some viewers, the default for the rest.

Refuses what could not be served or understood: a default or rule that names no variant, a value
of another kind, names that do not fit an address. A `number` is always served with a fraction
(1.0), an `integer` never, since typed clients tell them apart. Pure. Enter at `Flag` and `checked`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, cast

import msgspec

from redqueen.errors import InvalidInput
from redqueen.experiments.rules import Rule, wrong_condition

KEY: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
VARIANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
MAX_VARIANTS: Final = 16
MAX_RULES: Final = 32
MAX_VALUE_BYTES: Final = 16 << 10
MAX_DEPTH: Final = 64
_TEXT_CHARS: Final = 500
_SAFE_INTEGER: Final = 2**53
"""Beyond this a browser would read another number."""


class FlagKind(StrEnum):
    """What a flag's values are."""

    BOOLEAN = "boolean"
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    OBJECT = "object"


class Flag(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something that may be one way or another without a release."""

    key: str
    kind: FlagKind
    variants: dict[str, Any]
    """Value by name."""
    default: str
    """The variant of everybody whom no rule and no trial gives another."""
    owner: str = ""
    description: str = ""
    rules: tuple[Rule, ...] = ()
    """In order: the first whose conditions all hold decides."""
    enabled: bool = True
    """False: neither rules nor trials apply, everybody gets the default."""
    browser: bool = False
    """Whether viewers' browsers may read it too; servers with a token always may."""


class FlagRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A flag as it is kept."""

    flag: Flag
    revision: int
    """1, 2, 3 …: grows with each change."""
    changed_s: float
    by: str
    held_by: str = ""
    """The experiment that tries it now: until that ends only its switch and its words may change."""


def kind_of(value: Any) -> FlagKind | None:
    """Return the kind that a JSON value has, or None when no flag may have it."""
    match value:
        case bool():
            return FlagKind.BOOLEAN
        case str():
            return FlagKind.STRING
        case int():
            return FlagKind.INTEGER
        case float():
            return FlagKind.NUMBER
        case dict() | list():
            return FlagKind.OBJECT
        case _:
            return None


def checked(flag: Flag, source: str = "flag") -> Flag:
    """Return `flag` with its numbers in their kind's form. Raises InvalidInput naming `source`, key and value."""
    wrong = _wrong_names(flag) or _wrong_variants(flag) or _wrong_rules(flag)
    if wrong is not None:
        key, value, accepted = wrong
        shown = repr(value)[:80]
        raise InvalidInput("flag.invalid", f"{source}: {key} = {shown}", why=f"it must be {accepted}", hint="Change it")
    if flag.kind is not FlagKind.NUMBER:
        return flag
    return msgspec.structs.replace(flag, variants={name: float(value) for name, value in flag.variants.items()})


def _wrong_names(flag: Flag) -> tuple[str, object, str] | None:
    if not KEY.fullmatch(flag.key):
        return "key", flag.key, "lower-case letters, digits and _ . -, first a letter, at most 64"
    for key in ("owner", "description"):
        if len(getattr(flag, key)) > _TEXT_CHARS:
            return key, getattr(flag, key), f"at most {_TEXT_CHARS} characters"
    return None


def _wrong_variants(flag: Flag) -> tuple[str, object, str] | None:
    if not 1 <= len(flag.variants) <= MAX_VARIANTS:
        return "variants", len(flag.variants), f"1 to {MAX_VARIANTS} variants"
    for name, value in flag.variants.items():
        if not VARIANT.fullmatch(name):
            return "variants", name, "named by letters, digits and _ . -, at most 40"
        if not _fits(value, flag.kind):
            return f"variants.{name}", value, _ACCEPTED[flag.kind]
    if flag.default not in flag.variants:
        return "default", flag.default, f"one of {', '.join(flag.variants)}"
    return None


def _wrong_rules(flag: Flag) -> tuple[str, object, str] | None:
    if len(flag.rules) > MAX_RULES:
        return "rules", len(flag.rules), f"at most {MAX_RULES} rules"
    for number, rule in enumerate(flag.rules):
        if rule.variant not in flag.variants:
            return f"rules[{number}].variant", rule.variant, f"one of {', '.join(flag.variants)}"
        for condition in rule.when:
            wrong = wrong_condition(condition)
            if wrong is not None:
                key, value, accepted = wrong
                return f"rules[{number}].when.{key}", value, accepted
    return None


_ACCEPTED: Final = {
    FlagKind.BOOLEAN: "true or false",
    FlagKind.STRING: f"text of at most {MAX_VALUE_BYTES} bytes",
    FlagKind.INTEGER: "a whole number of at most 2^53",
    FlagKind.NUMBER: "a finite number",
    FlagKind.OBJECT: f"an object or a list of at most {MAX_VALUE_BYTES} bytes, {MAX_DEPTH} levels deep",
}


def _fits(value: Any, kind: FlagKind) -> bool:
    match kind:
        case FlagKind.BOOLEAN:
            return isinstance(value, bool)
        case FlagKind.STRING:
            return isinstance(value, str) and len(value.encode("utf-8", "replace")) <= MAX_VALUE_BYTES
        case FlagKind.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _SAFE_INTEGER
        case FlagKind.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        case FlagKind.OBJECT:
            return isinstance(value, dict | list) and _small(cast("object", value))


def _small(value: object) -> bool:
    try:
        return _flat(value, MAX_DEPTH) and len(msgspec.json.encode(value)) <= MAX_VALUE_BYTES
    except (TypeError, ValueError):
        return False


def _flat(value: object, depth: int) -> bool:
    """Tell whether a value has at most `depth` levels: readers may have less room on their stack than the writer."""
    parts: Iterable[object] = ()
    if isinstance(value, dict):
        parts = cast("dict[str, object]", value).values()
    elif isinstance(value, list):
        parts = cast("list[object]", value)
    return depth >= 0 and all(_flat(part, depth - 1) for part in parts)
