"""The few shapes that repeat in Envoy's JSON: type names, durations, headers, filters.

Decides nothing but spelling. Enter at whichever name is needed.
"""

from __future__ import annotations

from typing import Any

TYPE = "type.googleapis.com/"
FILTER = TYPE + "envoy.extensions.filters.http."


def filter_named(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    """Give an HTTP filter of the chain; `kind` is its message, such as `buffer.v3.Buffer`."""
    return {"name": name, "typed_config": {"@type": FILTER + kind, **fields}}


def method(pattern: str) -> dict[str, Any]:
    """Match a request's method by a regular expression, as a whole."""
    return {"name": ":method", "string_match": {"safe_regex": {"regex": pattern}}}


def header(name: str, value: str) -> dict[str, Any]:
    """Give one header to be set."""
    return {"header": {"key": name, "value": value}}


def seconds(value: float) -> str:
    """Write a duration, exact to the millisecond."""
    return f"{value:.3f}s"
