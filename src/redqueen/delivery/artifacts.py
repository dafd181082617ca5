"""Artifacts in the object store, under the digest of their bytes: the same folder is kept once.

Refuses bytes that are not what their digest says, and whatever `artifact.py` refuses, before they
are kept. Enter at `Artifacts`.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from anyio import to_thread

from redqueen.delivery.artifact import examined, manifest_of
from redqueen.delivery.manifest import FILE, Manifest, parsed
from redqueen.delivery.model import Artifact
from redqueen.errors import InvalidInput, NotFound
from redqueen.store.ports import Objects


class Artifacts:
    """What was sent to be shipped."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

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
        await self._objects.put_file(key(found.digest), packed)
        return found

    async def find(self, digest: str) -> Artifact:
        """Return what is kept under a digest. Raises NotFound."""
        async with self.packed(digest) as path:
            return await to_thread.run_sync(examined, path)

    async def manifest(self, digest: str) -> Manifest:
        """Return the manifest in a kept artifact. Raises NotFound, InvalidInput."""
        async with self.packed(digest) as path:
            return parsed(await to_thread.run_sync(manifest_of, path), FILE)

    def packed(self, digest: str) -> AbstractAsyncContextManager[Path]:
        """Give a path from which a kept artifact may be read. Raises NotFound."""
        return self._objects.local(key(digest))


def key(digest: str) -> str:
    """Return where an artifact lies in the objects. Raises NotFound for what is no digest."""
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise NotFound("release.artifact_unknown", f"There is no artifact {digest[:70]}", hint="Send it first")
    return f"artifacts/{digest}.tar"
