"""`redqueen up`: what a background start that failed reports, and what is shown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from redqueen.cli.main import run
from redqueen.cli.output import show_error
from redqueen.cli.picture import changes, picture
from redqueen.cli.up import _failure
from redqueen.errors import Broken, Conflict, InvalidInput
from redqueen.fleet.datadir import locked, open_data_dir
from redqueen.fleet.model import NodeState, NodeView


def view(node_id: str, state: NodeState, *, pid: int = 5, because: str = "") -> NodeView:
    return NodeView(node_id, "api", "api", "1", "a", "127.0.1.1", 20_000, pid, 1.0, state, because=because)


def test_the_background_processs_error_is_reported_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_error(InvalidInput("config.invalid", "x is wrong", hint="Change it"), as_json=True)
    log = tmp_path / "supervisor.log"
    old = b'{\n  "code": "old"\n}\n'
    log.write_bytes(old + b'{"event": "NodeStarted"}\n' + capsys.readouterr().out.encode())
    error = _failure(log, len(old), 2)
    assert isinstance(error, InvalidInput)
    assert (error.code, error.what, error.hint) == ("config.invalid", "x is wrong", "Change it")


def test_a_background_process_that_died_silently_is_said_so(tmp_path: Path) -> None:
    log = tmp_path / "supervisor.log"
    log.write_text("Segmentation fault\n")
    assert isinstance(_failure(log, 0, -11), Broken)


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_a_second_up_on_the_same_data_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], detach: list[str]
) -> None:
    data_dir = tmp_path / "data"
    open_data_dir(data_dir)
    with locked(data_dir):
        assert run(["up", "--data", str(data_dir), *detach]) == Conflict.exit_code
    assert "already runs" in capsys.readouterr().err


def test_only_changes_are_told() -> None:
    before = {"api-a-1": view("api-a-1", NodeState.UP), "api-b-1": view("api-b-1", NodeState.UP)}
    assert changes(before, before) == []
    after = {"api-a-1": view("api-a-1", NodeState.BACKOFF, pid=0, because="it was killed by SIGKILL")}
    assert changes(before, after) == ["api-b-1        gone", "api-a-1        backoff (it was killed by SIGKILL)"]


def test_the_picture_has_a_panel_for_each_zone() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(picture([view("api-a-1", NodeState.UP), view("api-a-2", NodeState.STARTING)]))
    shown = console.export_text()
    assert "zone a" in shown and "api-a-2 starting" in shown
