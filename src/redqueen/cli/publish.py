"""`redqueen publish FILE…`: sends films to the region and, when asked, waits until they can be watched.

Decides the order (file by file; a failure does not stop the others, the worst exit code counts)
and what goes with a film: its title, its subtitles before the last byte, so that the first encode
has them. Refuses `--title` and `--subtitles` for several files at once. Enter at `publish`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from redqueen.cli.client import ApiClient, data_option
from redqueen.cli.output import json_option, note, say, show_error, show_json
from redqueen.cli.progress import Shower, printable, shower
from redqueen.cli.upload import Film, Sender, examine
from redqueen.errors import Broken, InvalidInput, RedQueenError, Unavailable

_LOOK_S: Final = 0.5
_SILENCE_S: Final = 120.0
_MAX_SUBTITLES_BYTES: Final = 2 << 20
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


class Failure(msgspec.Struct, frozen=True):
    """Why the studio could not make a title."""

    code: str
    what: str
    why: str = ""
    hint: str = ""


class TitleNow(msgspec.Struct, frozen=True):
    """What the verb wants to know of a title."""

    id: str
    title: str
    state: str
    progress: float = 0.0
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What to publish and for what to wait."""

    film: Film
    title: str = ""
    subtitles: tuple[str, bytes] | None = None
    """A language and the text of the file."""
    wait: str | None = None


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.option("--title", default="", metavar="T", help="The title [default: made from the file's name].")
@click.option(
    "--subtitles",
    type=click.Path(path_type=Path),
    metavar="F",
    help="SubRip or WebVTT; the language is read from its name, such as film.en.srt.",
)
@click.option(
    "--wait", type=click.Choice(["playable", "complete"]), help="Return when it can be watched, or is all encoded."
)
@json_option
@data_option
def publish(
    files: Sequence[Path], title: str, subtitles: Path | None, wait: str | None, as_json: bool, data_dir: Path
) -> None:
    """Publish films. An interrupted upload goes on when the same command is run again.

    \b
    Example:
      redqueen publish film.mp4 --wait playable
      redqueen publish *.mkv --json
    """
    if len(files) > 1 and (title or subtitles):
        raise InvalidInput(
            "publish.several",
            "--title and --subtitles are for one film",
            why=f"{len(files)} files were named",
            hint="Publish the films one by one",
        )
    with ApiClient.local(data_dir) as api, shower(quiet=as_json) as screen:
        counter = Counter(api, Sender(api, region=str(data_dir)), screen, alone=len(files) == 1, as_json=as_json)
        for path in files:
            counter.take(path, title, subtitles, wait)
    counter.close()


class Counter:
    """Serves one file after the other and keeps what came of them."""

    def __init__(self, api: ApiClient, sender: Sender, screen: Shower, *, alone: bool, as_json: bool) -> None:
        self._api = api
        self._sender = sender
        self._screen = screen
        self._alone = alone
        self._as_json = as_json
        self._published: list[dict[str, Any]] = []
        self._failed: list[dict[str, str]] = []
        self._exit_code = 0

    def take(self, path: Path, title: str, subtitles: Path | None, wait: str | None) -> None:
        """Publish one file; an error is kept (and raised at once if it is the only file of a person)."""
        try:
            order = Order(examine(path), title, None if subtitles is None else read_subtitles(subtitles), wait)
            found = self._served(order)
        except RedQueenError as error:
            if self._alone and not self._as_json:
                raise
            self._refused(path, error)
            return
        self._published.append({"file": printable(str(path)), **msgspec.to_builtins(found)})
        if not self._as_json:
            say(f"{found.id}  {printable(found.title)}  {found.state}")

    def close(self) -> None:
        """Print the JSON and leave with the worst exit code."""
        if self._as_json:
            show_json({"published": self._published, "failed": self._failed})
        if self._exit_code:
            click.get_current_context().exit(self._exit_code)

    def _refused(self, path: Path, error: RedQueenError) -> None:
        self._exit_code = max(self._exit_code, error.exit_code)
        told = {"code": error.code, "what": error.what, "why": error.why, "hint": error.hint}
        self._failed.append({"file": printable(str(path)), **told})
        if not self._as_json:
            show_error(error, as_json=False)

    def _served(self, order: Order) -> TitleNow:
        name = order.film.path.name
        sent_bytes = 0

        def moved(done: int) -> None:
            nonlocal sent_bytes
            sent_bytes = done
            self._screen.show(f"sending {name}", done / order.film.size_bytes, _size(order.film.size_bytes))

        def begun(title_id: str) -> None:
            if order.subtitles is not None:
                language, text = order.subtitles
                where, kind = f"/titles/{title_id}/subtitles/{language}", {"content-type": "text/plain; charset=utf-8"}
                self._api.request("PUT", where, content=text, headers=kind)

        try:
            receipt = self._sender.send(order.film, title=order.title, on_begun=begun, on_progress=moved)
        except KeyboardInterrupt:
            note(
                f"Stopped with {sent_bytes / order.film.size_bytes:.0%} of {printable(name)} sent. "
                "Run the same command again: it goes on from there."
            )
            click.get_current_context().exit(130)
        return self._awaited(receipt.title_id, order)

    def _awaited(self, title_id: str, order: Order) -> TitleNow:
        heard_at = time.monotonic()
        while True:
            try:
                found = self._api.read(f"/titles/{title_id}", TitleNow)
                heard_at = time.monotonic()
            except (Unavailable, Broken):
                if time.monotonic() - heard_at > _SILENCE_S:
                    raise
                time.sleep(_LOOK_S)
                continue
            if arrived(found, order.wait):
                return found
            self._screen.show(f"encoding {order.film.path.name}", found.progress, found.state)
            time.sleep(_LOOK_S)


def arrived(found: TitleNow, wait: str | None) -> bool:
    """Tell whether the title is what was waited for. Raises InvalidInput when the studio refused the film."""
    if found.state == "failed":
        failure = found.failure or Failure("studio.failed", "The film could not be encoded", hint="Try another file")
        raise InvalidInput(failure.code, failure.what, why=failure.why, hint=failure.hint)
    reached = {"playable": ("playable", "complete"), "complete": ("complete",)}
    return wait is None or found.state in reached[wait]


def read_subtitles(path: Path) -> tuple[str, bytes]:
    """Read a subtitle file and its language (the suffix before the last; `und` without one)."""
    film = examine(path)
    if film.size_bytes > _MAX_SUBTITLES_BYTES:
        raise InvalidInput(
            "subtitles.too_large",
            f"{path} has {film.size_bytes} bytes",
            why=f"subtitles have at most {_MAX_SUBTITLES_BYTES}",
            hint="Is it a subtitle file (SubRip or WebVTT)?",
        )
    suffix = _canonical(Path(path.stem).suffix.removeprefix("."))
    return suffix if _LANGUAGE.fullmatch(suffix) else "und", path.read_bytes()


def _canonical(tag: str) -> str:
    """Write the language of a tag in small letters, as BCP 47 recommends: EN becomes en."""
    language, dash, rest = tag.partition("-")
    return language.lower() + dash + rest


def _size(size_bytes: int) -> str:
    if size_bytes >= 1 << 30:
        return f"of {size_bytes / (1 << 30):.1f} GiB"
    return f"of {size_bytes / (1 << 20):.1f} MiB"
