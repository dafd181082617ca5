"""Ending by hand what viewers are in: one option and one call for trials and experiments.

Decides that the request may be sent again: to end a thing twice is to end it once, and a node may
be dying just now. Enter at `stopped`; a verb takes `@because_option`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from redqueen.cli.client import ApiClient
from redqueen.cli.output import say, show_json

_Verb = TypeVar("_Verb", bound=Callable[..., Any])
_Shown = TypeVar("_Shown")


def because_option(verb: _Verb) -> _Verb:
    """Add `--because TEXT` to a verb; its function receives `because`."""
    return click.option("--because", default="", metavar="TEXT", help="Why; stands in the audit log.")(verb)


def stopped(
    data_dir: Path, path: str, because: str, into: type[_Shown], sentence: Callable[[_Shown], str], *, as_json: bool
) -> None:
    """End what the API has at `path`, and tell in a sentence how it is then, or all of it as JSON."""
    with ApiClient.local(data_dir) as api:
        answer = api.post(f"{path}/stop", {"because": because}, again=True)
    if as_json:
        show_json(answer)
    else:
        say(sentence(msgspec.convert(answer, into)))
