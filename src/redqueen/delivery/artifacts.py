"""Artifacts in the object store, under the digest of their bytes: the same folder is kept once.

Refuses bytes that are not what their digest says, and whatever `artifact.py` refuses, before they
are kept. Whoever sends an artifact or asks for one marks it for ASKED_S; only one without a mark
can be removed, and while it is nobody else is given it: what is about to be shipped stays. Enter
at `Artifacts`.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from anyio import to_thread

from redqueen.delivery.artifact import examined, manifest_of
from redqueen.delivery.manifest import FILE, Manifest, parsed
from redqueen.delivery.model import Artifact
from redqueen.errors import InvalidInput, NotFound, Unavailable
from redqueen.store.ports import ABSENT, Delete, Objects, Put, Records

ASKED: Final = "delivery/artifacts"
ASKED_S: Final = 86_400.0
"""Seconds for which an artifact stays that nobody shipped: a maker may be about to."""
_GOING: Final = b"going"
_GOING_S: Final = 60.0
"""Seconds after which a removal whose node died no longer stands in anybody's way."""
_FOLDER, _END = "artifacts", ".tar"
_TRIES = 8


class Artifacts:
    """What was sent to be shipped; `records` know what was asked for of late."""

    def __init__(self, objects: Objects, records: Records) -> None:
        self._objects = objects
        self._records = records

    async def keep(self, packed: Path, digest: str = "") -> Artifact:
        """Keep a packed file, which is gone afterwards. Raises InvalidInput, Exhausted.

        `digest` is what its sender says that it is; empty: whatever it is.
        """
        found = await to_thread.run_sync(examined, packed)
        if digest not in ("", found.digest):
            raise InvalidInput(
                "release.digest",
                "The artifact is not what was sent",
                why=f"its SHA-256 is {found.digest}, not {digest[:64]}",
                hint="Send it again",
            )
        await self._ask(found.digest)
        await self._objects.put_file(key(found.digest), packed)
        return found

    async def find(self, digest: str) -> Artifact:
        """Return what is kept under a digest. Raises NotFound."""
        await self._ask(digest)
        async with self.packed(digest) as path:
            return await to_thread.run_sync(examined, path)

    async def manifest(self, digest: str) -> Manifest:
        """Return the manifest in a kept artifact. Raises NotFound, InvalidInput."""
        await self._ask(digest)
        async with self.packed(digest) as path:
            return parsed(await to_thread.run_sync(manifest_of, path), FILE)

    def packed(self, digest: str) -> AbstractAsyncContextManager[Path]:
        """Give a path from which a kept artifact may be read. Raises NotFound."""
        return self._objects.local(key(digest))

    async def all(self) -> list[str]:
        """Return the digests of all that are kept, in no particular order."""
        return [found async for one in self._objects.list(_FOLDER) if (found := _digest(one))]

    async def remove_unasked(self, digest: str) -> bool:
        """Remove an artifact, unless somebody asked for it of late: then False."""
        claim = await self._records.put(ASKED, Put(digest, _GOING, when=ABSENT, ttl_s=_GOING_S))
        if claim is None:
            return False
        await self._objects.delete(key(digest))
        await self._records.delete(ASKED, Delete(digest, when=claim.version))
        return True

    async def _ask(self, digest: str) -> None:
        """Mark an artifact as asked for. Raises NotFound for what is no digest, Unavailable while it is removed."""
        key(digest)
        for _ in range(_TRIES):
            known = await self._records.get(ASKED, digest)
            if known is not None and known.value == _GOING:
                break
            when = ABSENT if known is None else known.version
            if await self._records.put(ASKED, Put(digest, b"", when=when, ttl_s=ASKED_S)) is not None:
                return
        raise Unavailable(
            "release.artifact_busy", f"The artifact {digest[:12]} is just being removed", hint="Send it again"
        )


def _digest(stored: str) -> str:
    """Return the digest under which an object is kept; empty for what is no artifact."""
    digest = stored.removeprefix(f"{_FOLDER}/").removesuffix(_END)
    return digest if _is_digest(digest) and stored == f"{_FOLDER}/{digest}{_END}" else ""


def _is_digest(text: str) -> bool:
    return len(text) == 64 and not set(text) - set("0123456789abcdef")


def key(digest: str) -> str:
    """Return where an artifact lies in the objects. Raises NotFound for what is no digest."""
    if not _is_digest(digest):
        raise NotFound("release.artifact_unknown", f"There is no artifact {digest[:70]}", hint="Send it first")
    return f"{_FOLDER}/{digest}{_END}"
