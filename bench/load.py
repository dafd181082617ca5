"""Work that is under way all the time while nodes are killed: an upload, and an encode.

Decides what "lost" and "same" mean: an upload is lost when sending it failed, or when the bytes that
the region keeps are not those of the file; an encode is the same when every media file has the
SHA-256 of the undisturbed one. Refuses nothing; it counts. Enter at `Uploads.run` and `Encodes.run`.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread

from redqueen.cli.client import ApiClient
from redqueen.cli.upload import examine
from redqueen.errors import RedQueenError
from redqueen.testing.region import Region, RegionFailed, remove, wait_for

_PIECE_BYTES = 256 << 10


def digest(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(region: Region, title_id: str) -> dict[str, str]:
    """Return the SHA-256 of each of a title's media files by its name within the build."""
    return {name: digest(path) for name, path in region.segments(title_id).items()}


@dataclass(slots=True)
class Uploads:
    """Sends one film after the other, each over `seconds`."""

    region: Region
    film: Path
    seconds: float
    whole: int = 0
    unchecked: int = 0
    """Whole, but their source was not there any more to be compared."""
    lost: list[str] = field(default_factory=list[str])

    async def run(self, ends_at: float) -> None:
        """Upload until `ends_at` (monotonic); the last upload is finished."""
        number = 0
        while time.monotonic() < ends_at:
            number += 1
            try:
                await anyio.to_thread.run_sync(self._once, number, ends_at)
                self.whole += 1
            except (RedQueenError, RegionFailed, OSError) as error:
                self.lost.append(f"upload {number}: {error}")

    def _once(self, number: int, ends_at: float) -> None:
        found = examine(self.film)
        pause_s = self.seconds / max(1, found.size_bytes / _PIECE_BYTES)

        def moved(done: int) -> None:
            if 0 < done < found.size_bytes and time.monotonic() < ends_at:
                time.sleep(pause_s)

        with self.region.api() as api:
            sender = self.region.sender(api, chunk_bytes=_PIECE_BYTES, patience_s=60.0)
            title_id = sender.send(found, title=f"Upload {number}", on_progress=moved).title_id
            wait_for(api, title_id, ("waiting", "encoding", "playable", "complete"), timeout_s=60)
            self._compare(title_id)
            remove(api, title_id)

    def _compare(self, title_id: str) -> None:
        source = self.region.data / "objects" / "sources" / title_id / "film"
        try:
            kept = digest(source)
        except FileNotFoundError:
            self.unchecked += 1
            return
        if kept != digest(self.film):
            raise RegionFailed(f"the region keeps other bytes in {source}")


@dataclass(slots=True)
class Encodes:
    """Publishes one film again and again and compares each encode with the undisturbed one."""

    region: Region
    film: Path
    reference: dict[str, str]
    same: int = 0
    different: list[str] = field(default_factory=list[str])
    unfinished: list[str] = field(default_factory=list[str])
    longest_s: float = 0.0

    async def run(self, ends_at: float, *, timeout_s: float = 900.0) -> None:
        """Encode until `ends_at` (monotonic); the last encode is finished."""
        number = 0
        while time.monotonic() < ends_at:
            number += 1
            began = time.monotonic()
            try:
                await anyio.to_thread.run_sync(self._once, number, timeout_s)
            except (RedQueenError, RegionFailed, OSError) as error:
                self.unfinished.append(f"encode {number}: {error}")
            self.longest_s = max(self.longest_s, time.monotonic() - began)

    def _once(self, number: int, timeout_s: float) -> None:
        with self.region.api() as api:
            title_id = self.region.publish_and_wait(api, self.film, f"Encode {number}", timeout_s=timeout_s)
            self._compare(number, digests(self.region, title_id))
            remove(api, title_id)

    def _compare(self, number: int, found: dict[str, str]) -> None:
        names = self.reference.keys() | found.keys()
        wrong = sorted(name for name in names if self.reference.get(name) != found.get(name))
        if not wrong:
            self.same += 1
            return
        self.different.append(f"encode {number}: {len(wrong)} of {len(names)} files differ: {', '.join(wrong[:5])}")


def undisturbed(region: Region, api: ApiClient, film: Path) -> dict[str, str]:
    """Encode a film twice while nobody is killed; return its digests. Raises RegionFailed when they differ."""
    found: list[dict[str, str]] = []
    for number in (1, 2):
        title_id = region.publish_and_wait(api, film, f"Undisturbed {number}", timeout_s=900)
        found.append(digests(region, title_id))
        remove(api, title_id)
    if not found[0] or found[0] != found[1]:
        raise RegionFailed("two undisturbed encodes of the same film differ: hashes cannot prove anything here")
    return found[0]
