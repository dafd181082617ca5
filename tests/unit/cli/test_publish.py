"""`redqueen publish`, the rules: what is refused before anything is sent, what a state means."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from redqueen.cli.client import ApiClient
from redqueen.cli.publish import TitleNow, arrived, read_subtitles
from redqueen.cli.upload import Begun, Memory, Sender, examine, key_of
from redqueen.errors import Forbidden, InvalidInput, NotFound, Unavailable


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "a film.mp4"
    path.write_bytes(b"film")
    return path


def test_a_changed_file_is_another_upload(film: Path) -> None:
    before = key_of(examine(film), "r", "")
    os.utime(film, ns=(1, 1))
    assert key_of(examine(film), "r", "") != before
    assert key_of(examine(film), "other", "") != key_of(examine(film), "r", "")


def test_a_damaged_note_counts_as_none(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.remember("k", Begun("/u", "t"))
    assert memory.recall("k") == Begun("/u", "t")
    assert (tmp_path / "k").stat().st_mode & 0o077 == 0
    (tmp_path / "k").write_bytes(b"\x00half")
    assert memory.recall("k") is None


def test_what_cannot_be_a_film_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, kind, code in (
        (tmp_path / "none.mp4", NotFound, "film.missing"),
        (empty / "below", NotFound, "film.missing"),
        (tmp_path, InvalidInput, "film.not_a_file"),
        (pipe, InvalidInput, "film.not_a_file"),
        (empty, InvalidInput, "film.empty"),
        (tmp_path / ("x" * 4096), InvalidInput, "film.unusable"),
        (tmp_path / "a\0b", InvalidInput, "film.unusable"),
    ):
        with pytest.raises(kind) as caught:
            examine(path)
        assert caught.value.code == code and caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_film_is_refused(film: Path) -> None:
    film.chmod(0)
    with pytest.raises(Forbidden):
        examine(film)


def test_the_language_of_subtitles_is_read_from_their_name(tmp_path: Path) -> None:
    for name, language in (
        ("f.en.srt", "en"),
        ("f.EN.srt", "en"),
        ("f.pt-BR.vtt", "pt-BR"),
        ("f.srt", "und"),
        ("f.1080.srt", "und"),
    ):
        (tmp_path / name).write_text("x")
        assert read_subtitles(tmp_path / name)[0] == language


def test_states_are_told_apart() -> None:
    assert arrived(TitleNow("i", "t", "uploading"), None)
    assert not arrived(TitleNow("i", "t", "encoding"), "playable")
    assert arrived(TitleNow("i", "t", "playable"), "playable")
    assert not arrived(TitleNow("i", "t", "playable"), "complete")
    with pytest.raises(InvalidInput):
        arrived(TitleNow("i", "t", "failed"), None)


@pytest.mark.parametrize("told", ["", "99", "-1", "2.0"])
def test_a_region_that_tells_an_impossible_offset_is_not_believed(film: Path, tmp_path: Path, told: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(201, headers={"location": "http://other/api/v1/uploads/1", "redqueen-title": "t"})
        assert str(request.url) == "http://region/api/v1/uploads/1", "the region's own address is kept"
        return httpx.Response(204, headers={"upload-offset": told})

    with ApiClient("http://region", "t", transport=httpx.MockTransport(answer)) as api:
        sender = Sender(api, region="r", memory=Memory(tmp_path / "m"), patience_s=0.0, pause=lambda seconds: None)
        with pytest.raises(Unavailable, match="bytes of 4"):
            sender.send(examine(film))
