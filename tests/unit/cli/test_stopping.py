"""`trial stop` and `experiment stop`: one request, asked again of a node that dies, told in a sentence or as JSON."""

from __future__ import annotations

import json

import click
import httpx
import pytest
from region_api import serve

from redqueen.cli.main import run

TRIAL = {"trial": {"id": "rows", "subject": "flag"}, "status": "stopped", "because": "stopped by owner: late"}
CARD = {
    "name": "rows", "flag": "home.row_order", "variants": ["new"], "control": "old", "phase": "ended",
    "outcome": "stopped by owner: late \x1b[2J", "trial": "rows", "status": "stopped",
}  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "path", "body", "told"),
    [
        ("trial", "/api/v1/trials/rows/stop", TRIAL, "rows is stopped: stopped by owner: late"),
        ("experiment", "/api/v1/experiments/rows/stop", CARD, "rows is ended: stopped by owner: late"),
    ],
)
def test_what_viewers_are_in_is_ended_by_one_request_that_may_be_sent_twice(
    verb: str,
    path: str,
    body: dict[str, object],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[tuple[str, bytes]] = []

    def region(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.path, request.content))
        if len(asked) == 1:
            raise httpx.ReadError("reset")
        return httpx.Response(200, json=body)

    serve(monkeypatch, region)
    assert run([verb, "stop", "rows", "--because", "late"]) == 0
    assert click.unstyle(capsys.readouterr().out).startswith(told)
    assert asked == [(path, b'{"because":"late"}')] * 2
    assert run([verb, "stop", "rows", "--json"]) == 0
    said = capsys.readouterr().out
    assert json.loads(said) == body and "\x1b" not in said
