"""What the README and docs/ say is so: their commands run, their links and tables are true."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import click
import doc_pages
import msgspec
import pytest
from doc_pages import REPOSITORY, Page

from redqueen import config, errors
from redqueen.api.errors import status_of
from redqueen.catalogue.model import State
from redqueen.cli.main import VERBS, redqueen
from redqueen.cli.titles import matching
from redqueen.fleet.model import NodeState
from redqueen.studio import engines
from redqueen.testing.region import Region, free_port, remove, temporary

PAGES = doc_pages.pages()
ALL_TEXT = "\n".join(page.text for page in PAGES)
SUBTITLES = "1\n00:00:01,000 --> 00:00:02,500\nFaster! Faster!\n"


@pytest.fixture(scope="module")
def region() -> Generator[Region]:
    """Give one region for all pages, as a reader has it: with its sample titles on their way."""
    with temporary() as started:
        started.up("--port", str(free_port()))
        yield started


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a film of six seconds, with sound."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    sources = ["-f", "lavfi", "-i", "testsrc2=s=426x240:r=24", "-f", "lavfi", "-i", "sine=440"]
    command = [engines.find().ffmpeg, "-v", "error", *sources, "-t", "6", "-preset", "ultrafast", path]
    subprocess.run(command, check=True, timeout=60)
    return path


@pytest.fixture
def desk(region: Region, film: Path, tmp_path: Path) -> Path:
    """Give a reader's folder with the files that the pages speak of, and a region without titles of other pages."""
    for name in ("film.mp4", "trailer.mp4"):
        shutil.copy(film, tmp_path / name)
    (tmp_path / "film.en.srt").write_text(SUBTITLES)
    with region.api() as api:
        for title in list(matching(api, "")):
            if not title["sample"]:
                remove(api, title["id"])
    return tmp_path


@pytest.mark.region
@pytest.mark.timeout(360)
def test_the_api_page_lists_exactly_the_calls_that_there_are(region: Region) -> None:
    with region.api() as api:
        described = api.get("/openapi.json")["paths"]
    there = {
        f"{method.upper()} {path.removeprefix('/api/v1')}"
        for path, operations in described.items()
        for method in operations
        if method in ("get", "put", "post", "patch", "delete", "head")
    }
    told = {row[0].strip("`") for row in doc_pages.page("api.md").tables if re.match(r"`[A-Z]+ /", row[0])}
    assert told == there


@pytest.mark.region
@pytest.mark.timeout(360)
@pytest.mark.parametrize("page", [page for page in PAGES if page.script], ids=lambda page: page.name)
def test_every_command_of_the_page_works(page: Page, region: Region, desk: Path) -> None:
    if "curl" in page.script and shutil.which("curl") is None:
        pytest.skip("this page's commands need curl, which is not on this machine")
    until_whole(region)
    done = subprocess.run(
        ["sh", "-eu", "-c", page.script],
        cwd=desk,
        env=reader(region, desk),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stderr[-2000:]}\n{done.stdout[-1000:]}"


def until_whole(region: Region) -> None:
    """Wait until every process is up again, since the page before may have killed some."""
    deadline = time.monotonic() + 30
    with region.api() as api:
        while late := [node for node in region.nodes(api) if node.state != "up"]:
            assert time.monotonic() < deadline, late
            time.sleep(0.1)


def reader(region: Region, desk: Path) -> dict[str, str]:
    """Return the environment of somebody who has `redqueen` on the path and this region as the default."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    home = {"HOME": str(desk / "home"), "XDG_CACHE_HOME": str(desk / "cache"), "REDQUEEN_DATA": str(region.data)}
    return {**os.environ, "PATH": path, **home}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Page) -> None:
    lost = [link for link in page.links if "://" not in link and not leads_somewhere(page, link)]
    assert lost == []


def leads_somewhere(page: Page, link: str) -> bool:
    """Tell whether a relative link's file is there, with the heading that it names."""
    path, _, anchor = link.partition("#")
    target = (page.path.parent / path).resolve() if path else page.path
    if not target.exists():
        return False
    return not anchor or anchor in Page(target).anchors


def options() -> Iterator[str]:
    """Give every verb with its long options, as `verb` and `verb --option`."""
    context = click.Context(redqueen)
    commands = {name: redqueen.get_command(context, name) for name in VERBS}
    for name, group in list(commands.items()):
        if isinstance(group, click.Group):
            del commands[name]
            commands |= {f"{name} {verb}": command for verb, command in group.commands.items()}
    for name, command in commands.items():
        assert command is not None
        yield name
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                yield from (f"{name} {option}" for option in parameter.opts if option.startswith("--"))


@pytest.mark.parametrize("what", list(options()))
def test_every_verb_and_option_is_told_of(what: str) -> None:
    verb, _, option = what.partition(" --")
    assert f"redqueen {verb}" in ALL_TEXT
    assert not option or re.search(rf"--{option}\b", ALL_TEXT)


def test_every_verb_that_is_told_of_exists() -> None:
    called = set(re.findall(r"(?:^|[`(\"]|\$ )redqueen ([a-z][a-z-]+)", ALL_TEXT, re.MULTILINE))
    assert called <= set(VERBS)


def settings(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Give every field of the settings with its default as TOML."""
    for name in value.__struct_fields__:  # type: ignore[attr-defined]
        field = getattr(value, name)
        if isinstance(field, msgspec.Struct):
            yield from settings(field, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", msgspec.json.encode(field).decode().replace(",", ", ")


def test_the_configuration_page_lists_every_field_with_its_default() -> None:
    rows = {row[0].strip("`"): row[1].strip("`") for row in doc_pages.page("configuration.md").tables if len(row) == 3}
    assert rows == dict(settings(config.Region()))


def test_the_configuration_pages_example_is_accepted(tmp_path: Path) -> None:
    example = next(block for block in doc_pages.page("configuration.md").blocks if block.language == "toml")
    (tmp_path / "redqueen.toml").write_text(example.text)
    assert config.load(tmp_path).name == "attic"


def test_the_api_page_lists_the_eight_kinds_of_errors() -> None:
    told = {(row[0].strip("`"), row[2], row[3]) for row in doc_pages.page("api.md").tables if len(row) == 4}
    kinds = errors.RedQueenError.__subclasses__()
    assert told == {(kind.__name__, str(kind.http_status), str(kind.exit_code)) for kind in kinds}


def test_the_api_page_tells_the_more_exact_statuses() -> None:
    text = doc_pages.page("api.md").prose
    told = re.search(r"more exact status, that one is used:(.*?)\.\n", text, re.DOTALL)
    assert told is not None
    for status, codes in re.findall(r"(\d{3}) ((?:`[a-z_.]+`(?:, | and |,\n|\n)?\s*)+)", told[1]):
        for code in re.findall(r"`([a-z_.]+)`", codes):
            assert status_of(errors.Broken(code, "")) == int(status)


@pytest.mark.parametrize(("name", "states"), [("publish.md", State), ("fleet.md", NodeState)], ids=["titles", "nodes"])
def test_every_state_is_explained(name: str, states: type[State] | type[NodeState]) -> None:
    explained = {row[0].strip("`") for row in doc_pages.page(name).tables}
    assert {state.value for state in states} <= explained


def test_every_error_code_that_is_told_of_exists() -> None:
    sources = "\n".join(path.read_text() for path in (REPOSITORY / "src").rglob("*.py"))
    told = set(re.findall(r"`((?:film|upload|publish|subtitles|session|tus|data|title)\.[a-z_]+)`", ALL_TEXT))
    assert len(told) > 20
    assert {code for code in told if f'"{code}"' not in sources} == set()
