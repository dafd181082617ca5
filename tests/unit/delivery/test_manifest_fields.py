"""Every field of redqueen.toml, found by walking its types, is refused by its name when it holds what cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from redqueen.delivery.manifest import Manifest, converted
from redqueen.errors import InvalidInput
from redqueen.fleet.declared import Limits, Timings
from redqueen.gateway.declared import CorsDeclaration, RedirectDeclaration, RouteDeclaration, ServicePolicyDeclaration
from redqueen.trials.model import MetricPlan

GOOD: dict[str, Any] = {"service": "hello", "owner": "ada", "command": ["python3", "server.py"]}
TABLES: dict[str, type[msgspec.Struct]] = {
    "limits": Limits, "timings": Timings, "policy": ServicePolicyDeclaration,
}  # fmt: skip
LISTS: dict[str, type[msgspec.Struct]] = {"routes": RouteDeclaration, "metrics": MetricPlan}
WITHIN: dict[str, type[msgspec.Struct]] = {"redirect": RedirectDeclaration, "cors": CorsDeclaration}
WRONG: dict[str, Any] = {"a list of lists": [[0]], "a table of lists": {"a": [0]}, "a date's text": "\0 2026"}
"""Values of which no field accepts all; each must be refused where it is, or be what the field is for."""


def fields() -> Iterator[str]:
    """Name every field, those of tables and lists of tables included."""
    for name in Manifest.__struct_fields__:
        yield name
        if table := TABLES.get(name):
            yield from (f"{name}.{inner}" for inner in table.__struct_fields__)
        for inner in LISTS[name].__struct_fields__ if name in LISTS else ():
            yield f"{name}[0].{inner}"
            if inner in WITHIN:
                yield from (f"{name}[0].{inner}.{deep}" for deep in WITHIN[inner].__struct_fields__)


def file_with(field: str, value: Any) -> dict[str, Any]:
    """Give a good file in which one field holds a value."""
    first, *rest = field.replace("[0]", ".0").split(".")
    told = value
    for part in reversed(rest):
        told = [told] if part == "0" else {part: told}
    if first == "metrics" and rest and rest[-1] != "name":
        told = [{"name": "request_errors", **told[0]}]
    return {**GOOD, first: told}


@pytest.mark.parametrize("field", list(fields()))
def test_each_field_is_refused_by_file_key_value_and_what_would_do(field: str) -> None:
    refused = 0
    for value in WRONG.values():
        try:
            converted(file_with(field, value), "shop/redqueen.toml")
        except InvalidInput as error:
            refused += 1
            assert error.what.startswith("shop/redqueen.toml: "), error.what
            assert field in error.what or field in str(error), f"{field}: {error}"
            assert " = " in error.what and error.why and error.hint, str(error)
    assert refused >= len(WRONG) - 1


def test_the_tables_of_this_test_are_the_manifests_own() -> None:
    plain = {name for name in Manifest.__struct_fields__ if "dict" in str(Manifest.__annotations__[name])}
    assert plain == {"config", "flags", "routes", "policy"}
    structs = {
        name
        for name in RouteDeclaration.__struct_fields__
        if "Declaration" in str(RouteDeclaration.__annotations__[name])
    }
    assert structs == set(WITHIN)
