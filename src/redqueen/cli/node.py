"""`redqueen node kill`: kills one node without warning, to see that nobody notices.

Decides which one `--role` means: the first that is up, in `--zone` if given. A connection that
breaks because the killed node carried it is no failure when the node is seen to be gone.
Enter at `kill`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from redqueen.cli.client import ApiClient, data_option
from redqueen.cli.output import json_option, say, show_json
from redqueen.cli.status import Fleet, Node
from redqueen.errors import InvalidInput, NotFound, Unavailable

_DYING_S: Final = 2.0


@click.group()
def node() -> None:
    """Do something to one node."""


@node.command()
@click.argument("node_id", metavar="[ID]", required=False)
@click.option("--role", metavar="R", help="Kill one node of this role: registry, gateway, envoy, api, worker, …")
@click.option("--zone", metavar="Z", help="With --role: only in this zone.")
@data_option
@json_option
def kill(node_id: str | None, role: str | None, zone: str | None, data_dir: Path, as_json: bool) -> None:
    """Kill a node's process at once (SIGKILL); the fleet starts it again.

    \b
    Example:
      redqueen node kill api-b-1
      redqueen node kill --role gateway --zone a
    """
    if (node_id is None) == (role is None) or (zone and not role):
        raise InvalidInput(
            "node.which", "Say which node to kill", hint="Give an ID, or --role R with or without --zone Z"
        )
    with ApiClient.local(data_dir) as api:
        victim = chosen(api.read("/fleet", Fleet), node_id, role, zone)
        _kill(api, victim)
    if as_json:
        show_json({"killed": victim.id, "pid": victim.pid})
    else:
        say(f"killed {victim.id} (process {victim.pid})")


def chosen(fleet: Fleet, node_id: str | None, role: str | None, zone: str | None) -> Node:
    """Return the node that is meant. Raises NotFound, naming what there is."""
    if node_id is not None:
        found = [node for node in fleet.nodes if node.id == node_id]
        wanted, there = node_id, sorted(node.id for node in fleet.nodes)
    else:
        found = [node for node in fleet.nodes if node.role == role and zone in (None, node.zone)]
        wanted = f"of the role {role}" + (f" in zone {zone}" if zone else "")
        there = sorted({node.role for node in fleet.nodes})
    found.sort(key=lambda node: (node.state != "up", node.id))
    if not found:
        raise NotFound("node.none", f"There is no node {wanted}", hint=f"There are: {', '.join(there)}")
    return found[0]


def _kill(api: ApiClient, victim: Node) -> None:
    try:
        api.post(f"/fleet/nodes/{victim.id}/kill")
    except Unavailable:
        # It may have taken the answer with it; its sockets close a moment before it is seen to be dead.
        ends_at = time.monotonic() + _DYING_S
        while _is_up(api, victim):
            if time.monotonic() >= ends_at:
                raise
            time.sleep(0.05)


def _is_up(api: ApiClient, victim: Node) -> bool:
    now = api.read("/fleet", Fleet).nodes
    return any(node.id == victim.id and node.pid == victim.pid and node.state == "up" for node in now)
