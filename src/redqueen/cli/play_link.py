"""`redqueen play-link TITLE`: an address that ffplay or VLC plays, and that expires.

Decides which title was meant: an id, the exact title, or the only one that matches. Refuses to
guess between several: it lists them. Only the address goes to standard output, so that
`ffplay "$(redqueen play-link …)"` works. Enter at `play_link`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import click

from redqueen.cli.client import ApiClient, data_option
from redqueen.cli.output import json_option, note, say, show_json
from redqueen.cli.progress import printable
from redqueen.cli.titles import matching
from redqueen.errors import InvalidInput, NotFound

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TTL: Final = re.compile(r"([0-9]{1,9})([smhd]?)")
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_SHOWN: Final = 8


@click.command("play-link")
@click.argument("title", metavar="TITLE")
@click.option("--ttl", metavar="T", help="How long it plays, such as 90m, 6h or 7d [default: the region's].")
@json_option
@data_option
def play_link(title: str, ttl: str | None, as_json: bool, data_dir: Path) -> None:
    """Make an address of a title (its id, or its name) for ffplay, VLC and other players.

    \b
    Example:
      redqueen play-link 'Big Buck Bunny'
      ffplay "$(redqueen play-link 'Big Buck Bunny' --ttl 6h)"
    """
    wish = {} if ttl is None else {"ttl_s": seconds(ttl)}
    with ApiClient.local(data_dir) as api:
        found = chosen(api, title)
        link = api.post(f"/titles/{found['id']}/play-link", wish, again=True)
    if as_json:
        show_json({"title_id": found["id"], "title": found["title"], **link})
        return
    say(link["url"])
    note(f"{printable(str(found['title']))}: plays until {link['expires_at']}")


def seconds(text: str) -> int:
    """Read a length of time such as 90, 90m, 6h, 7d. Raises InvalidInput."""
    match = _TTL.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise InvalidInput("play_link.ttl", f"{text!r} is no length of time", hint="Write 90m, 6h or 7d")
    return int(match[1]) * _UNITS[match[2]]


def chosen(api: ApiClient, wanted: str) -> dict[str, Any]:
    """Find the title that `wanted` means. Raises NotFound, and InvalidInput when several could be meant."""
    if _ID.fullmatch(wanted):
        try:
            return api.get(f"/titles/{wanted}")
        except NotFound:
            pass  # then it is a word of a title
    found = list(matching(api, wanted))
    exact = [title for title in found if str(title["title"]).casefold() == wanted.strip().casefold()]
    meant = exact if exact else found
    if not meant:
        raise NotFound("title.none", f"No title matches {wanted!r}", hint="See them all with: redqueen titles")
    if len(meant) > 1:
        listed = "; ".join(f"{title['id']} ({printable(str(title['title']))})" for title in meant[:_SHOWN])
        more = f" and {len(meant) - _SHOWN} more" if len(meant) > _SHOWN else ""
        raise InvalidInput(
            "title.ambiguous", f"{len(meant)} titles match {wanted!r}", why=f"{listed}{more}", hint="Give one's id"
        )
    return meant[0]
