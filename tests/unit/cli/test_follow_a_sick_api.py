"""Following a release of the api itself: what answers may be the very version that is to be rolled back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from region_api import serve

from redqueen.cli import release_view, trial_view
from redqueen.cli.main import run

CARD: dict[str, Any] = {
    "service": "api", "id": "r3", "trial": "api-r3", "by": "owner", "because": "5xx of its answers", "settled": True,
    "since": "2026-01-02T03:04:05Z", "created": "2026-01-02T03:04:05Z",
}  # fmt: skip
TRIAL = {"trial": {"id": "api-r3", "subject": "release", "target": "api"}, "because": "viewers meet it"}


@pytest.mark.parametrize("asked", [["releases", "api", "--follow"], ["trial", "show", "api-r3", "--follow"]], ids=str)
def test_answers_of_a_version_that_returns_500_do_not_end_the_watching(
    monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    seen = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal seen
        seen += 1
        if seen > 1 and seen % 2:
            return httpx.Response(500, text="the new version is no good")
        over = seen > 8
        if "/trials/" in request.url.path:
            return httpx.Response(200, json={**TRIAL, "status": "rolled back" if over else "running"})
        card = {**CARD, "phase": "rolled back" if over else "trying"}
        return httpx.Response(200, json={"releases": [card]} if seen == 1 else card)

    serve(monkeypatch, answer)
    monkeypatch.setattr(release_view, "_LOOK_S", 0.0)
    monkeypatch.setattr(trial_view, "_LOOK_S", 0.0)
    assert run(asked) == 10
