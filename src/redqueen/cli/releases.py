"""`redqueen releases`: what was shipped, how far it is, why.

Decides that without a service the newest of each is shown. Enter at `releases`.
"""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from redqueen.cli.client import ApiClient, data_option
from redqueen.cli.output import json_option, note, show_json, show_table
from redqueen.cli.release_view import ReleaseNow, follow, tell
from redqueen.errors import InvalidInput, NotFound


class Releases(msgspec.Struct, frozen=True):
    """Those that the API told of."""

    releases: tuple[ReleaseNow, ...]


@click.command(
    epilog="Exit codes: 0; 4 nothing was shipped of SERVICE; with --follow 0 promoted, 10 rolled back, "
    "11 inconclusive, 12 stopped, 13 failed."
)
@click.argument("service", metavar="[SERVICE]", default="")
@click.option("--follow", "following", is_flag=True, help="Follow the newest release of SERVICE to its verdict.")
@click.option("--limit", type=click.IntRange(1, 500), default=10, metavar="N", help="How many of each service.")
@json_option
@data_option
def releases(service: str, following: bool, limit: int, as_json: bool, data_dir: Path) -> None:
    """List what was shipped, newest first; --follow ends as `redqueen ship` does.

    \b
    Example:
      redqueen releases
      redqueen releases hello --follow
    """
    with ApiClient.local(data_dir) as api:
        found = api.read("/releases", Releases, {"service": service, "limit": 1 if following else limit}).releases
        if service and not found:
            raise NotFound("release.none", f"Nothing was shipped of {service} yet", hint="Ship it: redqueen ship DIR")
        if following:
            click.get_current_context().exit(_followed(api, service, found, as_json=as_json))
    if as_json:
        show_json(found)
    elif not found:
        note("Nothing was shipped yet: redqueen ship DIR")
    else:
        columns = ["service", "release", "state", "since", "by", "commit", "because"]
        show_table(columns, [_row(release) for release in found], state_column="state")


def _followed(api: ApiClient, service: str, found: tuple[ReleaseNow, ...], *, as_json: bool) -> int:
    if not service:
        raise InvalidInput("cli.usage", "--follow needs a SERVICE", hint="See: redqueen releases")
    tell(found[0], as_json=as_json)
    return follow(api, found[0], as_json=as_json)


def _row(release: ReleaseNow) -> list[object]:
    since = f"{release.since.astimezone():%m-%d %H:%M:%S}"
    origin = str(release.provenance)
    return [release.service, release.id, release.phase.value, since, release.by, origin, release.because]
