"""`redqueen logs`."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from region_api import serve

from redqueen.cli import logs
from redqueen.cli.logs import fresh
from redqueen.cli.main import run


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20), st.integers(1, 20))
def test_every_new_line_is_shown_once(known: int, more: int, first: int, window: int) -> None:
    lines = [str(number) for number in range(known + more)]
    before = lines[:known][-first:]
    now = lines[-window:]
    expected = lines[known:][-window:] if more else []
    assert fresh(before, now) == (expected if before else now)


def test_repeated_lines_are_not_lost() -> None:
    assert fresh(["x", "x"], ["x", "x", "x"]) == ["x"]


def test_lines_are_printed_with_their_node(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(
            200, json={"lines": [{"node": "api-a-1", "line": "one"}, {"node": "api-b-1", "line": "2"}]}
        )

    serve(monkeypatch, answer)
    assert run(["logs", "api", "--lines", "5"]) == 0
    assert capsys.readouterr().out == "api-a-1  one\napi-b-1  2\n"
    assert dict(asked[0].url.params) == {"role": "api", "lines": "5"}
    assert run(["logs", "api-a-1"]) == 0
    assert dict(asked[1].url.params) == {"node": "api-a-1", "lines": "200"}


def test_follow_goes_on_until_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [["one"], ["one", "two"], ["one", "two", "three"]]

    def answer(request: httpx.Request) -> httpx.Response:
        if not answers:
            raise KeyboardInterrupt
        return httpx.Response(200, json={"lines": [{"node": "api-a-1", "line": line} for line in answers.pop(0)]})

    serve(monkeypatch, answer)
    monkeypatch.setattr(logs, "_LOOK_S", 0.0)
    assert run(["logs", "--follow"]) == 130
    assert capsys.readouterr().out.split() == ["api-a-1", "one", "api-a-1", "two", "api-a-1", "three"]
