"""`redqueen titles`: the films of the region as a table.

Decides what a person wants to see of a title in one line. Refuses nothing: an unknown state is
shown as it is. Other verbs find titles with `matching`. Enter at `titles`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from redqueen.cli.client import ApiClient, data_option
from redqueen.cli.output import json_option, note, show_json, show_table

_PAGE: Final = 100


class Page(msgspec.Struct, frozen=True):
    """One page of the API's list."""

    titles: list[dict[str, Any]]
    next: str | None = None


@click.command()
@click.option("--query", default="", metavar="Q", help="Only titles that match these words.")
@json_option
@data_option
def titles(query: str, as_json: bool, data_dir: Path) -> None:
    """List the titles.

    \b
    Example:
      redqueen titles --query bunny
    """
    with ApiClient.local(data_dir) as api:
        found = list(matching(api, query))
    if as_json:
        show_json(found)
    elif not found:
        note(f"No title matches {query!r}." if query else "There are no titles yet: redqueen publish FILE")
    else:
        rows = [row(title) for title in found]
        show_table(["id", "title", "state", "encoded", "length", "picture", "published"], rows, state_column="state")


def matching(api: ApiClient, query: str) -> Iterator[dict[str, Any]]:
    """Give every title that matches `query` (all for an empty one), page by page."""
    after = ""
    while True:
        wanted: dict[str, object] = {"limit": _PAGE, "query": query, "after": after}
        page = api.read("/titles", Page, {name: value for name, value in wanted.items() if value != ""})
        yield from page.titles
        after = page.next or ""
        if not after or not page.titles:
            return


def row(title: dict[str, Any]) -> list[object]:
    """Make the table's line of one title."""
    return [
        title.get("id"),
        title.get("title"),
        title.get("state"),
        f"{title.get('progress') or 0:.0%}",
        _clock(title.get("duration_s")),
        _picture(title),
        _day(title.get("created_at")),
    ]


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _picture(title: dict[str, Any]) -> str:
    width, height, fps = title.get("width"), title.get("height"), title.get("fps")
    if not width or not height:
        return ""
    return f"{width}x{height}" + (f" {fps:g}/s" if fps else "")


def _day(stamp: object) -> str:
    """Show the minute of an RFC 3339 time, in UTC as the API gives it."""
    return str(stamp or "")[:16].replace("T", " ")
