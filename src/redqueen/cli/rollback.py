"""`redqueen rollback SERVICE`: back to the version before, or to nobody on the canary.

Decides nothing: the region undoes what is being tried, or what was promoted last. Enter at `rollback`.
"""

from __future__ import annotations

from pathlib import Path

import click

from redqueen.cli.client import ApiClient, data_option
from redqueen.cli.output import json_option
from redqueen.cli.release_view import ReleaseNow, tell
from redqueen.cli.stopping import because_option


@click.command(epilog="Exit codes: 0 it is on its way back, 4 nothing can be undone, 5 there is no way back.")
@click.argument("service", metavar="SERVICE")
@click.option(
    "--release", "release_id", default="", metavar="ID", help="Stop this one, such as r4, if it is under way."
)
@because_option
@json_option
@data_option
def rollback(service: str, release_id: str, because: str, as_json: bool, data_dir: Path) -> None:
    """Undo the release of SERVICE that is being tried, or else the one that was promoted last.

    While the version before is warm, gateways send it everything within two seconds; otherwise
    nodes are replaced one by one. Nothing asks: going back must take no time, and shipping again is easy.

    \b
    Example:
      redqueen rollback hello --because "the buttons are gone"
    """
    where = f"/releases/{service}/{release_id}/stop" if release_id else f"/releases/{service}/rollback"
    with ApiClient.local(data_dir) as api:
        # Asking twice does no more than asking once, and a node may be dying just now.
        tell(ReleaseNow.of(api.post(where, {"because": because}, again=True)), as_json=as_json)
