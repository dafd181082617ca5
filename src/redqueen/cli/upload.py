"""Sends a film to the region by the resumable tus protocol, over dying nodes and broken connections.

Decides when to go on and when to give up: after any failure the region is asked how much it has,
and sending goes on from there; only `patience_s` seconds without a new byte end it. What was begun
is remembered in the user's cache folder, so that a later run of the same file goes on too.
Refuses, before anything is sent, what cannot be a film: no file, a folder, nothing in it, not
readable. Source: tus.io/protocols/resumable-upload 1.0.0. Enter at `examine` and `Sender.send`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlsplit

import msgspec

from redqueen.cli.client import ApiClient
from redqueen.errors import (
    Broken,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    RedQueenError,
    Unavailable,
)

CHUNK_BYTES: Final = 8 << 20
_TUS: Final = {"tus-resumable": "1.0.0"}
_PASSING: Final = (Unavailable, Broken, Conflict)


@dataclass(frozen=True, slots=True)
class Film:
    """A file to publish, as it was when it was looked at."""

    path: Path
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """A whole upload: its title, where sending began, and when the last byte had been sent (monotonic seconds)."""

    title_id: str
    resumed_at_bytes: int
    last_byte_at: float


class Begun(msgspec.Struct, frozen=True):
    """An upload under way, as it is remembered between runs."""

    upload: str
    title_id: str


def examine(path: Path) -> Film:
    """Look at a file and refuse what cannot be published. Raises NotFound, Forbidden, InvalidInput."""
    try:
        facts = path.stat()
        if stat.S_ISREG(facts.st_mode):
            path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound("film.missing", f"There is no file {path}", hint="Check the name and the folder") from error
    except PermissionError as error:
        raise Forbidden(
            "film.unreadable", f"{path} cannot be read", why="its permissions forbid it", hint=f"Try: chmod u+r {path}"
        ) from error
    except (OSError, ValueError) as error:
        raise InvalidInput("film.unusable", f"{path} cannot be opened", why=str(error), hint="Check it") from error
    if not stat.S_ISREG(facts.st_mode):
        kind = "a folder" if stat.S_ISDIR(facts.st_mode) else "no regular file"
        raise InvalidInput("film.not_a_file", f"{path} is {kind}", hint="Name the film files themselves")
    if facts.st_size == 0:
        raise InvalidInput("film.empty", f"{path} is empty", why="it has 0 bytes", hint="Was it copied completely?")
    return Film(path.absolute(), facts.st_size, facts.st_mtime_ns)


class Memory:
    """Uploads under way, one small file each in a folder of the user's."""

    def __init__(self, folder: Path | None = None) -> None:
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        self._folder = folder or Path(cache) / "redqueen" / "uploads"

    def recall(self, key: str) -> Begun | None:
        """Return the upload remembered under `key`; a damaged or unreadable note counts as none."""
        try:
            return msgspec.json.decode((self._folder / key).read_bytes(), type=Begun)
        except (OSError, msgspec.MsgspecError):
            return None

    def remember(self, key: str, begun: Begun) -> None:
        """Note an upload, readable by its owner alone; a disk that refuses only costs the resumption."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            spare = self._folder / f".{key}.{os.getpid()}"
            spare.touch(mode=0o600)
            spare.write_bytes(msgspec.json.encode(begun))
            spare.replace(self._folder / key)

    def forget(self, key: str) -> None:
        """Remove a note."""
        with contextlib.suppress(OSError):
            (self._folder / key).unlink()


def key_of(film: Film, region: str, title: str) -> str:
    """Name an upload by what it is of: region, file, its size and time, and the title asked for."""
    parts = (region.encode(), os.fsencode(film.path), f"{film.size_bytes} {film.modified_ns}".encode(), title.encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


class Sender:
    """Sends films over one client; `region` names the region in the memory (its data folder)."""

    def __init__(
        self,
        api: ApiClient,
        *,
        region: str,
        memory: Memory | None = None,
        patience_s: float = 60.0,
        chunk_bytes: int = CHUNK_BYTES,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = api
        self._region = region
        self._memory = memory or Memory()
        self._patience_s = patience_s
        self._chunk_bytes = chunk_bytes
        self._pause = pause

    def send(
        self,
        film: Film,
        *,
        title: str = "",
        on_begun: Callable[[str], None] | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Receipt:
        """Send all of `film`, going on where an earlier run stopped.

        `on_begun` gets the title's id before the first byte, `on_progress` the bytes that the region has.
        Raises Unavailable after `patience_s` seconds without progress, InvalidInput when the file
        changes meanwhile, and whatever the API refuses.
        """
        key = key_of(film, self._region, title)
        begun, offset = self._resumed(key, film) or (self._create(film, title), 0)
        self._memory.remember(key, begun)
        if on_begun is not None:
            on_begun(begun.title_id)
        with film.path.open("rb") as source:
            self._send_rest(film, source, begun, offset, on_progress or (lambda done: None))
        last_byte_at = time.monotonic()
        self._memory.forget(key)
        return Receipt(begun.title_id, offset, last_byte_at)

    def _resumed(self, key: str, film: Film) -> tuple[Begun, int] | None:
        begun = self._memory.recall(key)
        if begun is None:
            return None
        try:
            return begun, self._offset(begun, film)
        except NotFound:
            self._memory.forget(key)
            return None

    def _create(self, film: Film, title: str) -> Begun:
        told = {"filename": os.fsencode(film.path.name)} | ({"title": title.encode()} if title else {})
        metadata = ",".join(f"{name} {base64.b64encode(value).decode()}" for name, value in told.items())
        headers = {**_TUS, "upload-length": str(film.size_bytes), "upload-metadata": metadata}
        # Repeated when its answer is lost: the first upload then stays empty and expires by itself.
        answer = self._api.request("POST", "/uploads", headers=headers, again=True)
        try:
            return Begun(urlsplit(answer.headers["location"]).path, answer.headers["redqueen-title"])
        except KeyError as error:
            raise Broken("upload.answer", f"The region's answer to an upload lacks {error}") from error

    def _send_rest(
        self, film: Film, source: BinaryIO, begun: Begun, offset: int, on_progress: Callable[[int], None]
    ) -> None:
        heard_at, wait_s = time.monotonic(), 0.1
        on_progress(offset)
        while offset < film.size_bytes:
            try:
                reached = self._patch(film, source, begun, offset)
            except _PASSING as error:
                self._pause(wait_s)
                wait_s = min(2 * wait_s, 2.0)
                reached = self._reached(film, begun, offset, error, heard_at)
            if reached > offset:
                heard_at, wait_s = time.monotonic(), 0.1
            offset = reached
            on_progress(offset)

    def _reached(self, film: Film, begun: Begun, offset: int, cause: RedQueenError, heard_at: float) -> int:
        """Ask how much the region has; the old offset while it cannot say. Raises Unavailable when out of patience."""
        try:
            reached = self._offset(begun, film)
        except _PASSING as error:
            reached, cause = offset, error
        if reached <= offset and time.monotonic() - heard_at > self._patience_s:
            raise Unavailable(
                "upload.interrupted",
                f"{film.path.name} was sent up to byte {offset} of {film.size_bytes} only",
                why=str(cause),
                hint="Run the same command again: it goes on from there",
            ) from cause
        return reached

    def _patch(self, film: Film, source: BinaryIO, begun: Begun, offset: int) -> int:
        source.seek(offset)
        piece = source.read(min(self._chunk_bytes, film.size_bytes - offset))
        if not piece or os.fstat(source.fileno()).st_mtime_ns != film.modified_ns:
            raise InvalidInput(
                "film.changed",
                f"{film.path} changed while it was being sent",
                hint="Wait until it is complete, then run the same command again",
            )
        headers = {**_TUS, "upload-offset": str(offset), "content-type": "application/offset+octet-stream"}
        answer = self._api.request("PATCH", begun.upload, content=piece, headers=headers)
        return self._told(answer.headers.get("upload-offset", ""), film)

    def _offset(self, begun: Begun, film: Film) -> int:
        answer = self._api.request("HEAD", begun.upload, headers=_TUS)
        return self._told(answer.headers.get("upload-offset", ""), film)

    def _told(self, text: str, film: Film) -> int:
        if not text.isdigit() or int(text) > film.size_bytes:
            raise Broken("upload.offset", f"The region says it has {text!r} bytes of {film.size_bytes}")
        return int(text)
