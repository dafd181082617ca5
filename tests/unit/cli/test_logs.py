"""`redqueen logs`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from region_api import refuse, serve

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


@pytest.mark.parametrize(
    ("args", "asked"),
    [
        (["hello"], {"service": "hello"}),
        (["--service", "web-shop"], {"service": "web-shop"}),
        (["hello-a-1"], {"node": "hello-a-1"}),
        (["--node", "supervisor"], {"node": "supervisor"}),
        (["envoy"], {"role": "envoy"}),
        (["--since", "2026-01-31T20:15:00+01:00"], {"since": "2026-01-31T19:15:00.000Z"}),
    ],
)
def test_whose_lines_and_since_when_is_asked_of_the_region(
    monkeypatch: pytest.MonkeyPatch, args: list[str], asked: dict[str, str]
) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"lines": []})

    serve(monkeypatch, answer)
    assert run(["logs", *args]) == 0
    assert dict(seen[0].url.params) == {**asked, "lines": "200"}


@pytest.mark.parametrize("args", [["api", "--node", "api-a-1"], ["--since", "yesterday"], ["--since", "9999999d"]])
def test_what_is_not_clear_is_refused(args: list[str]) -> None:
    assert run(["logs", *args]) == 2


def test_times_can_be_said_by_how_long_ago_they_were() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert [logs.moment(text, now)[11:19] for text in ("30s", "10m", "2h")] == ["11:59:30", "11:50:00", "10:00:00"]


def test_without_an_api_the_files_are_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "hello-a-1.log.1").write_text("one\n")
    (tmp_path / "logs" / "hello-a-1.log").write_text("two\n")
    serve(monkeypatch, refuse)
    assert run(["logs", "--service", "hello", "--data", str(tmp_path), "--json"]) == 0
    shown = capsys.readouterr()
    assert [json.loads(line)["line"] for line in shown.out.splitlines()] == ["one", "two"]
    assert "from the files" in shown.err
