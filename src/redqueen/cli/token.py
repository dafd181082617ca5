"""`redqueen token`: the token with which a foreign program proves its names to the registries.

Tokens are minted from the region's secret in the data folder, so whoever can read that may mint
any; nobody is asked and nothing is stored. Refuses the region's own name: its nodes have theirs.
Enter at `token`.
"""

from __future__ import annotations

from pathlib import Path

import click

from redqueen.cli.client import data_option, read_credentials
from redqueen.cli.output import json_option, note, say, show_json
from redqueen.errors import InvalidInput
from redqueen.fleet.datadir import registry_key
from redqueen.registry.rights import REGION, mint


@click.command("token")
@click.argument("owner")
@json_option
@data_option
def token(owner: str, as_json: bool, data_dir: Path) -> None:
    """Print the token of an OWNER (a team, a program): what it registers is then its own.

    \b
    Example:
      redqueen token team-tea
      http://team-tea:$(redqueen token team-tea)@127.0.1.1:PORT/eureka/v2/
    """
    if owner == REGION:
        raise InvalidInput("registry.owner", f"{REGION!r} is the region itself", hint="Choose another name")
    read_credentials(data_dir)
    minted = mint(registry_key(data_dir), owner)
    if as_json:
        show_json({"owner": owner, "token": minted})
        return
    say(minted)
    note("It stays valid as long as the region's registry.key does")
