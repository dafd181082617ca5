"""The data folder of a region: whose it is, which version made it, who works on it now.

Decides whether a folder may be used: an empty one is made a region's, one of a newer version, a
damaged one, or one that belongs to something else is refused and nothing in it is touched. Holds
the lock by which only one supervisor works on it, and the small JSON files beside it, which are
always replaced by rename. Enter at `open_data_dir`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from redqueen.errors import Broken, Conflict, Exhausted, InvalidInput
from redqueen.processes import ProcessId, is_alive

FORMAT: Final = 1
"""The data folder's format that this version reads and writes."""
_KEY_BYTES: Final = 64
_HARMLESS: Final = frozenset({"redqueen.toml", "lost+found"})
_Known = TypeVar("_Known")


class RegionFile(msgspec.Struct, frozen=True):
    """`region.json`: the mark of a data folder."""

    format: int
    name: str = "local"
    created_at: str = ""


class SupervisorFile(msgspec.Struct, frozen=True):
    """`supervisor.json`: who works on the folder, and where the region can be reached."""

    pid: int
    started_s: float
    public_url: str
    tools_url: str = ""


def default_data_dir(environ: Mapping[str, str] | None = None, home: Path | None = None) -> Path:
    """Return $REDQUEEN_DATA, or the user's data folder for redqueen (XDG base directories)."""
    environ = os.environ if environ is None else environ
    if environ.get("REDQUEEN_DATA"):
        return Path(environ["REDQUEEN_DATA"])
    if environ.get("XDG_DATA_HOME"):
        return Path(environ["XDG_DATA_HOME"]) / "redqueen"
    return (home or Path.home()) / ".local" / "share" / "redqueen"


def open_data_dir(path: Path, *, name: str = "local") -> RegionFile:
    """Open a region's folder, making it where there is none. Raises InvalidInput, Broken, Exhausted."""
    if path.exists() and not path.is_dir():
        raise InvalidInput("data.not_a_folder", f"{path} is not a folder", hint="Choose another with --data DIR")
    known = read_region(path)
    if known is None:
        _refuse_foreign(path)
        known = RegionFile(FORMAT, name, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        _writing(path, lambda: _create(path, known))
    else:
        _writing(path, lambda: write_json(path / ".writable", {}))
        (path / ".writable").unlink(missing_ok=True)
    return known


def read_region(path: Path) -> RegionFile | None:
    """Read `region.json`, or None where there is none. Raises InvalidInput for a newer format."""
    mark = path / "region.json"
    try:
        known = msgspec.json.decode(mark.read_bytes(), type=RegionFile)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInput(
            "data.unreadable", f"{mark} cannot be read", why=error.strerror or str(error), hint="Check its owner"
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Broken(
            "data.damaged",
            f"{mark} is damaged: {error}",
            why="The folder may be a region's, so nothing in it was touched",
            hint='Restore the file, or write {"format": 1} into it if this folder is a region\'s',
        ) from error
    if known.format > FORMAT:
        raise InvalidInput(
            "data.newer",
            f"{path} was made by a newer version of Red Queen (format {known.format})",
            why=f"This version knows formats up to {FORMAT}; nothing was touched",
            hint="Install the newer version, or choose another folder with --data DIR",
        )
    if known.format < 1:
        raise InvalidInput("data.format", f"{mark}: format = {known.format}", why="it must be 1", hint="Restore it")
    return known


def _refuse_foreign(path: Path) -> None:
    if not path.exists():
        return
    try:
        found = sorted(entry.name for entry in path.iterdir() if entry.name not in _HARMLESS)
    except OSError as error:
        raise InvalidInput(
            "data.unreadable", f"{path} cannot be read", why=error.strerror or "", hint="Check its owner"
        ) from error
    if found:
        raise InvalidInput(
            "data.foreign",
            f"{path} is not a region's data folder",
            why=f"It holds other things ({', '.join(found[:3])}{', …' if len(found) > 3 else ''}) and no region.json",
            hint="Choose an empty or a new folder with --data DIR",
        )


def _create(path: Path, known: RegionFile) -> None:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in ("nodes", "logs", "uploads", "objects"):
        (path / folder).mkdir(exist_ok=True)
    write_json(path / "region.json", known)


def _writing(path: Path, action: Callable[[], None]) -> None:
    try:
        action()
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> InvalidInput | Exhausted:
    """Say why a data folder cannot be written: a full disk, or rights."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Exhausted(
            "data.disk_full", f"The disk of {path} is full", hint="Free some space, or choose another folder"
        )
    return InvalidInput(
        "data.not_writable",
        f"{path} cannot be written",
        why=error.strerror or str(error),
        hint="Choose a folder of your own with --data DIR",
    )


def write_json(path: Path, value: object, *, mode: int = 0o644) -> None:
    """Replace a small JSON file by rename, so that readers see the old or the new. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(fresh, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as output:
            output.write(msgspec.json.encode(value))
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def read_json(path: Path, into: type[_Known]) -> _Known | None:
    """Read a small JSON file that write_json made; None when it is absent or not understood."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=into)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def registry_key(data_dir: Path) -> bytes:
    """Return the region's secret for the registries' tokens (`registry.key`, 0600), made once. Raises OSError, Broken.

    Whoever comes first makes it, whole or not at all, so that a folder of an earlier version gets one too.
    """
    path = data_dir / "registry.key"
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        with open(fresh, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as output:
            output.write(secrets.token_hex(_KEY_BYTES // 2).encode())
            output.flush()
            os.fsync(output.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    key = path.read_bytes()
    if len(key) < _KEY_BYTES:  # an empty secret would open the registries to everybody here
        raise Broken("data.key", f"{path} is damaged", hint="Remove it and start the region again: it is made anew")
    return key


def read_supervisor(data_dir: Path) -> SupervisorFile | None:
    """Tell who last supervised the folder (perhaps dead by now), or None."""
    return read_json(data_dir / "supervisor.json", SupervisorFile)


@contextlib.contextmanager
def locked(data_dir: Path) -> Generator[None, None, None]:
    """Be the only supervisor of the folder until the block ends. Raises Conflict naming the other."""
    with (data_dir / "lock").open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _in_use(data_dir) from error
        yield


def _in_use(data_dir: Path) -> Conflict:
    other = read_supervisor(data_dir)
    if other is not None and not is_alive(ProcessId(other.pid, other.started_s)):
        other = None
    where = f" at {other.public_url}" if other else ""
    return Conflict(
        "data.in_use",
        f"A region already runs on {data_dir}{where}",
        why=f"Its supervisor is process {other.pid}" if other else "Another process is starting or ending it",
        hint=f"Use it as it is, end it with: redqueen down --data {data_dir}, or choose another --data",
    )
