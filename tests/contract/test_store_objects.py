"""What every object driver promises: a folder, and what obstore keeps elsewhere (here in memory)."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import anyio
import pytest

from redqueen.errors import Forbidden, InvalidInput, NotFound, Unavailable
from redqueen.store.drivers.memory import MemoryObjects
from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.store.ports import Objects

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["folder", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    return ObstoreObjects.folder(tmp_path / "made" / "objects") if request.param == "folder" else MemoryObjects()


@pytest.fixture
def folder(tmp_path: Path) -> ObstoreObjects:
    return ObstoreObjects.folder(tmp_path / "objects")


def _file(tmp_path: Path, content: bytes = b"film") -> Path:
    path = tmp_path / "upload"
    path.write_bytes(content)
    return path


async def _keys(objects: Objects, prefix: str) -> list[str]:
    return sorted([key async for key in objects.list(prefix)])


async def test_small_bytes_are_put_and_read_back(objects: Objects) -> None:
    await objects.put("media/t1/master.m3u8", b"old")
    await objects.put("media/t1/master.m3u8", b"new\0")
    assert await objects.get("media/t1/master.m3u8") == b"new\0"
    assert await objects.exists("media/t1/master.m3u8")


async def test_what_is_not_there_is_not_found(objects: Objects) -> None:
    await objects.put("media/t1/a.m4s", b"")
    for key in ("media/t1/b.m4s", "media/t1", "media/t1/a.m4s/deeper"):
        assert not await objects.exists(key)
        with pytest.raises(NotFound):
            await objects.get(key)
        with pytest.raises(NotFound):
            async with objects.local(key):
                pass


async def test_a_file_is_put_whole_and_is_gone_where_it_was(objects: Objects, tmp_path: Path) -> None:
    content = os.urandom(9 << 20)  # over one piece of a multipart upload
    path = _file(tmp_path, content)
    await objects.put_file("sources/t1/film", path)
    assert not path.exists()
    assert await objects.get("sources/t1/film") == content


async def test_a_file_replaces_an_object(objects: Objects, tmp_path: Path) -> None:
    await objects.put("sources/t1/film", b"old")
    await objects.put_file("sources/t1/film", _file(tmp_path, b"new"))
    assert await objects.get("sources/t1/film") == b"new"


async def test_a_file_that_cannot_be_stored_is_refused(objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await objects.put_file("sources/t1/film", tmp_path / "nothing")
    with pytest.raises(InvalidInput):
        await objects.put_file("sources/t1/film", tmp_path)
    assert not await objects.exists("sources/t1/film")


async def test_an_engine_reads_an_object_from_a_path(objects: Objects) -> None:
    await objects.put("sources/t1/film.mp4", b"film")
    async with objects.local("sources/t1/film.mp4") as path:
        assert path.name.endswith("film.mp4")
        assert await anyio.Path(path).read_bytes() == b"film"
    assert await objects.exists("sources/t1/film.mp4")


async def test_a_list_gives_a_folder_and_not_its_namesakes(objects: Objects) -> None:
    for key in ("media/t1/a", "media/t1/v/b", "media/t10/c", "media/t1.x", "work/t1/d"):
        await objects.put(key, b"")
    assert await _keys(objects, "media/t1") == ["media/t1/a", "media/t1/v/b"]
    assert await _keys(objects, "media/t1/") == ["media/t1/a", "media/t1/v/b"]
    assert len(await _keys(objects, "")) == 5
    assert await _keys(objects, "nothing") == []


async def test_deleting_removes_one_object_and_is_no_error_twice(objects: Objects) -> None:
    await objects.put("media/t1/a", b"")
    await objects.put("media/t1/b", b"")
    await objects.delete("media/t1/a")
    await objects.delete("media/t1/a")
    assert await _keys(objects, "media") == ["media/t1/b"]


async def test_deleting_a_folder_leaves_its_namesakes(objects: Objects) -> None:
    for key in ("media/t1/a", "media/t1/v/b", "media/t10/c"):
        await objects.put(key, b"")
    await objects.delete_all("media/t1/")
    await objects.delete_all("media/t1")
    assert await _keys(objects, "") == ["media/t10/c"]


BAD_KEYS = [
    "",
    "/a",
    "a/",
    "a//b",
    "..",
    "a/../b",
    "a/.b",
    ".",
    "a\0",
    "a\nb",
    "a\\b",
    "a%2fb",
    "a b",
    "é",
    "a" * 201,
    "/".join(["a" * 100] * 10),
]


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_a_bad_key_is_refused_everywhere(objects: Objects, key: str, tmp_path: Path) -> None:
    path = _file(tmp_path)
    for attempt in (
        lambda: objects.put(key, b""),
        lambda: objects.put_file(key, path),
        lambda: objects.get(key),
        lambda: objects.exists(key),
        lambda: objects.delete(key),
        lambda: objects.local(key).__aenter__(),
        lambda: objects.delete_all(f"{key}//" if key.endswith("/") else key),
        lambda: _keys(objects, f"{key}//" if not key or key.endswith("/") else key),
    ):
        with pytest.raises(InvalidInput):
            await attempt()
    assert path.exists()


async def test_readers_see_the_old_or_the_new_and_never_a_part(objects: Objects, tmp_path: Path) -> None:
    versions = {bytes([letter]) * 300_000 for letter in b"abcdef"}
    await objects.put("media/t1/x", b"a" * 300_000)
    seen: set[bytes] = set()
    done = anyio.Event()

    async def read() -> None:
        while not done.is_set():
            seen.add(await objects.get("media/t1/x"))

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        for number, version in enumerate(sorted(versions)):
            if number % 2:
                await objects.put("media/t1/x", version)
            else:
                await objects.put_file("media/t1/x", _file(tmp_path, version))
        done.set()
    assert seen <= versions


async def test_a_folder_lends_the_object_itself(folder: ObstoreObjects, tmp_path: Path) -> None:
    await folder.put("media/t1/a", b"x")
    async with folder.local("media/t1/a") as path:
        assert path == tmp_path / "objects/media/t1/a"


async def test_elsewhere_the_lent_copy_goes_when_its_reader_is_done(tmp_path: Path) -> None:
    remote = MemoryObjects()
    await remote.put("media/t1/a", b"x")
    with pytest.raises(RuntimeError):
        async with remote.local("media/t1/a") as path:
            assert path.exists()
            raise RuntimeError("the engine failed")
    assert not path.exists()


async def test_a_file_on_the_same_disk_is_moved_and_not_copied(folder: ObstoreObjects, tmp_path: Path) -> None:
    path = _file(tmp_path)
    number = path.stat().st_ino
    await folder.put_file("sources/t1/film", path)
    assert (tmp_path / "objects/sources/t1/film").stat().st_ino == number


async def test_a_file_behind_a_link_is_copied(folder: ObstoreObjects, tmp_path: Path) -> None:
    original = _file(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(original)
    await folder.put_file("sources/t1/film", link)
    assert original.read_bytes() == b"film"
    assert not link.is_symlink()
    assert not (tmp_path / "objects/sources/t1/film").is_symlink()


async def test_links_out_of_the_folder_are_not_followed(folder: ObstoreObjects, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_bytes(b"secret")
    (tmp_path / "objects/file").symlink_to(secret / "key")
    (tmp_path / "objects/dir").symlink_to(secret)
    for attempt in (
        lambda: folder.get("file"),
        lambda: folder.get("dir/key"),
        lambda: folder.local("file").__aenter__(),
        lambda: folder.local("dir/key").__aenter__(),
        lambda: folder.exists("dir/key"),
        lambda: folder.put("dir/new", b""),
        lambda: folder.put_file("dir/new", _file(tmp_path)),
        lambda: folder.delete("dir/key"),
        lambda: folder.delete_all("dir"),
    ):
        with pytest.raises(Forbidden):
            await attempt()
    assert [path.name for path in secret.iterdir()] == ["key"]


async def test_a_folder_cannot_hold_an_object_inside_or_in_place_of_another(
    folder: ObstoreObjects, tmp_path: Path
) -> None:
    await folder.put("media/t1/a", b"")
    for attempt in (
        lambda: folder.put("media/t1/a/b", b""),
        lambda: folder.put("media/t1", b""),
        lambda: folder.put_file("media/t1/a/b", _file(tmp_path)),
        lambda: folder.put_file("media/t1", _file(tmp_path)),
    ):
        with pytest.raises((InvalidInput, NotFound)):
            await attempt()
    assert await _keys(folder, "") == ["media/t1/a"]


async def test_unfinished_files_are_not_listed_and_go_with_their_folder(folder: ObstoreObjects, tmp_path: Path) -> None:
    await folder.put("media/t1/a", b"")
    (tmp_path / "objects/media/t1/.incoming-1").write_bytes(b"half")
    (tmp_path / "objects/media/t1/b#1").write_bytes(b"half")
    assert await _keys(folder, "media") == ["media/t1/a"]
    await folder.delete_all("media/t1")
    assert not (tmp_path / "objects/media/t1").exists()


def test_an_address_makes_a_remote_store_without_calling_it(tmp_path: Path) -> None:
    ObstoreObjects.from_url("s3://bucket/prefix", {"aws_region": "eu-west-1"}, tmp_path)


async def test_a_remote_store_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        options = {
            "endpoint": f"http://127.0.0.1:{taken.getsockname()[1]}",
            "aws_region": "x",
            "aws_access_key_id": "name",
            "aws_secret_access_key": "hush-hush",
        }
        remote = ObstoreObjects.from_url("s3://bucket", options, tmp_path)
        with pytest.raises(Unavailable) as refused:
            await remote.put("media/t1/a", b"x")
    assert refused.value.code == "objects.unreachable"
    assert "hush-hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [("nonsense", {}), ("ftp://host/a", {}), ("file:///tmp/x", {}), ("s3://bucket", {"no_such_option": "1"})],
)
def test_an_address_that_is_no_store_is_refused(url: str, options: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        ObstoreObjects.from_url(url, options, tmp_path)
    assert refused.value.code == "objects.url"
