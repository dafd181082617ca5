"""Which files of a maker's folder are shipped: all that .gitignore, `exclude` and we do not leave out.

`include` brings back what .gitignore leaves out, such as what a build makes. A link to a file within
the folder is shipped as that file; other links, devices and pipes are refused by name, since nobody
can know what was meant. Files are only listed, never changed. Enter at `gathered`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from redqueen.delivery.ignoring import Pattern, ignored, read
from redqueen.delivery.manifest import FILE, Manifest
from redqueen.errors import Exhausted, InvalidInput

NEVER: Final = (".git", ".hg", ".svn", ".jj", ".venv", "__pycache__", "*.pyc", ".DS_Store")
"""What no service runs from, whatever the patterns say."""
_MAX_SEEN = 200_000
_MAX_IGNORE_BYTES = 1 << 20


@dataclass(slots=True)
class _Walk:
    root: Path
    never: list[Pattern]
    include: list[Pattern]
    gitignore: bool
    seen: int = 0


def gathered(folder: Path, manifest: Manifest, *, gitignore: bool = True) -> list[str]:
    """Return the paths to ship, relative to `folder`, sorted. Raises InvalidInput, Exhausted."""
    root = folder.resolve()
    walk = _Walk(root, read([*NEVER, *manifest.exclude]), read(manifest.include), gitignore)
    found = sorted(_walked(walk, "", [], out=False, brought=False))
    if FILE not in found:
        raise InvalidInput(
            "release.manifest", f"{FILE} is not among what is shipped", why="a pattern leaves it out", hint="Let it in"
        )
    _check_folders(manifest, found)
    return found


def _check_folders(manifest: Manifest, paths: list[str]) -> None:
    """Refuse a manifest that names a folder which is not shipped."""
    for key in ("directory", "code", "web"):
        path = str(PurePosixPath(getattr(manifest, key) or "."))
        if path != "." and not any(shipped.startswith(f"{path}/") for shipped in paths):
            raise InvalidInput(
                "release.manifest",
                f"{FILE}: {key} = {path!r}: no file of this folder is shipped",
                why="it is not there, or .gitignore leaves it out",
                hint="Build it first, or bring it back with `include`",
            )


def _walked(walk: _Walk, folder: str, patterns: list[Pattern], *, out: bool, brought: bool) -> Iterator[str]:
    """Give the files below a folder; `out`: an ignored folder, `brought`: one that `include` named."""
    if walk.gitignore and not out:
        patterns = [*patterns, *_ignore_file(walk.root / folder / ".gitignore", folder)]
    for entry in sorted(_listed(walk, folder), key=lambda entry: entry.name):
        path = f"{folder}/{entry.name}" if folder else entry.name
        walk.seen += 1
        if walk.seen > _MAX_SEEN:
            raise Exhausted(
                "release.too_large", f"There are more than {_MAX_SEEN} files in {walk.root}", hint="Exclude some"
            )
        is_folder = entry.is_dir(follow_symlinks=False)
        if ignored(path, walk.never, folder=is_folder):
            continue
        left = out or ignored(path, patterns, folder=is_folder)
        wanted = brought or ignored(path, walk.include, folder=is_folder)
        if is_folder:
            if not left or wanted or walk.include:
                yield from _walked(walk, path, patterns, out=left, brought=wanted)
        elif not left or wanted:
            yield _checked(walk.root, path, entry)


def _listed(walk: _Walk, folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(walk.root / folder) as entries:
            return list(entries)
    except OSError as error:
        raise _refused(
            folder or str(walk.root), f"it cannot be read ({error.strerror})", "Change its rights"
        ) from error


def _ignore_file(path: Path, folder: str) -> list[Pattern]:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_IGNORE_BYTES)
    except OSError:
        return []
    return read(text.decode(errors="replace").splitlines(), folder)


def _checked(root: Path, path: str, entry: os.DirEntry[str]) -> str:
    if not entry.is_symlink():
        if not entry.is_file(follow_symlinks=False):
            raise _refused(path, "it is a device, a pipe or a socket", "Exclude it")
        return path
    target = Path(os.path.realpath(root / path))
    if not target.is_relative_to(root):
        raise _refused(path, "it is a link that leads out of the folder", "Put a copy there, or exclude it")
    try:
        mode = target.stat().st_mode
    except OSError as error:
        raise _refused(path, "it is a link to nothing", "Exclude it") from error
    if not stat.S_ISREG(mode):
        raise _refused(path, "it is a link to a folder", "Put a copy there, or exclude it")
    return path


def _refused(path: str, why: str, hint: str) -> InvalidInput:
    return InvalidInput("release.folder", f"{path!r} cannot be shipped", why=why, hint=hint)
