"""A release as it goes, in the terminal: one line a change, its trial live, at last the verdict.

Used by `ship` and `releases --follow`. With JSON one line of it for each change, and nothing else.
Enter at `follow`.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Final, Self

import click
import msgspec

from redqueen.cli.client import ApiClient
from redqueen.cli.output import note, say
from redqueen.cli.progress import printable
from redqueen.delivery.model import Phase
from redqueen.errors import Unavailable

EXIT_CODES: Final = {
    Phase.PROMOTED: 0,
    Phase.ROLLED_BACK: 10,
    Phase.INCONCLUSIVE: 11,
    Phase.STOPPED: 12,
    Phase.FAILED: 13,
}
"""What a followed release ends the command with."""
_COLOURS: Final = {Phase.PROMOTED: "green", Phase.ROLLED_BACK: "red", Phase.FAILED: "red"}
_LOOK_S: Final = 0.4
_SILENCE_S: Final = 120.0


class Origin(msgspec.Struct, frozen=True):
    """Where a release's files come from."""

    commit: str = ""
    author: str = ""
    ref: str = ""
    clean: bool | None = None

    def __str__(self) -> str:
        """Write it as one word, with a `+` for a tree that was not clean."""
        return self.commit[:12] + ("+" if self.clean is False else "")


class ReleaseNow(msgspec.Struct, frozen=True):
    """A release as the API tells of it."""

    service: str
    id: str
    phase: Phase
    because: str
    since: datetime
    trial: str
    by: str
    created: datetime
    settled: bool = False
    version: str = ""
    why: str = ""
    warm_until: datetime | None = None
    provenance: Origin = Origin()

    @classmethod
    def of(cls, answer: Any) -> Self:
        """Make it of the API's decoded JSON."""
        return msgspec.convert(answer, cls)

    @property
    def path(self) -> str:
        """Return where the API tells of it."""
        return f"/releases/{self.service}/{self.id}"


def follow(api: ApiClient, release: ReleaseNow, *, as_json: bool) -> int:
    """Show a release until its verdict; return the exit code that tells of it (130 after Ctrl-C)."""
    try:
        while not release.phase.ended:
            release = _next(api, release, as_json=as_json)
    except KeyboardInterrupt:
        note(
            f"\n{release.id} of {release.service} goes on. Follow it: redqueen releases {release.service} --follow; "
            f"undo it: redqueen rollback {release.service}"
        )
        return 130
    return EXIT_CODES[release.phase]


def tell(release: ReleaseNow, *, as_json: bool) -> None:
    """Print one change."""
    if as_json:
        say(msgspec.json.encode(release).decode())
        return
    phase = click.style(release.phase.value, fg=_COLOURS.get(release.phase, "cyan"), bold=True)
    text = f"{release.id} of {release.service} is {phase}: {printable(release.because)}"
    if release.warm_until is not None:
        text += f" The version before it stays warm until {release.warm_until.astimezone():%H:%M:%S}."
    say(text)


def _next(api: ApiClient, known: ReleaseNow, *, as_json: bool) -> ReleaseNow:
    """Return the release as soon as it has changed its phase, told."""
    heard_at = time.monotonic()
    while True:
        try:
            found = api.read(known.path, ReleaseNow)
            heard_at = time.monotonic()
        except Unavailable:
            # The api may be what is shipped: its nodes are being replaced.
            if time.monotonic() - heard_at > _SILENCE_S:
                raise
            time.sleep(_LOOK_S)
            continue
        if found.phase is not known.phase:
            tell(found, as_json=as_json)
            return found
        time.sleep(_LOOK_S)
