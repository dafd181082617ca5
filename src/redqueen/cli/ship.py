"""`redqueen ship DIR`: checks, packs and sends a folder, then follows its release to the verdict.

Decides that everything that can be known here is refused here, before a byte is sent; that what is
kept in the region already is not sent again; that the verdict's sentence is the last line and its
kind the exit code. Ctrl-C ends the watching, not the release. Enter at `ship`.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import click

from redqueen.cli.client import ApiClient, data_option
from redqueen.cli.output import json_option, note
from redqueen.cli.release_view import ReleaseNow, follow, tell
from redqueen.delivery.artifact import MEDIA_TYPE, pack
from redqueen.delivery.gathering import gathered
from redqueen.delivery.manifest import FILE, Manifest, parsed
from redqueen.delivery.model import Artifact, Provenance
from redqueen.delivery.provenance import export, provenance
from redqueen.errors import InvalidInput, NotFound, Unavailable

_PIECE = 1 << 20
_TRIES = 3
_SEND_S = 600.0


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is to be sent."""

    manifest: Manifest
    artifact: Artifact
    packed: Path
    provenance: Provenance


@click.command(
    epilog="Exit codes: 0 promoted (with --detach: taken), 10 rolled back, 11 inconclusive, 12 stopped, 13 failed; "
    "what could not be shipped at all: 2 to 7 as everywhere; 130 after Ctrl-C."
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--ref", default="", metavar="REF", help="Ship DIR as it is at this git ref, not as it lies there.")
@click.option("--because", default="", metavar="TEXT", help="What is tried, in your words.")
@click.option("--detach", is_flag=True, help="Return when the region has taken it.")
@json_option
@data_option
def ship(folder: Path, ref: str, because: str, detach: bool, as_json: bool, data_dir: Path) -> None:
    """Ship the service in DIR: try it on some of its viewers, promote it or roll it back.

    DIR holds a redqueen.toml (docs/ship.md). With --json one line is printed for each change.

    \b
    Example:
      redqueen ship .
      redqueen ship shop --ref v1.4.0 --because "cheaper carts"
    """
    with parcel(folder, ref) as found, ApiClient.local(data_dir, timeout_s=60.0) as api:
        if not as_json:
            note(_line(found))
        _send(api, found)
        wish = {"artifact": found.artifact.digest, "because": because, "provenance": found.provenance}
        release = ReleaseNow.of(api.post("/releases", wish, key=uuid.uuid4().hex))
        tell(release, as_json=as_json)
    if not detach:
        with ApiClient.local(data_dir) as api:
            click.get_current_context().exit(follow(api, release, as_json=as_json))


@contextmanager
def parcel(folder: Path, ref: str = "") -> Generator[Parcel]:
    """Check and pack a folder (as it is at a git ref); the packed file lives until the block ends.

    Raises InvalidInput naming file and key, Exhausted.
    """
    with tempfile.TemporaryDirectory(prefix="redqueen-ship-") as scratch:
        came_from = anyio.run(provenance, _existing(folder), ref)
        root = folder
        if ref:
            root = Path(scratch, "tree")
            root.mkdir()
            anyio.run(export, folder, ref, root)
        manifest = _manifest(root / FILE, str(folder / FILE) + (f" at {ref}" if ref else ""))
        packed = Path(scratch, "artifact.tar")
        # What is in a commit belongs to it, whatever .gitignore says.
        paths = gathered(root, manifest, gitignore=not ref)
        with packed.open("wb") as out:
            artifact = pack(root, paths, out)
        yield Parcel(manifest, artifact, packed, came_from)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise InvalidInput("release.folder", f"{folder} is no folder", hint=f"Give the folder that holds a {FILE}")
    return folder


def _manifest(path: Path, shown: str) -> Manifest:
    try:
        return parsed(path.read_bytes(), shown)
    except OSError as error:
        raise InvalidInput(
            "release.manifest",
            f"{shown} cannot be read",
            why=error.strerror or str(error),
            hint="It says what is shipped; see docs/ship.md for an example",
        ) from error


def _send(api: ApiClient, found: Parcel) -> None:
    """Send the artifact unless the region has it; a node that dies in between costs another try."""
    where = f"/artifacts/{found.artifact.digest}"
    for left in reversed(range(_TRIES)):
        try:
            api.get(where)
            return
        except NotFound:
            pass
        try:
            api.request(
                "PUT",
                where,
                content=_pieces(found.packed),
                headers={"content-type": MEDIA_TYPE, "content-length": str(found.artifact.size_bytes)},
                again=False,
                timeout_s=_SEND_S,
            )
            return
        except Unavailable:
            if not left:
                raise


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _line(found: Parcel) -> str:
    artifact, came_from = found.artifact, found.provenance
    files = f"{artifact.files} files, {artifact.unpacked_bytes / 1024:.0f} KiB"
    origin = f", commit {came_from.commit[:12]}" if came_from.commit else ", from no git commit"
    changed = " with changes that are not committed" if came_from.clean is False else ""
    return f"shipping {found.manifest.service}: {files}{origin}{changed}"
