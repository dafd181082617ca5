"""`redqueen status`: the region's processes by zone, from its API.

Where the API does not answer but processes live, it shows these from the data folder's files and
leaves with the exit code of "does not answer". Enter at `status`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from redqueen.cli.client import ApiClient, data_option
from redqueen.cli.output import json_option, note, say, show_json, show_table
from redqueen.errors import RedQueenError, Unavailable
from redqueen.fleet.datadir import read_region
from redqueen.fleet.living import seen_in
from redqueen.fleet.model import NodeView, Role
from redqueen.roles.gateway_note import gateway_state, warning


class Node(msgspec.Struct, frozen=True):
    """One process as the API tells of it."""

    id: str
    role: str
    service: str = ""
    zone: str = ""
    pid: int | None = None
    address: str = ""
    state: str = ""
    version: str = ""
    restarts: int = 0
    because: str = ""
    snapshot: str = ""
    warning: str = ""

    @property
    def reason(self) -> str:
        """Return why it is as it is, what is wrong first."""
        return "; ".join(part for part in (self.warning, self.because) if part)


class Fleet(msgspec.Struct, frozen=True):
    """The API's picture of the region."""

    nodes: tuple[Node, ...]
    public_url: str = ""
    region: str = ""
    as_of: Any = None
    zones: tuple[Any, ...] = ()
    leader: Any = None


@click.command()
@data_option
@json_option
def status(data_dir: Path, as_json: bool) -> None:
    """Show the region's nodes by zone and its public address.

    \b
    Example:
      redqueen status --json
    """
    try:
        with ApiClient.local(data_dir, patience_s=3) as api:
            fleet = api.read("/fleet", Fleet)
    except Unavailable as error:
        _from_files(data_dir, error, as_json=as_json)
        return
    if as_json:
        show_json(fleet)
    else:
        _show(fleet)


def _from_files(data_dir: Path, error: Unavailable, *, as_json: bool) -> None:
    read_region(data_dir)
    nodes = tuple(_node(view, data_dir) for view in seen_in(data_dir))
    if not nodes:
        raise Unavailable(
            "region.down",
            f"No process of the region in {data_dir} lives",
            hint=f"Start it with: redqueen up --data {data_dir}",
        ) from error
    if as_json:
        show_json({"nodes": nodes, "public_url": "", "error": _body(error)})
    else:
        _show(Fleet(nodes))
        note(f"{error.what}. These processes live all the same, says {data_dir}")
        note(f"See {data_dir / 'logs'}, or have the region repaired: redqueen up --data {data_dir}")
    click.get_current_context().exit(error.exit_code)


def _body(error: RedQueenError) -> dict[str, str]:
    return {"code": error.code, "what": error.what, "why": error.why, "hint": error.hint}


def _node(view: NodeView, data_dir: Path) -> Node:
    state = gateway_state(data_dir, view.node_id) if view.role == Role.GATEWAY else None
    return Node(
        id=view.node_id,
        role=view.role,
        service=view.service,
        zone=view.zone,
        pid=view.pid,
        address=f"{view.host}:{view.port}" if view.port else "",
        state=view.state.value,
        version=view.version,
        snapshot="" if state is None else state.version,
        warning="" if state is None else warning(state),
    )


def _show(fleet: Fleet) -> None:
    columns = ("zone", "id", "role", "service", "state", "pid", "address", "version", "restarts", "because")
    nodes = sorted(fleet.nodes, key=lambda node: (node.zone or "~", node.id))
    rows = [[node.reason if column == "because" else getattr(node, column) for column in columns] for node in nodes]
    show_table(columns, rows, state_column="state")
    if fleet.public_url:
        say(f"\n{fleet.region or 'The region'} serves at {fleet.public_url}")
