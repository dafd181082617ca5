"""Releases on the disk: whole or not there, read-only, gone when nobody needs them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import anyio
import pytest

from redqueen.delivery.artifact import pack
from redqueen.delivery.artifacts import Artifacts
from redqueen.errors import InvalidInput, NotFound
from redqueen.roles.releases import YOUNG_S, ReleaseFolders
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


class Shop:
    """Where artifacts are kept and unpacked; the clock begins at now, since folders carry the disk's times."""

    def __init__(self, root: Path) -> None:
        self.root = root
        objects = ObstoreObjects.folder(root / "objects")
        self.clock = VirtualClock((root / "objects").stat().st_ctime)
        self.artifacts = Artifacts(objects, MemoryRecords(self.clock))
        self.folders = ReleaseFolders(root, self.artifacts, self.clock)

    def packed(self, text: str) -> tuple[Path, str]:
        source = self.root / "source"
        (source / "bin").mkdir(parents=True, exist_ok=True)
        (source / "bin" / "run").write_text(text)
        (source / "bin" / "run").chmod(0o755)
        path = self.root / "packed.tar"
        with path.open("wb") as out:
            return path, pack(source, ["bin/run"], out).digest

    async def keep(self, text: str) -> str:
        path, digest = self.packed(text)
        return (await self.artifacts.keep(path, digest)).digest

    @property
    def there(self) -> list[str]:
        return sorted(path.name for path in (self.root / "releases").iterdir())


async def test_an_artifact_is_unpacked_once_and_nothing_in_it_may_be_written(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    digest = await shop.keep("one")
    found: list[Path] = []

    async def unpack() -> None:
        found.append(await shop.folders.unpacked(digest))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(unpack)
    assert set(found) == {tmp_path / "releases" / digest}
    assert shop.there == [digest], "what was slower left nothing behind"
    program = found[0] / "bin" / "run"
    assert program.read_text() == "one"
    assert os.access(program, os.X_OK)
    for path in (program, program.parent, found[0]):
        assert not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)


async def test_what_is_not_needed_goes_once_it_is_not_young_any_more(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    kept, gone = await shop.keep("one"), await shop.keep("two")
    for digest in (kept, gone):
        await shop.folders.unpacked(digest)
    (tmp_path / "releases" / ".unfinished").mkdir()
    await shop.folders.keep_only({kept})
    assert len(shop.there) == 3
    shop.clock.advance(YOUNG_S + 60)
    await shop.folders.keep_only({kept})
    assert shop.there == [kept]
    assert (await shop.folders.unpacked(gone)).is_dir(), "its bytes are still in the objects"


async def test_what_is_not_what_its_digest_says_is_not_kept(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    path, _ = shop.packed("one")
    with pytest.raises(InvalidInput, match="not what was sent"):
        await shop.artifacts.keep(path, "0" * 64)
    for digest in ("0" * 64, "../../etc/passwd", "A" * 64):
        with pytest.raises(NotFound):
            await shop.folders.unpacked(digest)
