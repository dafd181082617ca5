"""What `redqueen up` shows while it runs: a live picture by zone on a terminal, change lines elsewhere.

Takes the supervisor's views as they change, the moment of serving, and notices. Decides only the
form. Enter at `screen`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator, Sequence
from typing import Protocol

import click
from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from redqueen.cli.output import STATE_COLOURS, note
from redqueen.fleet.model import NodeView


class Screen(Protocol):
    """Where a running region is shown."""

    def views(self, views: Sequence[NodeView]) -> None:
        """Take the processes as they are now."""
        ...

    def tell(self, text: str) -> None:
        """Show a line that stays."""
        ...


class Quiet:
    """Shows only notices, on standard error: the output is for a program."""

    def views(self, views: Sequence[NodeView]) -> None:
        """Take the processes as they are now."""

    def tell(self, text: str) -> None:
        """Print a line on standard error."""
        note(text)


class Lines:
    """One line a change, on standard output."""

    def __init__(self) -> None:
        self._before: dict[str, NodeView] = {}

    def views(self, views: Sequence[NodeView]) -> None:
        """Say what changed since the last time."""
        now = {view.node_id: view for view in views if view.role != "supervisor"}
        for line in changes(self._before, now):
            click.echo(line)
        self._before = now

    def tell(self, text: str) -> None:
        """Print a line."""
        click.echo(text)


def changes(before: dict[str, NodeView], now: dict[str, NodeView]) -> list[str]:
    """Return a line for each process that came, went, or changed its state or pid."""
    lines = [f"{node_id:<14} gone" for node_id in before if node_id not in now]
    for node_id, view in now.items():
        known = before.get(node_id)
        if known is None or (known.state, known.pid) != (view.state, view.pid):
            lines.append(f"{node_id:<14} {view.state.value}{f' ({view.because})' if view.because else ''}")
    return lines


class Picture:
    """A panel a zone, redrawn in place; lines that stay scroll above it."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def views(self, views: Sequence[NodeView]) -> None:
        """Redraw."""
        self._live.update(picture(views), refresh=True)

    def tell(self, text: str) -> None:
        """Print a line above the picture."""
        self._live.console.print(text, highlight=False, markup=False, soft_wrap=True)


def picture(views: Sequence[NodeView]) -> Group:
    """Draw the region: a panel for each zone with its processes, and how to leave."""
    zones = sorted({view.zone for view in views if view.zone})
    panels = [Panel(_zone([view for view in views if view.zone == zone]), title=f"zone {zone}") for zone in zones]
    return Group(Columns(panels, equal=True), Text("Ctrl-C drains the region and ends it", style="dim"))


def _zone(views: Sequence[NodeView]) -> Table:
    table = Table.grid(padding=(0, 1))
    for _ in ("id", "state", "pid", "restarts"):
        table.add_column(no_wrap=True)
    for view in sorted(views, key=lambda view: view.node_id):
        state = Text(view.state.value, style=STATE_COLOURS.get(view.state.value, ""))
        restarts = Text(f"↻{view.restarts}" if view.restarts else "", style="dim")
        table.add_row(view.node_id, state, Text(str(view.pid or ""), style="dim"), restarts)
    return table


@contextlib.contextmanager
def screen(*, quiet: bool) -> Generator[Screen, None, None]:
    """Choose: notices only when `quiet`, the live picture on a terminal, lines elsewhere."""
    if quiet:
        yield Quiet()
    elif not sys.stdout.isatty():
        yield Lines()
    else:
        # Redrawn on change only: a region at rest costs nothing.
        with Live(console=Console(), auto_refresh=False, transient=True) as live:
            yield Picture(live)
