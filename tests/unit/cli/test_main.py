"""How a command line is taken, and how failures leave it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from redqueen import __version__
from redqueen.cli import main, release_view, trial_view
from redqueen.cli.main import VERBS, Verb, run
from redqueen.errors import Conflict, RedQueenError


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def verb(as_json: bool) -> None:
        raise error

    monkeypatch.setattr(main, "_failing", verb, raising=False)
    monkeypatch.setitem(VERBS, "failing", Verb("redqueen.cli.main", "_failing", ""))


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_no_verb_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "play-link" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["node kill" if verb == "node" else verb for verb in VERBS])
def test_every_verbs_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*verb.split(), "--help"]) == 0
    assert f"  redqueen {verb}" in capsys.readouterr().out


VERDICTS = ("ship", "releases", "trial show", "trial replay", "rollback", "doctor")
"""Verbs whose exit codes say more than whether they worked."""


def leaves(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Give every command below one, by its words."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for each in command.list_commands(context):
        found = command.get_command(context, each)
        assert found is not None
        yield from leaves(f"{name} {each}".strip(), found)


def test_every_command_says_what_it_does_by_an_example_and_speaks_json_and_verdicts_are_told() -> None:
    found = dict(leaves("", main.redqueen))
    assert {"ship", "rollback", "releases", "trial power", "flag set", "experiment start"} <= set(found)
    for name, command in found.items():
        assert command.help and f"  redqueen {name}" in command.help.partition("Example:")[2], name
        options = {option for parameter in command.params for option in parameter.opts}
        assert "--json" in options, name
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.hidden or parameter.help, (name, parameter.name)
        assert ("Exit codes: 0" in (command.epilog or "")) == (name in VERDICTS), name


def test_the_help_tells_the_exit_code_of_every_kind_of_error() -> None:
    told = main.redqueen.epilog or ""
    codes = {kind.exit_code for kind in RedQueenError.__subclasses__()} | set(trial_view.EXIT_CODES.values())
    assert all(f" {code} " in told for code in {0, 130, *codes, *release_view.EXIT_CODES.values()})


def test_an_error_is_one_red_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, Conflict("a.b", "It is taken", hint="Wait"))
    assert run(["failing"]) == 5
    assert capsys.readouterr().err == "error: It is taken. Wait.\n"


def test_an_error_for_programs_is_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing(monkeypatch, Conflict("a.b", "It is taken"))
    assert run(["failing", "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["code"] == "a.b"


def test_an_error_out_of_task_groups_is_shown_alike(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, ExceptionGroup("", [ExceptionGroup("", [Conflict("a.b", "It is taken")])]))
    assert run(["failing"]) == 5
    assert "It is taken" in capsys.readouterr().err


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run(["failing"])


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    assert run(["failing"]) == 130


def test_an_unknown_verb_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fly"]) == 2
    assert "fly" in capsys.readouterr().err


def test_a_usage_error_for_programs_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["up", "--json", "--port", "0"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["code"], found["hint"]) == ("cli.usage", "See: redqueen up --help")


def test_help_imports_no_verb() -> None:
    check = "import sys; from redqueen.cli.main import run; run(['--help']); sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, check=False).returncode == 0


def test_up_refuses_a_newer_versions_folder_and_touches_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "region.json").write_text('{"format": 99}')
    assert run(["up", "--data", str(tmp_path)]) == 2
    assert "newer version" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["region.json"]


def test_up_refuses_a_folder_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.odt").touch()
    assert run(["up", "--detach", "--data", str(tmp_path)]) == 2
    assert "thesis.odt" in capsys.readouterr().err
