"""Objects through obstore: a folder on one machine, S3 (or what speaks it) on many, memory in tests.

A folder moves files in and lends their own paths to engines; elsewhere files are uploaded whole, and downloaded to
scratch for as long as an engine reads them. Refuses keys that `object_keys.py` refuses and small objects
that are not small. Disk and network errors become ours here. Enter at `ObstoreObjects.folder` and `.from_url`.
"""

from __future__ import annotations

import errno
import re
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from redqueen.errors import Exhausted, InvalidInput, NotFound, RedQueenError, Unavailable
from redqueen.store.drivers.folder import Folder, check_source, missing
from redqueen.store.object_keys import checked_key, checked_prefix

if TYPE_CHECKING:
    from obstore import ObjectMeta  # exists for type checkers only

MAX_SMALL_BYTES = 64 << 20
_PIECE_BYTES = 8 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


class ObstoreObjects:
    """Immutable bytes under keys, in any store that obstore has."""

    def __init__(self, store: ObjectStore, *, scratch: Path, folder: Folder | None = None) -> None:
        """Keep objects in `store`; `folder` is the same store's place on this disk, where it has one."""
        self._store = store
        self._scratch = scratch
        self._folder = folder

    @classmethod
    def folder(cls, path: Path) -> ObstoreObjects:
        """Keep objects in the folder `path`, making it where missing. Raises Unavailable, Exhausted."""
        with _translated(str(path)):
            path.mkdir(parents=True, exist_ok=True)
            root = path.resolve()
            return cls(LocalStore(root), scratch=root, folder=Folder(root))

    @classmethod
    def from_url(cls, url: str, options: Mapping[str, str], scratch: Path) -> ObstoreObjects:
        """Keep objects at `url` (`s3://bucket/prefix`, `gs://`, `az://`), downloads in `scratch`.

        `options` are obstore's for that store, such as `aws_region` or `endpoint`. Raises InvalidInput.
        """
        settings: Any = dict(options)  # obstore types each cloud's keys apart; it checks them itself
        # Whoever names an http:// endpoint (a store in their own network) means it.
        plain = any(value.startswith("http://") for value in options.values())
        try:
            store = from_url(
                url,
                config=settings or None,
                client_options={"timeout": "120s", "connect_timeout": "5s", "allow_http": plain},
                retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=60)},
            )
        except (BaseError, ValueError, TypeError) as error:
            raise InvalidInput(
                "objects.url",
                f"Objects cannot be kept at {url}",
                why=_first_line(error),
                hint="Correct `objects.url` or `objects.options`; s3://bucket/prefix is accepted",
            ) from error
        if isinstance(store, LocalStore):
            raise InvalidInput("objects.url", f"{url} is a folder", hint="Leave `objects.url` empty to keep a folder")
        return cls(store, scratch=scratch)

    async def put(self, key: str, value: bytes) -> None:
        """Store small bytes; readers see the old or the new, never a part."""
        await self._at(key)
        with _translated(key):
            await obstore.put_async(self._store, key, value)

    async def put_file(self, key: str, path: Path) -> None:
        """Store the file at `path`, which is gone afterwards. Raises NotFound, InvalidInput, Exhausted."""
        checked_key(key)
        with _translated(key):
            if self._folder is not None:
                return await anyio.to_thread.run_sync(self._folder.take, key, path)
            check_source(path)
            await obstore.put_async(self._store, key, path, chunk_size=_PIECE_BYTES, max_concurrency=4)
            await anyio.Path(path).unlink(missing_ok=True)

    async def get(self, key: str) -> bytes:
        """Return small bytes, at most 64 MiB. Raises NotFound."""
        await self._at(key)
        with _translated(key):
            found = await obstore.get_async(self._store, key)
            if found.meta["size"] > MAX_SMALL_BYTES:
                raise InvalidInput("objects.size", f"{key} is too big to be read at once", hint="Read it as a file")
            return bytes(await found.bytes_async())

    def local(self, key: str) -> AbstractAsyncContextManager[Path]:
        """Give a path from which an engine may read the object. Raises NotFound."""
        checked_key(key)
        return self._lent(key, self._folder) if self._folder is not None else self._downloaded(key)

    async def exists(self, key: str) -> bool:
        """Tell whether there is such an object."""
        await self._at(key)
        try:
            with _translated(key):
                await obstore.head_async(self._store, key)
        except NotFound:
            return False
        return True

    async def list(self, prefix: str) -> AsyncIterator[str]:
        """Give the keys that begin with the folder `prefix` (empty: all), in no particular order."""
        folder = checked_prefix(prefix)
        with _translated(prefix):
            async for page in self._pages(folder):
                for found in page:
                    if not _is_unfinished(found["path"]):
                        yield found["path"]

    async def delete(self, key: str) -> None:
        """Remove an object; no error when there is none."""
        await self._at(key)
        with suppress(NotFound), _translated(key):
            await obstore.delete_async(self._store, key)

    async def delete_all(self, prefix: str) -> None:
        """Remove every object under the folder `prefix`; killed half-way, it is finished by doing it again."""
        folder = checked_key(prefix.removesuffix("/"))
        with _translated(prefix):
            if self._folder is not None:
                return await anyio.to_thread.run_sync(self._folder.remove_all, folder)
            async for page in self._pages(folder):
                await obstore.delete_async(self._store, [found["path"] for found in page])

    def _pages(self, folder: str) -> AsyncIterator[Sequence[ObjectMeta]]:
        return obstore.list(self._store, folder or None, chunk_size=500)  # pyright: ignore[reportUnknownMemberType]

    async def _at(self, key: str) -> None:
        checked_key(key)
        if self._folder is not None:
            with _translated(key):
                await anyio.to_thread.run_sync(self._folder.path, key)

    @asynccontextmanager
    async def _lent(self, key: str, folder: Folder) -> AsyncGenerator[Path]:
        with _translated(key):
            path = await anyio.to_thread.run_sync(folder.existing, key)
        yield path

    @asynccontextmanager
    async def _downloaded(self, key: str) -> AsyncGenerator[Path]:
        path = self._scratch / f"{uuid.uuid4().hex}-{key.rpartition('/')[2]}"
        try:
            with _translated(key):
                await self._download(key, path)
            yield path
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.Path(path).unlink(missing_ok=True)

    async def _download(self, key: str, path: Path) -> None:
        found = await obstore.get_async(self._store, key)
        await anyio.Path(path.parent).mkdir(parents=True, exist_ok=True)
        async with await anyio.open_file(path, "xb") as file:
            async for piece in found.stream(min_chunk_size=_PIECE_BYTES):
                await file.write(bytes(piece))


def _is_unfinished(key: str) -> bool:
    return any(segment.startswith(".") for segment in key.split("/"))


@contextmanager
def _translated(subject: str) -> Generator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        raise explained(error, subject) from error


def explained(error: Exception, subject: str) -> RedQueenError:
    """Say what an error of obstore or the system means for the caller."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (told := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(told[1])  # obstore hands errors of the system on as text only
    if isinstance(error, FileNotFoundError) or number == errno.ENOTDIR:
        return missing(subject)
    if number in (errno.EISDIR, errno.EEXIST):
        return InvalidInput(
            "objects.key", f"{subject} and another object are in each other's way", hint="Choose another key"
        )
    if number in _FULL:
        return Exhausted(
            "objects.full",
            f"{subject} cannot be stored",
            why="the disk (or its quota) is full",
            hint="Free space or delete titles; nothing was changed",
        )
    return Unavailable(
        "objects.unreachable",
        f"The object store failed at {subject}",
        why=_first_line(error),
        hint="Try again; check the folder's rights, or the address and the keys of the remote store",
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
