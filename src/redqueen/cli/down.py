"""`redqueen down`: ends every process of a region, also after its supervisor was killed."""

from __future__ import annotations

from pathlib import Path

import anyio
import click

from redqueen import config
from redqueen.cli.client import data_option
from redqueen.cli.output import json_option, say, show_json
from redqueen.errors import InvalidInput
from redqueen.fleet.teardown import Ended
from redqueen.fleet.teardown import down as end_region


@click.command()
@data_option
@json_option
def down(data_dir: Path, as_json: bool) -> None:
    """End every process of a region; films, titles and settings stay.

    \b
    Example:
      redqueen down
    """

    def tell(ended: Ended) -> None:
        if not as_json:
            say(f"ended {ended.node_id} (process {ended.pid})")

    async def work() -> list[Ended]:
        return await end_region(data_dir, grace_s=_grace_s(data_dir), on_ended=tell)

    ended = anyio.run(work)
    if as_json:
        show_json({"ended": [{"id": one.node_id, "pid": one.pid} for one in ended]})
    elif not ended:
        say(f"Nothing runs on {data_dir}")
    else:
        say(f"The region on {data_dir} has ended ({len(ended)} processes)")


def _grace_s(data_dir: Path) -> float:
    """Return the configured grace; a configuration that is broken by now must not keep a region alive."""
    try:
        return config.load(data_dir).timings.stop_s
    except InvalidInput:
        return config.Timings().stop_s
