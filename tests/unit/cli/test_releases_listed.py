"""The list of releases: what was never shipped is told as such, not as an empty list."""

from __future__ import annotations

import httpx
import pytest
from region_api import serve

from redqueen.cli.main import run


@pytest.mark.parametrize("asked", [["releases", "nobody"], ["releases", "nobody", "--follow"]], ids=str)
def test_a_service_of_which_nothing_was_shipped_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: list[str]
) -> None:
    serve(monkeypatch, lambda request: httpx.Response(200, json={"releases": []}))
    assert run(asked) == 4
    assert "Nothing was shipped of nobody yet" in capsys.readouterr().err


def test_a_region_where_nothing_was_shipped_says_how_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, lambda request: httpx.Response(200, json={"releases": []}))
    assert run(["releases"]) == 0
    assert "redqueen ship DIR" in "".join(capsys.readouterr())
