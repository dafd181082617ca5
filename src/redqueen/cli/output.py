"""What every verb prints: plain text for people, JSON for programs, one red line for errors.

Decides colour (only on a terminal), the form of tables and of errors, so that no verb does.
Results go to standard output, everything else (progress, errors) to standard error, so that
pipes carry results only. Enter at `say`, `show_json`, `show_table`, `show_error`; a verb
takes `@json_option` for its `--json`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import msgspec

from redqueen.errors import RedQueenError

_Verb = TypeVar("_Verb", bound=Callable[..., Any])

STATE_COLOURS = {
    "up": "green",
    "playable": "green",
    "complete": "green",
    "starting": "cyan",
    "encoding": "cyan",
    "uploading": "cyan",
    "waiting": "cyan",
    "draining": "yellow",
    "backoff": "yellow",
    "quarantined": "red",
    "failed": "red",
    "failing": "red",
    "down": "red",
    "replacing": "cyan",
    "stopped": "red",
}
"""Terminal colours of the states of nodes and titles."""


def json_option(verb: _Verb) -> _Verb:
    """Add `--json` to a verb; its function receives `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(verb)


def say(text: str = "") -> None:
    """Print one line of the result on standard output."""
    click.echo(text)


def note(text: str) -> None:
    """Print one line that is not the result (progress, a warning) on standard error."""
    click.echo(text, err=True)


def show_json(value: object) -> None:
    """Print any msgspec-encodable value as indented JSON on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, state_column: str | None = None) -> None:
    """Print rows in aligned columns on standard output; `state_column` is coloured by its value."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[index]) for line in [list(columns), *cells]) for index in range(len(columns))]
    widths[-1] = 0  # the last column needs no padding
    coloured = columns.index(state_column) if state_column in columns else -1
    click.echo(click.style(_aligned(columns, widths), bold=True))
    for line in cells:
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        if coloured >= 0:
            padded[coloured] = click.style(padded[coloured], fg=STATE_COLOURS.get(line[coloured]))
        click.echo("  ".join(padded).rstrip())


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cell(value: object) -> str:
    """Make one line without control characters of any value (titles come from strangers)."""
    text = "" if value is None else str(value)
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def show_error(error: RedQueenError, *, as_json: bool) -> None:
    """Print an error: one red line (what, why, hint) on standard error, or its JSON on standard output."""
    if as_json:
        show_json({"code": error.code, "what": error.what, "why": error.why, "hint": error.hint})
        return
    click.echo(click.style("error: ", fg="red", bold=True) + click.style(_cell(str(error)), fg="red"), err=True)
