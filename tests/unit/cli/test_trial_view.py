"""A trial in the terminal: what its picture says at each state, and when following ends."""

from __future__ import annotations

import math
from typing import Any

import click
import httpx
import msgspec
import pytest

from redqueen.cli import trial_view
from redqueen.cli.client import ApiClient
from redqueen.cli.trial_view import TrialNow, lines
from redqueen.trials.model import Status


def answer(**changes: Any) -> dict[str, Any]:
    metric = {
        "arm": "canary", "name": "start_failures", "log_e_harm": 1.0, "log_e_safe": math.log(20) / 2,
        "needed_log_e": math.log(20), "treatment": [6, 300], "control": [5, 310], "estimate": 1.24, "low": 0.3,
        "high": None,
    }  # fmt: skip
    record = {
        "trial": {"id": "shop-r1", "subject": "release", "target": "shop", "steps": [0.1, 0.5], "horizon_s": 600.0},
        "status": "running", "because": "50% of the viewers are in it", "started_s": 1000.0, "step": 1, "look": 90,
        "log_e_harm": {"canary": 1.0}, "metrics": [metric], "a field of a newer api": 1,
    }  # fmt: skip
    return {**record, **changes}


def picture(**changes: Any) -> str:
    record = msgspec.convert(answer(**changes), TrialNow)
    return click.unstyle("\n".join(lines(record, 1300.0)))


def test_the_picture_says_how_far_it_is_what_was_seen_and_how_much_is_proven() -> None:
    text = picture()
    assert "shop-r1 is running: 50% of the viewers are in it" in text
    assert "release of shop, steps 10%, [50%], 90 looks in 5:00, 5:00 left" in text
    assert "6/300" in text and "5/310" in text and "x1.24 (0.3 to ?)" in text
    assert "##########.......... 4.5/20" in text


def test_a_metric_that_is_only_watched_has_nothing_to_prove_and_one_unseen_no_estimate() -> None:
    metric = answer()["metrics"][0] | {"guardrail": False, "treatment": [0, 0]}
    text = picture(metrics=[metric])
    assert "start_failures (watched)" in text
    assert "####" not in text and "x1.24" not in text


def test_words_of_strangers_cannot_move_the_cursor() -> None:
    assert "\x1b[2J" not in picture(because="evil \x1b[2J text")


def test_following_ends_with_the_verdict_and_tells_changes_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trial_view.time, "sleep", lambda _: None)
    answers = [
        answer(step=0, because="10% of the viewers are in it"),
        answer(step=0, because="10% for 20 s more"),
        None,
        answer(),
        answer(status="rolled back", because="harm is proven by start_failures"),
    ]

    def handle(request: httpx.Request) -> httpx.Response:
        found = answers.pop(0)
        return httpx.Response(503) if found is None else httpx.Response(200, json=found)

    with ApiClient("http://region", "t", patience_s=0.0, transport=httpx.MockTransport(handle)) as api:
        record = trial_view.follow(api, "shop-r1")
    assert record.status is Status.ROLLED_BACK
    assert trial_view.EXIT_CODES[record.status] == 10
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "shop-r1 is running: 10% of the viewers are in it",
        "shop-r1 is running: 50% of the viewers are in it",
    ]


def test_following_ends_when_whoever_follows_has_seen_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=answer()))
    with ApiClient("http://region", "t", transport=transport) as api:
        assert trial_view.follow(api, "shop-r1", going_on=lambda: False).status is Status.RUNNING
