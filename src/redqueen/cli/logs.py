"""`redqueen logs`: the last lines of the nodes' logs, and with `--follow` what comes after.

The API gives the last lines of each node; what is new since the last look is found by overlap, so
that no line is shown twice. Where the API does not answer the files of the data folder are read
instead: logs are wanted most when nothing works. Enter at `logs`.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from redqueen.cli.client import ApiClient, data_option
from redqueen.cli.output import json_option, note, say
from redqueen.errors import InvalidInput, NotFound, Unavailable
from redqueen.fleet.drivers import logfiles
from redqueen.fleet.model import Role
from redqueen.fleet.rotation import LogQuery
from redqueen.gateway.passport import explained, joined

_LOOK_S: Final = 0.5
_FOLLOWED_LINES: Final = 5000
_OWN: Final = frozenset({role.value for role in Role} | {"envoy", "supervisor"})
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Line(msgspec.Struct, frozen=True):
    """One line of one node's log."""

    node: str
    line: str


class Lines(msgspec.Struct, frozen=True):
    """The API's answer."""

    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose lines, since when."""

    role: str | None = None
    service: str | None = None
    node: str | None = None
    since: str | None = None
    request: str | None = None

    def params(self, lines: int) -> dict[str, Any]:
        """Return the API's query."""
        asked = {
            "role": self.role,
            "service": self.service,
            "node": self.node,
            "since": self.since,
            "request_id": self.request,
        }
        return {**{name: value for name, value in asked.items() if value is not None}, "lines": lines}

    def query(self, lines: int) -> LogQuery:
        """Return the same for the files."""
        return LogQuery(self.role, self.service, self.node, self.since or "", lines, self.request or "")


@click.command()
@click.argument("what", metavar="[ROLE]", required=False)
@click.option("--service", metavar="NAME", help="Only this declared service.")
@click.option("--node", metavar="ID", help="Only this node.")
@click.option("--since", metavar="WHEN", help="Only from then on: 10m, 2h, 1d, or a time such as 2026-01-31T20:15.")
@click.option("--request", metavar="ID", help="What became of this request (its answer's x-request-id), try by try.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "--lines", "count", type=click.IntRange(1, 5000), default=200, metavar="N", help="At most [default: 200]."
)
@data_option
@json_option
def logs(
    what: str | None,
    service: str | None,
    node: str | None,
    since: str | None,
    request: str | None,
    follow: bool,
    count: int,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Show the last lines of the logs; ROLE may also be a service or a node's id.

    \b
    Example:
      redqueen logs gateway --follow
      redqueen logs --service hello --since 10m
      redqueen logs api-b-1 --lines 50
      redqueen logs --request 0b6f3f0e-6f57-4b52-8a58-6f1a4b7c2f11
    """
    wanted = chosen(what, service, node, None if since is None else moment(since, datetime.now(UTC)))
    with ApiClient.local(data_dir, patience_s=3) as api:
        if request is not None:
            asked = replace(wanted, request=request)
            _show_request(_by_api_or_files(api, data_dir, asked)(count), request, as_json=as_json)
            return
        look = _by_api_or_files(api, data_dir, wanted)
        known = _show(look(count), {}, as_json=as_json)
        while follow:
            time.sleep(_LOOK_S)
            known = _show(look(_FOLLOWED_LINES), known, as_json=as_json)


def chosen(what: str | None, service: str | None, node: str | None, since: str | None) -> Wanted:
    """Say whose lines are meant: one word may be a role, a node's id or a service. Raises InvalidInput."""
    if sum(value is not None for value in (what, service, node)) > 1:
        raise InvalidInput("logs.which", "Say whose lines once", hint="Give ROLE, --service NAME or --node ID")
    if what in _OWN:
        return Wanted(role=what, since=since)
    if what is not None and re.search(r"-[0-9]+$", what):
        return Wanted(node=what, since=since)
    return Wanted(service=what or service, node=node, since=since)


def moment(text: str, now: datetime) -> str:
    """Return a time in the logs' own form (UTC, milliseconds). Raises InvalidInput."""
    ago = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    try:
        found = now - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]]) if ago else datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            "logs.since", f"--since {text!r} is no time", why=str(error), hint="Give 10m, 2h, 1d or 2026-01-31T20:15"
        ) from error
    return found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:23] + "Z"


def _by_api_or_files(api: ApiClient, data_dir: Path, wanted: Wanted) -> Callable[[int], Sequence[Line]]:
    silent = False

    def look(lines: int) -> Sequence[Line]:
        nonlocal silent
        try:
            return api.read("/fleet/logs", Lines, wanted.params(lines)).lines
        except Unavailable as error:
            if not silent:
                note(f"{error.what}; these lines are from the files in {data_dir / 'logs'}")
            silent = True
            return [Line(node, line) for node, line in logfiles.read(data_dir / "logs", wanted.query(lines))]

    return look


def _show_request(lines: Sequence[Line], request_id: str, *, as_json: bool) -> None:
    """Show a request's passport: one sentence, then all that is known, its failed tries included."""
    passports = joined(line.line for line in lines)
    if not passports:
        raise NotFound(
            "logs.request",
            f"No log names the request {request_id}",
            why="A quick success of media is not logged, and old lines are dropped",
            hint="Take the x-request-id of the answer, within the days that logs are kept",
        )
    for passport in passports:
        if not as_json:
            say(explained(passport))
        say(msgspec.json.encode(passport).decode())


def _show(lines: Sequence[Line], known: Mapping[str, list[str]], *, as_json: bool) -> dict[str, list[str]]:
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
            say(msgspec.json.encode(line).decode() if as_json else f"{line.node:<{width}}  {line.line}")
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
