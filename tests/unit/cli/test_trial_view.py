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
from redqueen.stats.model import Rules
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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"treatment": [0, 40], "control": [0, 600], "estimate": 8.0}, "not known yet (0 events in both arms)"),
        ({"treatment": [1, 40], "control": [3, 600], "low": 0.1, "high": 9.0}, "not known yet (4 events in both arms)"),
        ({"treatment": [4, 40], "control": [30, 600], "estimate": 0.182, "low": 0.0}, "not known yet (34 events"),
        ({"treatment": [2, 40], "control": [3, 600], "low": 0.1, "high": 9.0}, "x1.24 (0.1 to 9)"),
        ({"difference": True, "treatment": [9.0, 40], "low": None}, "not known yet (40 units in the smaller arm)"),
        ({"difference": True, "treatment": [9.0, 99], "low": -0.3}, "1.24 (-0.3 to ?), preliminary: 99 units"),
        ({"difference": True, "treatment": [0.1, 100], "low": -0.3, "high": 2.0}, "1.24 (-0.3 to 2)  "),
    ],
)
def test_what_nobody_can_know_yet_is_not_told_as_a_number(change: dict[str, Any], told: str) -> None:
    assert told in picture(metrics=[answer()["metrics"][0] | change])


def test_a_mean_is_preliminary_as_long_as_the_judge_holds_it_so() -> None:
    assert Rules().least_units == trial_view.LEAST_UNITS


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
