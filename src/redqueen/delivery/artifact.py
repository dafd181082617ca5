"""Artifacts: a folder as one file of bytes, the same bytes for the same folder, and safely a folder again.

The format is an uncompressed tar with plain POSIX headers (ustar): whatever tar can read, but of
what tar can say only folders and regular files, so that nothing unpacked can be a link, a device or
larger than its bytes. Refuses absolute paths, `..`, odd and doubled names, set-user-id bits, sparse
and extended headers, and more files, depth or bytes than `Bounds` allows, before anything is
written. Enter at `pack`, `examined` and `unpack`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from redqueen.delivery.manifest import FILE, MAX_BYTES
from redqueen.delivery.model import Artifact
from redqueen.errors import Exhausted, InvalidInput

MEDIA_TYPE: Final = "application/x-tar"
_BLOCK, _PIECE = 512, 1 << 20
_MAX_SEGMENT, _MAX_PATH = 255, 1000
_GIVEN, _RIGHTS = 0o7777, 0o0777


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an artifact may hold at most."""

    size_bytes: int = 512 << 20
    """Of the packed file."""
    file_bytes: int = 256 << 20
    files: int = 20_000
    """Files and folders together."""
    depth: int = 32


BOUNDS: Final = Bounds()


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder of an artifact; a folder has no bytes."""

    path: str
    size_bytes: int
    executable: bool
    folder: bool
    offset: int
    """Where its bytes begin."""


def pack(folder: Path, paths: Iterable[str], into: BinaryIO, bounds: Bounds = BOUNDS) -> Artifact:
    """Write the files at `paths` (relative to `folder`, `/` between) as one artifact; times and owners are left out.

    Raises InvalidInput for what cannot be packed, Exhausted when it is too much.
    """
    digest, size, unpacked, count = hashlib.sha256(), 0, 0, 0

    def write(data: bytes) -> None:
        nonlocal size
        digest.update(data)
        into.write(data)
        size += len(data)
        if size > bounds.size_bytes:
            raise _too_much("it has", f"more than {bounds.size_bytes} bytes packed")

    for path in sorted(set(paths)):
        count += 1
        if count > bounds.files:
            raise _too_much("it has", f"more than {bounds.files} files")
        _check_name(path, bounds)
        with _opened(folder, path) as file:
            found = os.fstat(file.fileno())
            if found.st_size > bounds.file_bytes:
                raise _too_much(path, f"more than {bounds.file_bytes} bytes")
            write(_header(path, found.st_size, executable=bool(found.st_mode & 0o100)))
            for piece in _exactly(file, found.st_size, path):
                write(piece)
            write(bytes(-found.st_size % _BLOCK))
            unpacked += found.st_size
    write(bytes(2 * _BLOCK))
    return Artifact(digest.hexdigest(), size, count, unpacked)


def examined(file: Path, bounds: Bounds = BOUNDS) -> Artifact:
    """Read a packed artifact whole and return its facts. Raises InvalidInput, Exhausted."""
    digest = hashlib.sha256()
    with file.open("rb") as packed:
        while piece := packed.read(_PIECE):
            digest.update(piece)
        found = entries(packed, bounds)
    unpacked = sum(entry.size_bytes for entry in found)
    return Artifact(digest.hexdigest(), file.stat().st_size, len(found), unpacked)


def manifest_of(file: Path, bounds: Bounds = BOUNDS) -> bytes:
    """Return the bytes of the manifest in a packed artifact. Raises InvalidInput when there is none."""
    with file.open("rb") as packed:
        for entry in entries(packed, bounds):
            if entry.path == FILE and not entry.folder:
                packed.seek(entry.offset)
                return packed.read(min(entry.size_bytes, MAX_BYTES + 1))
    raise InvalidInput(
        "release.manifest", f"There is no {FILE} in the artifact", why="it says what is shipped", hint="Ship a folder"
    )


def unpack(file: Path, folder: Path, bounds: Bounds = BOUNDS) -> None:
    """Make `folder` (which must not exist) of a packed artifact; nothing can be written outside of it.

    Folders get mode 0755, files 0644 or 0755. Raises InvalidInput, Exhausted; then `folder` is gone again.
    """
    with file.open("rb") as packed:
        found = entries(packed, bounds)
        folder.mkdir(parents=True, mode=0o755)
        try:
            for entry in found:
                _unpack_one(packed, entry, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def entries(packed: BinaryIO, bounds: Bounds = BOUNDS) -> list[Entry]:
    """Return all that a packed artifact holds, each checked. Raises InvalidInput, Exhausted."""
    size = packed.seek(0, os.SEEK_END)
    if size > bounds.size_bytes:
        raise _too_much("it has", f"{size} bytes, at most {bounds.size_bytes}")
    found: list[Entry] = []
    kinds: dict[str, bool] = {}
    for entry in _headers(packed, size, bounds):
        if len(found) >= bounds.files:
            raise _too_much("it has", f"more than {bounds.files} files")
        _check_place(entry, kinds)
        found.append(entry)
    return found


def _headers(packed: BinaryIO, size: int, bounds: Bounds) -> Iterator[Entry]:
    at = 0
    while True:
        packed.seek(at)
        block = packed.read(_BLOCK)
        if len(block) < _BLOCK:
            raise _refused("the artifact", "it ends in the middle", "send it whole")
        if not any(block):
            break
        entry = _entry(block, at + _BLOCK, bounds)
        at = entry.offset + entry.size_bytes + (-entry.size_bytes % _BLOCK)
        if at > size:
            raise _refused(entry.path, "it says that it is longer than the artifact", "send it whole")
        yield entry
    packed.seek(at)
    while rest := packed.read(_PIECE):
        if any(rest):
            raise _refused("the artifact", "something follows its end", "pack it again")


def _entry(block: bytes, offset: int, bounds: Bounds) -> Entry:
    if block[257:262] != b"ustar":
        wanted = "pack it with: redqueen ship, or tar --format=ustar, without compression"
        raise _refused("the artifact", "it is no plain tar file", wanted)
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise _refused("the artifact", f"a header cannot be read ({error})", "pack it again") from error
    path, kind = info.name, _KINDS.get(info.type)
    folder = info.type == tarfile.DIRTYPE
    if not folder and info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        wanted = "only folders and regular files can be shipped"
        raise _refused(path, f"it is {kind or 'of an unknown kind'}", wanted)
    if not folder and path.endswith("/"):
        raise _refused(path, "it is a file with the name of a folder", "pack it again")
    path = path.removeprefix("./").removesuffix("/") if folder else path.removeprefix("./")
    if not (folder and path in ("", ".")):
        _check_name(path, bounds)
    if info.mode & _GIVEN & ~_RIGHTS:
        raise _refused(path, f"it has mode {info.mode & _GIVEN:o}", "no set-user-id, set-group-id or sticky bits")
    if not 0 <= info.size <= (0 if folder else bounds.file_bytes):
        raise _too_much(path, f"{info.size} bytes, at most {0 if folder else bounds.file_bytes}")
    return Entry(path, info.size, bool(info.mode & 0o100), folder, offset)


_KINDS: Final = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.XHDTYPE: "an extended header",
    tarfile.XGLTYPE: "an extended header",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    tarfile.GNUTYPE_LONGNAME: "a long name in GNU's manner",
    tarfile.GNUTYPE_LONGLINK: "a long link in GNU's manner",
}


def _check_name(path: str, bounds: Bounds) -> None:
    segments = path.split("/")
    if path.startswith("/"):
        raise _refused(path, "its path is absolute", "paths are relative to the folder that is shipped")
    if ".." in segments:
        raise _refused(path, "its path leads out of the folder", "leave `..` out")
    if any(segment in ("", ".") for segment in segments):
        raise _refused(path, "its path has an empty part", "one `/` between names, none at the end")
    if not path.isprintable() or "\\" in path or "\ufffd" in path:
        raise _refused(path, "its name has unprintable characters or a backslash", "rename it")
    if len(path.encode()) > _MAX_PATH or any(len(segment.encode()) > _MAX_SEGMENT for segment in segments):
        raise _refused(path, "its name is too long", f"{_MAX_SEGMENT} bytes a name, {_MAX_PATH} a path")
    if len(segments) > bounds.depth:
        raise _too_much(path, f"{len(segments)} folders deep, at most {bounds.depth}")


def _check_place(entry: Entry, kinds: dict[str, bool]) -> None:
    """Refuse a path that is there twice, or that is a file and the folder of another."""
    if entry.path in kinds and not (entry.folder and kinds[entry.path]):
        raise _refused(entry.path, "it is there twice", "pack it again")
    kinds[entry.path] = entry.folder
    parent = entry.path.rpartition("/")[0]
    while parent and parent not in kinds:
        kinds[parent] = True
        parent = parent.rpartition("/")[0]
    if parent and not kinds[parent]:
        raise _refused(entry.path, f"{parent} is a file", "pack it again")


def _unpack_one(packed: BinaryIO, entry: Entry, folder: Path) -> None:
    try:
        _write_one(packed, entry, folder / entry.path)
    except OSError as error:
        raise Exhausted(
            "release.disk",
            f"{entry.path} cannot be unpacked",
            why=error.strerror or str(error),
            hint="Free some space on the region's disk, then ship again",
        ) from error


def _write_one(packed: BinaryIO, entry: Entry, target: Path) -> None:
    if entry.folder:
        target.mkdir(parents=True, exist_ok=True, mode=0o755)
        return
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    # O_EXCL and O_NOFOLLOW: nothing that is there already is written to, whatever its name points at.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(target, flags, 0o755 if entry.executable else 0o644)
    with open(descriptor, "wb") as out:
        packed.seek(entry.offset)
        for piece in _exactly(packed, entry.size_bytes, entry.path):
            out.write(piece)


def _header(path: str, size_bytes: int, *, executable: bool) -> bytes:
    info = tarfile.TarInfo(path)
    info.size, info.mode = size_bytes, 0o755 if executable else 0o644
    try:
        return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
    except ValueError as error:
        raise _refused(
            path, "its name is too long for a plain tar file", "at most 100 bytes a name, 255 a path"
        ) from error


def _opened(folder: Path, path: str) -> BinaryIO:
    try:
        return (folder / path).open("rb")
    except OSError as error:
        raise _refused(
            path, f"it cannot be read ({error.strerror or error})", "change its rights or exclude it"
        ) from error


def _exactly(file: BinaryIO, size_bytes: int, path: str) -> Iterator[bytes]:
    left = size_bytes
    while left:
        piece = file.read(min(left, _PIECE))
        if not piece:
            raise _refused(path, "it became shorter while it was read", "try again")
        left -= len(piece)
        yield piece


def _refused(path: str, why: str, wanted: str) -> InvalidInput:
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in path[:200])
    return InvalidInput("release.artifact", f"{shown} cannot be shipped: {why}", hint=wanted[:1].upper() + wanted[1:])


def _too_much(path: str, what: str) -> Exhausted:
    return Exhausted(
        "release.too_large", f"The artifact is too large: {path}: {what}", hint="Exclude what the service does not need"
    )
