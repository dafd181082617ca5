"""`redqueen logs`: the last lines of the nodes' logs, and with `--follow` what comes after.

The API gives the last lines of each node; what is new since the last look is found by overlap, so
that no line is shown twice. Enter at `logs`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from redqueen.cli.client import ApiClient, data_option
from redqueen.cli.output import say

_LOOK_S: Final = 0.5
_FOLLOWED_LINES: Final = 1000


class Line(msgspec.Struct, frozen=True):
    """One line of one node's log."""

    node: str
    line: str


class Lines(msgspec.Struct, frozen=True):
    """The API's answer."""

    lines: tuple[Line, ...]


@click.command()
@click.argument("role", metavar="[ROLE]", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--lines", "count", type=click.IntRange(1, 10_000), default=200, show_default=True, metavar="N")
@data_option
def logs(role: str | None, follow: bool, count: int, data_dir: Path) -> None:
    """Show the last lines of the logs; ROLE may also be a node's id.

    \b
    Example:
      redqueen logs gateway --follow
      redqueen logs api-b-1 --lines 50
    """
    which = {} if role is None else {"node" if "-" in role else "role": role}
    with ApiClient.local(data_dir) as api:
        known = _show(api, {**which, "lines": count}, {})
        while follow:
            time.sleep(_LOOK_S)
            known = _show(api, {**which, "lines": _FOLLOWED_LINES}, known)


def _show(api: ApiClient, params: Mapping[str, Any], known: Mapping[str, list[str]]) -> dict[str, list[str]]:
    lines = api.read("/fleet/logs", Lines, params).lines
    now: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        now[line.node].append(line.line)
    left = {node: len(fresh(known.get(node, []), there)) for node, there in now.items()}
    old = {node: len(there) - left[node] for node, there in now.items()}
    width = max((len(node) for node in now), default=0)
    for line in lines:
        if old[line.node] > 0:
            old[line.node] -= 1
        else:
            say(f"{line.node:<{width}}  {line.line}")
    return {**known, **now}


def fresh(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """Return the lines of `now` that come after those of `before`: the longest overlap is old."""
    for drop in range(len(before)):
        overlap = len(before) - drop
        if overlap <= len(now) and list(before[drop:]) == list(now[:overlap]):
            return list(now[overlap:])
    # `now` may reach further back than `before`: look for what was known last within it.
    for end in range(len(now), 0, -1):
        if before and len(before) <= end and list(now[end - len(before) : end]) == list(before):
            return list(now[end:])
    return list(now)
