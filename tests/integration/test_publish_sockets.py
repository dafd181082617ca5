"""`redqueen publish` against a region on a real socket that dies, refuses and forgets."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tus_region import Region, running

from redqueen.cli.client import ApiClient
from redqueen.cli.output import show_error
from redqueen.cli.publish import publish
from redqueen.cli.upload import Begun, Memory, Sender, examine, key_of
from redqueen.errors import InvalidInput, NotFound, RedQueenError, Unavailable

FILM = bytes(range(256)) * 4000


@pytest.fixture
def region() -> Iterator[Region]:
    with running(Region()) as region:
        yield region


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "a film.mp4"
    path.write_bytes(FILM)
    return path


@pytest.fixture
def run(region: Region, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    data = tmp_path / "data"
    data.mkdir()
    (data / "credentials.json").write_text(json.dumps({"address": region.address, "token": "t"}))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("redqueen.cli.publish._LOOK_S", 0.01)

    def invoke(*arguments: str | Path) -> Result:
        result = CliRunner().invoke(publish, ["--data", str(data), *map(str, arguments)])
        if isinstance(result.exception, RedQueenError):
            show_error(result.exception, as_json=False)
            result.exit_code = result.exception.exit_code
        return result

    return invoke


@pytest.fixture
def sender(region: Region, tmp_path: Path) -> Iterator[Callable[..., Sender]]:
    with ExitStack() as open_clients:

        def make(*, patience_s: float = 5.0) -> Sender:
            api = open_clients.enter_context(ApiClient(region.address, "t", patience_s=0.3))
            memory = Memory(tmp_path / "memory")
            return Sender(api, region="r", memory=memory, chunk_bytes=100_000, patience_s=patience_s, pause=_no_pause)

        yield make


def _no_pause(seconds: float) -> None:
    """Go on at once."""


def test_a_film_is_sent_whole_in_parts(
    sender: Callable[..., Sender], region: Region, film: Path, tmp_path: Path
) -> None:
    seen: list[int] = []
    receipt = sender().send(examine(film), title="A Film", on_progress=seen.append)
    assert bytes(region.uploads["up-1"]) == FILM
    assert receipt.title_id == "title-1" and receipt.resumed_at_bytes == 0
    assert region.metadata["up-1"] == {"filename": "a film.mp4", "title": "A Film"}
    assert seen[0] == 0 and seen[-1] == len(FILM) and seen == sorted(seen)
    assert region.asked.count("PATCH") == 11


@pytest.mark.parametrize("trouble", ["die", "deaf", 500, 502, 503, 409, 423])
def test_every_second_part_may_fail_and_the_film_still_arrives_whole(
    sender: Callable[..., Sender], region: Region, film: Path, tmp_path: Path, trouble: str | int
) -> None:
    region.trouble = lambda method, times: trouble if method == "PATCH" and times % 2 else None
    sender().send(examine(film))
    assert bytes(region.uploads["up-1"]) == FILM


def test_a_region_that_cannot_even_say_how_much_it_has_is_asked_again(
    sender: Callable[..., Sender], region: Region, film: Path, tmp_path: Path
) -> None:
    region.trouble = lambda method, times: {"PATCH": "die", "HEAD": 503}.get(method) if times < 4 else None
    sender().send(examine(film))
    assert bytes(region.uploads["up-1"]) == FILM


def test_a_creation_whose_answer_was_lost_is_repeated(
    sender: Callable[..., Sender], region: Region, film: Path, tmp_path: Path
) -> None:
    region.trouble = lambda method, times: "deaf" if method == "POST" and times == 1 else None
    assert sender().send(examine(film)).title_id == "title-2"
    assert bytes(region.uploads["up-2"]) == FILM and region.uploads["up-1"] == b""


def test_when_patience_ends_the_upload_can_be_resumed_by_the_next_run(
    sender: Callable[..., Sender], region: Region, film: Path, tmp_path: Path
) -> None:
    region.trouble = lambda method, times: 503 if method == "PATCH" and times > 3 else None
    with pytest.raises(Unavailable) as caught:
        sender(patience_s=0.0).send(examine(film))
    assert caught.value.code == "upload.interrupted" and "same command" in caught.value.hint
    region.trouble = lambda method, times: None
    receipt = sender().send(examine(film))
    assert receipt.resumed_at_bytes == 300_000 and receipt.title_id == "title-1"
    assert bytes(region.uploads["up-1"]) == FILM and len(region.uploads) == 1


def test_an_upload_that_the_region_has_forgotten_is_begun_anew(
    sender: Callable[..., Sender], region: Region, film: Path, tmp_path: Path
) -> None:
    begun = sender()
    found = examine(film)
    Memory(tmp_path / "memory").remember(key_of(found, "r", ""), Begun("/api/v1/uploads/gone", "title-0"))
    assert begun.send(found).title_id == "title-1"
    assert Memory(tmp_path / "memory").recall(key_of(found, "r", "")) is None, "a whole upload is forgotten"


def test_a_file_that_changes_while_it_is_sent_is_refused(
    sender: Callable[..., Sender], region: Region, film: Path, tmp_path: Path
) -> None:
    def meddle(done: int) -> None:
        if done == 200_000:
            film.write_bytes(FILM[::-1])
            os.utime(film, ns=(1, 1))

    with pytest.raises(InvalidInput) as caught:
        sender().send(examine(film), on_progress=meddle)
    assert caught.value.code == "film.changed"


@pytest.mark.parametrize(
    "name",
    [
        "-x.mp4",
        "line\nbreak.mp4",
        "\N{RIGHT-TO-LEFT OVERRIDE}4pm.mp4",
        "'; rm -rf $(x).mp4",
        "\udcff\udcfe.mp4",
        "%00.mp4",
    ],
)
def test_names_of_any_kind_are_published(
    run: Callable[..., Result], region: Region, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_bytes(b"film")
    monkeypatch.chdir(tmp_path)
    result = run("--", name)
    assert result.exit_code == 0, result.output
    assert bytes(region.uploads["up-1"]) == b"film"
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in result.output and "line\nbreak" not in result.output


def test_a_title_the_region_refuses_is_shown_as_it_says(run: Callable[..., Result], film: Path) -> None:
    result = run(film, "--title", "x" * 4096)
    assert result.exit_code == 2 and isinstance(result.exception, InvalidInput)
    assert result.exception.code == "title.too_long"


def test_several_films_go_on_after_a_failure_and_the_worst_exit_code_counts(
    run: Callable[..., Result], region: Region, film: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.mp4").touch()
    result = run(tmp_path / "none.mp4", tmp_path / "empty.mp4", film)
    assert result.exit_code == NotFound.exit_code
    assert "title-1" in result.stdout and "none.mp4" in result.stderr and "empty.mp4" in result.stderr


def test_json_tells_of_the_published_and_of_the_failed(run: Callable[..., Result], film: Path, tmp_path: Path) -> None:
    result = run("--json", film, tmp_path / "none.mp4", "--wait", "complete")
    told = json.loads(result.stdout)
    assert result.exit_code == 4 and result.stderr == ""
    assert [(entry["id"], entry["state"]) for entry in told["published"]] == [("title-1", "complete")]
    assert [entry["code"] for entry in told["failed"]] == ["film.missing"]


def test_waiting_ends_when_the_title_is_playable(run: Callable[..., Result], region: Region, film: Path) -> None:
    result = run(film, "--wait", "playable")
    assert result.stdout.endswith("playable\n") and region.states == ["complete"]
    assert "sending a film.mp4: 100%" in result.stderr and "encoding a film.mp4: 50%" in result.stderr


def test_waiting_survives_a_region_that_is_away_for_a_while(
    run: Callable[..., Result], region: Region, film: Path
) -> None:
    region.trouble = lambda method, times: 500 if method == "GET" and times < 5 else None
    assert run(film, "--wait", "complete").exit_code == 0


def test_a_film_that_the_studio_refuses_is_an_error_with_its_reason(
    run: Callable[..., Result], region: Region, film: Path
) -> None:
    region.states, region.failure = ["failed"], {"code": "film.no_video", "what": "No picture", "why": "w", "hint": "h"}
    result = run(film, "--wait", "playable")
    assert result.exit_code == 2 and isinstance(result.exception, InvalidInput)
    assert result.exception.code == "film.no_video"


def test_subtitles_are_there_before_the_films_last_byte(
    run: Callable[..., Result], region: Region, film: Path, tmp_path: Path
) -> None:
    (tmp_path / "a film.de.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nHallo\n")
    assert run(film, "--subtitles", tmp_path / "a film.de.srt").exit_code == 0
    assert list(region.subtitles) == ["/api/v1/titles/title-1/subtitles/de"]
    assert region.asked.index("PUT") < region.asked.index("PATCH")


def test_a_title_for_several_films_is_refused(run: Callable[..., Result], film: Path) -> None:
    assert run(film, film, "--title", "x").exit_code == 2


def test_ctrl_c_leaves_the_upload_resumable_and_says_so(
    run: Callable[..., Result], region: Region, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redqueen.cli.publish.Sender", _small_parts)

    def interrupt(method: str, times: int) -> None:
        if method == "PATCH" and times == 3:
            os.kill(os.getpid(), 2)

    region.trouble = interrupt
    result = run(film)
    assert result.exit_code == 130 and "goes on from there" in result.stderr
    region.trouble = lambda method, times: None
    assert run(film).exit_code == 0
    assert len(region.uploads) == 1 and bytes(region.uploads["up-1"]) == FILM


def _small_parts(api: ApiClient, *, region: str) -> Sender:
    return Sender(api, region=region, chunk_bytes=100_000)
