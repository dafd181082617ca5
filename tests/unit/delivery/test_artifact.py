"""Artifacts: the same bytes for the same folder; nothing unpacked that is not a file or a folder within."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from redqueen.delivery.artifact import BOUNDS, Bounds, entries, examined, manifest_of, pack, unpack
from redqueen.errors import Exhausted, InvalidInput, RedQueenError

SMALL = Bounds(size_bytes=1 << 20, file_bytes=1 << 16, files=50, depth=5)


def packed(folder: Path, paths: list[str], bounds: Bounds = BOUNDS) -> bytes:
    out = io.BytesIO()
    pack(folder, paths, out, bounds)
    return out.getvalue()


def written(folder: Path, files: dict[str, bytes]) -> list[str]:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return list(files)


def tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as file:
        for info, data in members:
            file.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(name: str, data: bytes = b"x", *, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = "") -> tuple[tarfile.TarInfo, bytes]:  # fmt: skip  # noqa: E501
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = kind, mode, link
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    return info, data


def test_the_same_folder_gives_the_same_bytes_whatever_its_times_order_and_owner(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    files = {"b/run.py": b"print()", "a.txt": b"", "c": b"x" * 1000}
    paths = written(one, files)
    written(other, dict(reversed(files.items())))
    os.utime(other / "c", (1, 1))
    assert packed(one, paths) == packed(other, list(reversed(paths)))


def test_what_was_packed_is_unpacked_again_with_its_executables(tmp_path: Path) -> None:
    paths = written(
        tmp_path / "in", {"run.sh": b"#!/bin/sh\n", "deep/er/data.bin": bytes(range(256)) * 40, "empty": b""}
    )
    (tmp_path / "in" / "run.sh").chmod(0o700)
    file = tmp_path / "a.tar"
    with file.open("wb") as out:
        artifact = pack(tmp_path / "in", paths, out)
    assert artifact == examined(file)
    assert artifact.digest == hashlib.sha256(file.read_bytes()).hexdigest() and artifact.files == 3
    unpack(file, tmp_path / "out")
    for path in paths:
        assert (tmp_path / "out" / path).read_bytes() == (tmp_path / "in" / path).read_bytes()
    assert stat.S_IMODE((tmp_path / "out" / "run.sh").stat().st_mode) & 0o111
    assert not stat.S_IMODE((tmp_path / "out" / "empty").stat().st_mode) & 0o111


def test_tar_itself_can_read_and_write_artifacts(tmp_path: Path) -> None:
    written(tmp_path / "in", {"redqueen.toml": b"service = 1", "sub/file": b"x"})
    file = tmp_path / "a.tar"
    with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as out:
        out.add(tmp_path / "in", arcname=".")
    assert manifest_of(file) == b"service = 1"
    unpack(file, tmp_path / "out")
    assert (tmp_path / "out" / "sub" / "file").read_bytes() == b"x"


HOSTILE: list[tuple[str, Callable[[], bytes], str]] = [
    ("an absolute path", lambda: tar(member("/etc/cron.d/x")), "absolute"),
    ("a way out", lambda: tar(member("../x")), "out of the folder"),
    ("a way out from within", lambda: tar(member("a/../../x")), "out of the folder"),
    ("a folder outside", lambda: tar(member("../x", b"", kind=tarfile.DIRTYPE)), "out of the folder"),
    ("an empty part", lambda: tar(member("a//b")), "empty part"),
    ("a dot", lambda: tar(member("a/./b")), "empty part"),
    ("a symbolic link", lambda: tar(member("a", kind=tarfile.SYMTYPE, link="/etc/passwd")), "symbolic link"),
    ("a hard link", lambda: tar(member("a", kind=tarfile.LNKTYPE, link="b")), "hard link"),
    ("a character device", lambda: tar(member("a", kind=tarfile.CHRTYPE)), "device"),
    ("a block device", lambda: tar(member("a", kind=tarfile.BLKTYPE)), "device"),
    ("a pipe", lambda: tar(member("a", kind=tarfile.FIFOTYPE)), "pipe"),
    ("a sparse file", lambda: tar(member("a", kind=tarfile.GNUTYPE_SPARSE)), "sparse"),
    ("a kind nobody knows", lambda: tar(member("a", kind=b"Z")), "unknown kind"),
    ("set-user-id", lambda: tar(member("a", mode=0o4755)), "4755"),
    ("set-group-id", lambda: tar(member("a", mode=0o2755)), "2755"),
    ("a sticky folder", lambda: tar(member("a", b"", kind=tarfile.DIRTYPE, mode=0o1777)), "1777"),
    ("a file twice", lambda: tar(member("a"), member("a")), "twice"),
    ("a file that is a folder", lambda: tar(member("a"), member("a/b")), "is a file"),
    ("a folder that is a file", lambda: tar(member("a/b"), member("a")), "twice"),
    ("a line break", lambda: tar(member("a\nb")), "unprintable"),
    ("an escape", lambda: tar(member("a\x1b[2Jb")), "unprintable"),
    ("a backslash", lambda: tar(member("a\\..\\b")), "backslash"),
    ("a direction mark", lambda: tar(member("a\u202egnp.exe")), "unprintable"),
    ("an extended header", lambda: tar(member("a" * 300), form=tarfile.PAX_FORMAT), "extended header"),
    ("a long name in GNU's manner", lambda: tar(member("a" * 300), form=tarfile.GNU_FORMAT), "long name"),
    ("too many folders in each other", lambda: tar(member("a/b/c/d/e/f")), "deep"),
    ("too many files", lambda: tar(*[member(f"f{n}", b"") for n in range(51)]), "more than 50"),
    ("too large a file", lambda: tar(member("a", bytes(1 << 17))), "at most 65536"),
    ("too large at all", lambda: tar(*[member(f"f{n}", bytes(1 << 16)) for n in range(20)]), "at most 1048576"),
    ("compression", lambda: b"\x1f\x8b" + bytes(1000), "no plain tar"),
    ("nothing", lambda: b"", "in the middle"),
    ("a page of text", lambda: b"<html>" * 200, "no plain tar"),
    ("a cut end", lambda: tar(member("a", b"x" * 2000))[:1024], "longer than"),
    ("a size that is a lie", lambda: _lying(), "longer than the artifact"),
    ("a negative size", lambda: _sized(b"\xff" * 12), "at most"),
    ("a size beyond all", lambda: _sized(b"\x80" + b"\x7f" * 11), "at most"),
    ("something after the end", lambda: tar(member("a")) + b"hidden" + bytes(506), "follows its end"),
    ("a bad checksum", lambda: tar(member("a")).replace(b"a\0", b"b\0", 1), "header"),
]


def _sized(field: bytes) -> bytes:
    """A header whose size field is these bytes."""
    block = bytearray(member("a")[0].tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(2048)


def _lying() -> bytes:
    return _sized(b"00000170000\0")


@pytest.mark.parametrize(("what", "made", "why"), HOSTILE, ids=lambda part: part if isinstance(part, str) else "")
def test_hostile_artifacts_are_refused_before_anything_is_written(
    what: str, made: Callable[[], bytes], why: str, tmp_path: Path
) -> None:
    file, out = tmp_path / "a.tar", tmp_path / "out"
    file.write_bytes(made())
    with pytest.raises(RedQueenError) as caught:
        unpack(file, out, SMALL)
    assert why in str(caught.value), str(caught.value)
    assert caught.value.hint and str(caught.value).isprintable()
    assert not out.exists() and sorted(path.name for path in tmp_path.iterdir()) == ["a.tar"]


@settings(max_examples=300)
@given(some.data())
def test_whatever_bytes_arrive_are_read_or_refused_in_words_and_never_lead_outside(data: some.DataObject) -> None:
    whole = bytearray(tar(member("a/b"), member("c", b"y" * 600)))
    for _ in range(data.draw(some.integers(1, 8))):
        whole[data.draw(some.integers(0, len(whole) - 1))] = data.draw(some.integers(0, 255))
    try:
        found = entries(io.BytesIO(bytes(whole)), SMALL)
    except (InvalidInput, Exhausted) as error:
        assert error.hint
    else:
        for entry in found:
            assert not entry.path.startswith("/") and ".." not in entry.path.split("/")
            assert entry.offset + entry.size_bytes <= len(whole)


def test_a_disk_that_takes_no_more_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = written(tmp_path / "in", {"a": b"x", "b": b"y"})
    file = tmp_path / "a.tar"
    with file.open("wb") as out:
        pack(tmp_path / "in", paths, out)
    opened = os.open

    def full(path: object, flags: int, mode: int = 0o777, **rest: int | None) -> int:
        if str(path).endswith("out/b"):
            raise OSError(28, "No space left on device")
        return opened(path, flags, mode, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(Exhausted, match="No space left"):
        unpack(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("paths", "bounds", "why"),
    [
        (["f" * 120], BOUNDS, "too long for a plain tar file"),
        (["missing"], BOUNDS, "cannot be read"),
        (["a", "b", "c"], Bounds(files=2), "more than 2 files"),
        (["a"], Bounds(file_bytes=3), "more than 3 bytes"),
        (["a", "b"], Bounds(size_bytes=1000), "bytes packed"),
    ],
)
def test_what_could_not_be_unpacked_is_not_packed(paths: list[str], bounds: Bounds, why: str, tmp_path: Path) -> None:
    written(tmp_path, {name: b"12345" for name in ("a", "b", "c", "f" * 120)})
    with pytest.raises(RedQueenError, match=why):
        packed(tmp_path, paths, bounds)


def test_an_artifact_without_a_manifest_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.tar"
    file.write_bytes(tar(member("server.py"), member("sub/redqueen.toml")))
    with pytest.raises(InvalidInput, match=r"no redqueen\.toml"):
        manifest_of(file)
