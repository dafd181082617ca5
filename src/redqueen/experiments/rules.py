"""Rules of a flag: conditions on what is known of whoever asks, all of which must hold. Pure.

An attribute that is absent, or of another type than a condition asks for, does not fulfil it;
only `absent` and `not_in` hold without a value. Texts are compared as they are. Refuses nothing
at evaluation: what a client sends can be anything. Enter at `compiled`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeGuard

import msgspec

Context = Mapping[str, Any]
"""What a client tells of whoever asks: attribute by name; `targetingKey` says who it is."""
Test = Callable[[Context], bool]

ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
MAX_CONDITIONS: Final = 16
MAX_VALUES: Final = 1000
_NUMBERS: Final = re.compile(r"\d+")


class Op(StrEnum):
    """How an attribute is compared."""

    IN = "in"
    NOT_IN = "not_in"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    CONTAINS = "contains"
    AT_LEAST = "at_least"
    BELOW = "below"
    VERSION_AT_LEAST = "version_at_least"
    """By the numbers in both, in order: 1.10 is above 1.9."""
    VERSION_BELOW = "version_below"
    PRESENT = "present"
    ABSENT = "absent"


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One comparison; with several values it holds when it holds for any of them (`not_in`: for none)."""

    attribute: str
    op: Op = Op.IN
    values: tuple[str | int | float | bool, ...] = ()


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The variant of those for whom all conditions hold; without conditions: of everybody."""

    variant: str
    when: tuple[Condition, ...] = ()
    note: str = ""


_TEXTS: Final = (Op.STARTS_WITH, Op.ENDS_WITH, Op.CONTAINS, Op.VERSION_AT_LEAST, Op.VERSION_BELOW)
_ORDERS: Final = (Op.AT_LEAST, Op.BELOW)
_SINGLE: Final = (Op.AT_LEAST, Op.BELOW, Op.VERSION_AT_LEAST, Op.VERSION_BELOW)


def wrong_condition(condition: Condition) -> tuple[str, object, str] | None:
    """Return (key, value, what would be accepted) of the first fault, or None."""
    values = condition.values
    if not ATTRIBUTE.fullmatch(condition.attribute):
        return "attribute", condition.attribute, "letters, digits and _ . -, first a letter, at most 64"
    if condition.op in (Op.PRESENT, Op.ABSENT):
        return ("values", values, f"empty with {condition.op.value}") if values else None
    if not 1 <= len(values) <= (1 if condition.op in _SINGLE else MAX_VALUES):
        return "values", values, "one value" if condition.op in _SINGLE else f"1 to {MAX_VALUES} values"
    if condition.op in _TEXTS and not all(isinstance(value, str) for value in values):
        return "values", values, "texts"
    if condition.op in _ORDERS and not all(_is_number(value) for value in values):
        return "values", values, "a number"
    return None


def compiled(rule: Rule) -> Test:
    """Return the test whether a rule holds for a context."""
    tests = tuple(_test(condition) for condition in rule.when)
    if len(tests) == 1:
        return tests[0]
    return lambda context: all(test(context) for test in tests)


def _test(condition: Condition) -> Test:
    name, op = condition.attribute, condition.op
    if op in (Op.PRESENT, Op.ABSENT):
        wanted = op is Op.PRESENT
        return lambda context: (context.get(name) is not None) is wanted
    if op in (Op.IN, Op.NOT_IN):
        return _member(name, condition.values, op is Op.IN)
    if op in _ORDERS:
        return _ordered(name, condition.values[0], op)
    return _text(name, tuple(str(value) for value in condition.values), op)


def _member(name: str, values: tuple[str | int | float | bool, ...], wanted: bool) -> Test:
    # 1 and True are the same to Python's sets and not to anybody who writes a rule.
    known = frozenset((isinstance(value, bool), value) for value in values)

    def test(context: Context) -> bool:
        value = context.get(name)
        if not isinstance(value, str | int | float):
            return not wanted
        return ((isinstance(value, bool), value) in known) is wanted

    return test


def _ordered(name: str, limit: str | int | float | bool, op: Op) -> Test:
    bound = float(limit)

    def test(context: Context) -> bool:
        value = context.get(name)
        if not _is_number(value):
            return False
        return value >= bound if op is Op.AT_LEAST else value < bound

    return test


def _text(name: str, values: tuple[str, ...], op: Op) -> Test:
    holds = _TEXT_TESTS[op](values)

    def test(context: Context) -> bool:
        value = context.get(name)
        return isinstance(value, str) and holds(value)

    return test


def _version(text: str) -> tuple[int, ...]:
    # At most 16 digits a part: a client's text must not cost more than a look.
    return tuple(int(part[:16]) for part in _NUMBERS.findall(text[:100]))


_TEXT_TESTS: Final[Mapping[Op, Callable[[tuple[str, ...]], Callable[[str], bool]]]] = {
    Op.STARTS_WITH: lambda values: lambda text: text.startswith(values),
    Op.ENDS_WITH: lambda values: lambda text: text.endswith(values),
    Op.CONTAINS: lambda values: lambda text: any(value in text for value in values),
    Op.VERSION_AT_LEAST: lambda values: lambda text: _version(text) >= _version(values[0]),
    Op.VERSION_BELOW: lambda values: lambda text: _version(text) < _version(values[0]),
}


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
