"""Files that come from another filesystem, and errors of obstore that come as text."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from obstore.exceptions import GenericError

from redqueen.errors import Exhausted, RedQueenError, Unavailable
from redqueen.store.drivers.folder import Folder
from redqueen.store.drivers.objects import explained


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this system has no second filesystem to write to")
    folder = Path(tempfile.mkdtemp(dir=shm))
    yield folder
    shutil.rmtree(folder)


def test_a_file_from_another_filesystem_arrives_whole(elsewhere: Path, tmp_path: Path) -> None:
    source = elsewhere / "film"
    source.write_bytes(b"film" * 100_000)
    Folder(tmp_path.resolve()).take("sources/t1/film", source)
    assert (tmp_path / "sources/t1/film").read_bytes() == b"film" * 100_000
    assert not source.exists()
    assert [path.name for path in (tmp_path / "sources/t1").iterdir()] == ["film"]


def test_a_copy_that_breaks_off_leaves_no_part_and_keeps_the_source(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(source: Path, goal: Path) -> None:
        goal.write_bytes(b"fi")
        raise OSError(errno.EIO, "the disk has gone")

    source = elsewhere / "film"
    source.write_bytes(b"film")
    monkeypatch.setattr(shutil, "copyfile", broken)
    with pytest.raises(OSError, match="the disk has gone"):
        Folder(tmp_path.resolve()).take("sources/t1/film", source)
    assert source.exists()
    assert list((tmp_path / "sources/t1").iterdir()) == []


def test_a_folder_goes_although_somebody_still_stores_into_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "media/t1"
    folder.mkdir(parents=True)
    (folder / "a").touch()
    late, rmdir = iter(("b", "c")), os.rmdir

    def beaten(path: str, **more: Any) -> None:
        for name in late:
            (folder / name).touch()
            break
        rmdir(path, **more)

    monkeypatch.setattr(os, "rmdir", beaten)
    Folder(tmp_path.resolve()).remove_all("media/t1")
    assert not folder.exists()
    assert next(late, "none") == "none"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), Exhausted),
        (GenericError("Unable to write: No space left on device (os error 28)\n\nDebug source:"), Exhausted),
        (GenericError("Disk quota exceeded (os error 122)"), Exhausted),
        (GenericError("connection refused\n\nDebug source: token=secret"), Unavailable),
        (OSError(errno.EACCES, "Permission denied"), Unavailable),
    ],
)
def test_errors_say_whether_the_disk_is_full(error: Exception, kind: type[RedQueenError]) -> None:
    told = explained(error, "media/t1/a")
    assert type(told) is kind
    assert "secret" not in str(told)
