"""Whose a data folder is, and when it is refused."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import msgspec
import pytest

from redqueen.errors import Broken, Conflict, Exhausted, InvalidInput
from redqueen.fleet.datadir import (
    FORMAT,
    RegionFile,
    SupervisorFile,
    default_data_dir,
    locked,
    open_data_dir,
    read_json,
    read_region,
    registry_key,
    unwritable,
    write_json,
)
from redqueen.fleet.nodefiles import myself


def test_a_new_folder_becomes_a_regions(tmp_path: Path) -> None:
    made = open_data_dir(tmp_path / "deep" / "data", name="home")
    assert (made.format, made.name) == (FORMAT, "home")
    assert open_data_dir(tmp_path / "deep" / "data") == made
    assert sorted(path.name for path in (tmp_path / "deep" / "data").iterdir()) == [
        "logs",
        "nodes",
        "objects",
        "region.json",
        "uploads",
    ]


def test_settings_may_be_there_before_the_region(tmp_path: Path) -> None:
    (tmp_path / "redqueen.toml").write_text("port = 9000")
    (tmp_path / "lost+found").mkdir()
    assert open_data_dir(tmp_path).format == FORMAT


def test_a_newer_format_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    (tmp_path / "region.json").write_text(json.dumps({"format": FORMAT + 1, "new_field": 1}))
    with pytest.raises(InvalidInput, match="newer version") as caught:
        open_data_dir(tmp_path)
    assert caught.value.code == "data.newer"
    assert [path.name for path in tmp_path.iterdir()] == ["region.json"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": "x"}', b"\xff\xfe", b"[]"])
def test_a_damaged_mark_is_refused_and_nothing_is_touched(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "region.json").write_bytes(content)
    with pytest.raises(Broken, match="damaged"):
        open_data_dir(tmp_path)
    assert (tmp_path / "region.json").read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 1


def test_a_format_below_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "region.json").write_text('{"format": 0}')
    with pytest.raises(InvalidInput):
        read_region(tmp_path)


def test_a_folder_with_other_things_is_refused_and_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "thesis.odt").touch()
    with pytest.raises(InvalidInput, match=r"thesis\.odt"):
        open_data_dir(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").touch()
    with pytest.raises(InvalidInput, match="not a folder"):
        open_data_dir(tmp_path / "film.mp4")


def test_a_folder_under_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").touch()
    with pytest.raises(InvalidInput):
        open_data_dir(tmp_path / "film.mp4" / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InvalidInput, match="cannot be written"):
        open_data_dir(tmp_path)
    tmp_path.chmod(0o700)


def test_a_full_disk_is_not_a_matter_of_rights(tmp_path: Path) -> None:
    assert isinstance(unwritable(tmp_path, OSError(errno.ENOSPC, "No space left on device")), Exhausted)
    assert isinstance(unwritable(tmp_path, OSError(errno.EROFS, "Read-only file system")), InvalidInput)


def test_only_one_may_hold_the_lock_and_the_other_is_named(tmp_path: Path) -> None:
    me = myself()
    write_json(tmp_path / "supervisor.json", SupervisorFile(me.pid, me.started_s, "http://127.0.0.1:1"))
    with locked(tmp_path):
        with pytest.raises(Conflict) as caught, locked(tmp_path):
            pass
        assert f"process {os.getpid()}" in str(caught.value)
        assert "http://127.0.0.1:1" in str(caught.value)
    with locked(tmp_path):
        pass


def test_a_dead_supervisor_is_not_named_as_the_holder(tmp_path: Path) -> None:
    write_json(tmp_path / "supervisor.json", SupervisorFile(os.getpid(), 1.0, "http://127.0.0.1:1"))
    with locked(tmp_path), pytest.raises(Conflict) as caught, locked(tmp_path):
        pass
    assert "http://127.0.0.1:1" not in str(caught.value)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"n": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", object())
    assert read_json(tmp_path / "a.json", dict) == {"n": 1}
    write_json(tmp_path / "secret.json", {}, mode=0o600)
    assert (tmp_path / "secret.json").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none.json", dict) is None
    (tmp_path / "bad.json").write_bytes(b"\xff")
    assert read_json(tmp_path / "bad.json", RegionFile) is None
    assert msgspec.json.decode(b'{"format": 1}', type=RegionFile).format == 1


def test_the_default_folder_follows_the_environment() -> None:
    home = Path("/home/u")
    assert default_data_dir({}, home) == Path("/home/u/.local/share/redqueen")
    assert default_data_dir({"XDG_DATA_HOME": "/x"}, home) == Path("/x/redqueen")
    assert default_data_dir({"XDG_DATA_HOME": "/x", "REDQUEEN_DATA": "/d"}, home) == Path("/d")


def test_the_registrys_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    key = registry_key(tmp_path)
    assert len(key) == 64 and registry_key(tmp_path) == key
    assert (tmp_path / "registry.key").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["registry.key"]


def test_an_empty_key_is_refused_since_it_would_open_the_registries(tmp_path: Path) -> None:
    (tmp_path / "registry.key").write_bytes(b"")
    with pytest.raises(Broken, match="is damaged"):
        registry_key(tmp_path)
