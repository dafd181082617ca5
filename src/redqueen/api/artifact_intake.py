"""How an artifact comes in: one body, streamed to a spool file, checked whole, then kept under its digest.

Refuses a body that is larger than artifacts may be (before it is read, where its length is told),
ends in the middle, or is not what its digest says; nothing of it is left then. What a killed node
left behind goes with the next artifact. Enter at `ArtifactIntake.receive`.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

from anyio import to_thread

from redqueen.api.spool import full_disk
from redqueen.delivery.artifact import BOUNDS, Bounds
from redqueen.delivery.artifacts import Artifacts, key
from redqueen.delivery.manifest import Manifest
from redqueen.delivery.model import Artifact
from redqueen.errors import Exhausted, InvalidInput

_LEFT_BEHIND_S = 3600.0


class ArtifactIntake:
    """Artifacts on their way in, and those that are kept."""

    def __init__(self, artifacts: Artifacts, folder: Path, bounds: Bounds = BOUNDS) -> None:
        """Spool in `folder`, keep in `artifacts`."""
        self._artifacts = artifacts
        self._folder = folder
        self._bounds = bounds

    async def receive(self, digest: str, length: int | None, pieces: AsyncIterator[bytes]) -> Artifact:
        """Take a packed artifact of `length` bytes (None: not told). Raises InvalidInput, NotFound, Exhausted."""
        key(digest)
        self._check_size(length or 0)
        path = await to_thread.run_sync(self._fresh)
        try:
            size = await self._spooled(path, pieces)
            if length is not None and size != length:
                raise InvalidInput(
                    "release.truncated", f"{size} of {length} bytes arrived", hint="Send the artifact again"
                )
            return await self._artifacts.keep(path, digest)
        finally:
            path.unlink(missing_ok=True)

    async def find(self, digest: str) -> Artifact:
        """Return what is kept under a digest. Raises NotFound."""
        return await self._artifacts.find(digest)

    async def manifest(self, digest: str) -> Manifest:
        """Return what a kept artifact says of itself. Raises NotFound, InvalidInput."""
        return await self._artifacts.manifest(digest)

    async def _spooled(self, path: Path, pieces: AsyncIterator[bytes]) -> int:
        size = 0
        with path.open("wb") as file:
            async for piece in pieces:
                size += len(piece)
                self._check_size(size)
                await to_thread.run_sync(_written, file.fileno(), piece)
            await to_thread.run_sync(os.fsync, file.fileno())
        return size

    def _check_size(self, size: int) -> None:
        if size > self._bounds.size_bytes:
            raise Exhausted(
                "release.too_large",
                f"The artifact has more than {self._bounds.size_bytes} bytes",
                hint="Exclude what the service does not need",
            )

    def _fresh(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in self._folder.glob("*.part"):
            if time.time() - old.stat().st_mtime > _LEFT_BEHIND_S:
                old.unlink(missing_ok=True)
        return self._folder / f"{secrets.token_hex(16)}.part"


def _written(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        raise full_disk("while an artifact arrived") from error
