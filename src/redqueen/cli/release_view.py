"""A release as it goes, in the terminal: one line a change, its trial live, at last the verdict.

Used by `ship` and `releases --follow`. With JSON one line of it for each change of the release or its
trial (`kind` says of which), and nothing else.
Enter at `follow`.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Final, Self

import click
import msgspec

from redqueen.cli import trial_view
from redqueen.cli.client import ApiClient
from redqueen.cli.output import note, say
from redqueen.cli.progress import printable
from redqueen.delivery.model import Phase
from redqueen.errors import Broken, NotFound, Unavailable

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


class RouteNow(msgspec.Struct, frozen=True):
    """A path whose routes become others with the promotion."""

    path: str
    change: str


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
    routes: tuple[RouteNow, ...] = ()

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
    watched = Watched(api, release, as_json=as_json)
    try:
        while not watched.release.phase.ended:
            watched.look()
    except KeyboardInterrupt:
        note(
            f"\n{release.id} of {release.service} goes on. Follow it: redqueen releases {release.service} --follow; "
            f"undo it: redqueen rollback {release.service}"
        )
        return 130
    return EXIT_CODES[watched.release.phase]


def tell(release: ReleaseNow, *, as_json: bool) -> None:
    """Print one change."""
    if as_json:
        _tell_json("release", release)
        return
    phase = click.style(release.phase.value, fg=_COLOURS.get(release.phase, "cyan"), bold=True)
    text = f"{release.id} of {release.service} is {phase}: {printable(release.because)}"
    if release.warm_until is not None:
        text += f" The version before it stays warm until {release.warm_until.astimezone():%H:%M:%S}."
    say(text)
    if release.phase is Phase.STARTING and release.routes:
        routes = ", ".join(f"{printable(route.path)} ({route.change})" for route in release.routes)
        note(f"routes of these paths are others for its viewers, and for everybody once it is promoted: {routes}")


class Watched:
    """A release and what was told of it."""

    def __init__(self, api: ApiClient, release: ReleaseNow, *, as_json: bool) -> None:
        self.release = release
        self._api = api
        self._as_json = as_json
        self._trial_told: object = None
        self._trial_over = False
        self._heard_at = time.monotonic()

    def look(self) -> None:
        """Tell what has changed, or wait a moment; a trial is shown until it or the phase is over."""
        if self.release.phase is Phase.TRYING and not self._trial_over:
            self._look_at_trial()
        if not self._changed():
            time.sleep(_LOOK_S)

    def _changed(self) -> bool:
        """Read the release and tell another phase; an api that does not answer, or wrongly, may be what is shipped."""
        try:
            found = self._api.read(self.release.path, ReleaseNow)
        except (Broken, Unavailable):
            if time.monotonic() - self._heard_at > _SILENCE_S:
                raise
            return False
        self._heard_at = time.monotonic()
        changed = found.phase is not self.release.phase
        self.release = found
        if changed:
            tell(found, as_json=self._as_json)
        return changed

    def _look_at_trial(self) -> None:
        try:
            if self._as_json:
                trial = self._api.read(trial_view.path_of(self.release.trial), trial_view.TrialNow)
                self._tell_trial(trial)
            else:
                trial = trial_view.follow(self._api, self.release.trial, going_on=lambda: not self._changed())
            self._trial_over = trial.status.ended
        except (Broken, NotFound, Unavailable):
            return  # its trial begins within a second

    def _tell_trial(self, trial: trial_view.TrialNow) -> None:
        now = (trial.status, trial.step, len(trial.dropped))
        if now != self._trial_told:
            self._trial_told = now
            _tell_json("trial", trial)


def _tell_json(kind: str, value: object) -> None:
    """Print one line that says what it tells of."""
    say(msgspec.json.encode({"kind": kind, **msgspec.to_builtins(value)}).decode())
