"""`redqueen up`: starts a region and keeps it, in this terminal or in the background.

Decides what is printed when the region serves: its address and a one-time sign-in link for the
owner. Refuses a data folder that another supervisor works on, with its address. In the background
the same verb runs again as a process of its own, whose failure is reported here.
Enter at `up`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import click
import msgspec

from redqueen import config, processes
from redqueen.cli.client import ErrorBody, data_option
from redqueen.cli.output import json_option, say
from redqueen.cli.picture import screen
from redqueen.cli.serving import Running, composition, run_region, until_serving
from redqueen.cli.sign_in import new_link
from redqueen.errors import Broken, Conflict, Exhausted, Forbidden, InvalidInput, NotFound, RedQueenError, Unavailable
from redqueen.fleet.datadir import locked, open_data_dir, read_supervisor, unwritable
from redqueen.fleet.opening import Opening
from redqueen.processes import ProcessId

_DETACHED_WAIT_S = 120.0


@click.command()
@data_option
@click.option("--port", type=click.IntRange(1, 65_535), metavar="N", help="The public port [default: 8080].")
@click.option("--detach", is_flag=True, help="Run in the background; return when the region serves.")
@click.option("--daemon", is_flag=True, hidden=True)
@json_option
def up(data_dir: Path, port: int | None, detach: bool, daemon: bool, as_json: bool) -> None:
    """Start a region on this machine and keep it running.

    Ctrl-C drains it and ends it. A taken port is no obstacle: the next free one is chosen and said.

    \b
    Example:
      redqueen up --port 9000
      redqueen up --detach
    """
    open_data_dir(data_dir)
    if detach:
        _detached(data_dir, port, as_json=as_json)
        return
    with _log(data_dir).open("a") as lines, screen(quiet=as_json or daemon) as shown:

        def serving(opening: Opening) -> None:
            if not daemon:
                text = _welcome(data_dir, opening.public_url, as_json=as_json)
                (say if as_json else shown.tell)(text)

        anyio.run(run_region, data_dir, port, Running(composition(), shown, lines, serving))
        shown.tell("The region has ended")


def _log(data_dir: Path) -> Path:
    """Return the supervisor's log, made where it is missing. Raises InvalidInput, Exhausted."""
    log = data_dir / "logs" / "supervisor.log"
    try:
        log.parent.mkdir(exist_ok=True)
        log.touch()
    except OSError as error:
        raise unwritable(log, error) from error
    return log


def _welcome(data_dir: Path, public_url: str, *, as_json: bool) -> str:
    """Return what to print when the region serves: its address and a fresh sign-in link."""
    link = new_link(data_dir, patience_s=20)["url"]
    if as_json:
        return msgspec.json.encode({"public_url": public_url, "sign_in_url": link, "data": str(data_dir)}).decode()
    return f"\nRed Queen serves at  {public_url}\nSign in (once, within 15 minutes):  {link}\n"


def _detached(data_dir: Path, port: int | None, *, as_json: bool) -> None:
    with locked(data_dir):
        pass  # refuses here already what the background process would refuse
    log = _log(data_dir)
    seen_bytes = log.stat().st_size
    argv = [sys.executable, "-m", "redqueen.cli.main", "up", "--daemon", "--json", "--data", str(data_dir)]
    child = processes.spawn([*argv, *([f"--port={port}"] if port else [])], log=log)
    outcome = anyio.run(_until_detached_serves, data_dir, child)
    if not isinstance(outcome, str):
        raise _failure(log, seen_bytes, outcome)
    if as_json:
        say(_welcome(data_dir, outcome, as_json=True))
        return
    wanted = port or config.load(data_dir).port
    known = read_supervisor(data_dir)
    if known is not None and not known.tools_url.endswith(f":{wanted}"):
        say(f"Port {wanted} is not this region's: it has {known.tools_url.rpartition(':')[2]}")
    say(_welcome(data_dir, outcome, as_json=False))
    say(f"It runs in the background. See it: redqueen status; end it: redqueen down --data {data_dir}")


async def _until_detached_serves(data_dir: Path, child: ProcessId) -> str | int | None:
    """Return the region's address when it serves, or its supervisor's exit code if that ended before."""
    outcome: str | int | None = None
    with anyio.move_on_after(_DETACHED_WAIT_S) as patience:
        async with anyio.create_task_group() as group:

            async def ended() -> None:
                nonlocal outcome
                outcome = await processes.wait_exit(child)
                group.cancel_scope.cancel()

            group.start_soon(ended)
            public_url, tools_url = await _addresses(data_dir, child)
            await until_serving(tools_url)
            outcome = public_url
            group.cancel_scope.cancel()
    if patience.cancelled_caught:
        raise Unavailable(
            "region.slow",
            f"The region has not answered within {_DETACHED_WAIT_S:g} s",
            hint=f"It goes on starting; see {data_dir / 'logs'}, or end it: redqueen down --data {data_dir}",
        )
    return outcome


async def _addresses(data_dir: Path, child: ProcessId) -> tuple[str, str]:
    while True:
        known = read_supervisor(data_dir)
        if known is not None and known.pid == child.pid:
            return known.public_url, known.tools_url
        await anyio.sleep(0.05)


def _failure(log: Path, seen_bytes: int, exit_code: int | None) -> RedQueenError:
    """Read from its log why the background process ended: the JSON error it printed last."""
    with log.open("rb") as lines:
        lines.seek(seen_bytes)
        text = lines.read()
    start = text.rfind(b"\n{\n") + 1
    try:
        body = msgspec.json.decode(text[start:], type=ErrorBody)
    except msgspec.MsgspecError:
        return Broken("region.ended", "The region's supervisor ended while it started", hint=f"See {log}")
    kinds = (InvalidInput, Forbidden, NotFound, Conflict, Exhausted, Unavailable)
    kind = next((kind for kind in kinds if kind.exit_code == exit_code), Broken)
    return kind(body.code, body.what, why=body.why, hint=body.hint)
