"""`redqueen sign-in`."""

from __future__ import annotations

import httpx
import pytest
from region_api import serve

from redqueen.cli.main import run

LINK = {"url": "http://127.0.0.1:8080/sign-in#token=secret", "expires_at": "2026-01-01T00:15:00Z"}


def answer(request: httpx.Request) -> httpx.Response:
    """Give out a link where one is asked for."""
    asked = request.method == "POST" and request.url.path == "/api/v1/sign-in-links"
    return httpx.Response(200, json=LINK) if asked else httpx.Response(404)


def test_only_the_address_goes_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, answer)
    assert run(["sign-in"]) == 0
    said = capsys.readouterr()
    assert said.out == LINK["url"] + "\n"
    assert "once" in said.err


def test_a_machine_reads_the_link_and_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, answer)
    assert run(["sign-in", "--json"]) == 0
    assert '"expires_at"' in capsys.readouterr().out
