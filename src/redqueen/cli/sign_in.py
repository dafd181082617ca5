"""`redqueen sign-in`: a fresh one-time sign-in link for the owner, while the region runs.

Whoever can read the data folder's credentials is the operator and may sign in as the owner.
Only the address goes to standard output. Enter at `sign_in`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from redqueen.cli.client import ApiClient, data_option
from redqueen.cli.output import json_option, note, say, show_json


@click.command("sign-in")
@json_option
@data_option
def sign_in(as_json: bool, data_dir: Path) -> None:
    """Print an address that signs the owner in, once, within 15 minutes.

    \b
    Example:
      redqueen sign-in
      xdg-open "$(redqueen sign-in)"
    """
    link = new_link(data_dir)
    if as_json:
        show_json(link)
        return
    say(link["url"])
    note(f"It works once, until {link['expires_at']}")


def new_link(data_dir: Path, *, patience_s: float = 5.0) -> dict[str, Any]:
    """Ask the region for a one-time link: its `url`, and `expires_at` (RFC 3339)."""
    with ApiClient.local(data_dir, patience_s=patience_s) as api:
        return dict(api.post("/sign-in-links", {}, again=True))
