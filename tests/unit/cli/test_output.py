"""What the verbs print."""

from __future__ import annotations

import json

import pytest

from redqueen.cli.output import show_error, show_json, show_table
from redqueen.errors import InvalidInput


def test_a_table_is_aligned_and_shows_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["id", "state"], [["api-b-1", "up"], ["x\x1b[31m\n", None]], state_column="state")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "id       state"
    assert lines[1] == "api-b-1  up"
    assert len(lines) == 3
    assert "\x1b" not in lines[2]


def test_an_empty_table_still_has_its_heading(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["id"], [])
    assert capsys.readouterr().out == "id\n"


def test_json_goes_to_standard_output_indented(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"a": [1]})
    assert json.loads(capsys.readouterr().out) == {"a": [1]}


def test_an_error_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(InvalidInput("x.y", "It is wrong", why="it is 3", hint="Make it 4"), as_json=False)
    caught = capsys.readouterr()
    assert caught.out == ""
    assert caught.err == "error: It is wrong. it is 3. Make it 4.\n"


def test_an_error_for_programs_is_json_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(InvalidInput("x.y", "It is wrong", hint="Make it 4"), as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "code": "x.y",
        "what": "It is wrong",
        "why": "",
        "hint": "Make it 4",
    }
