"""The players' log as the agent reads it: whole lines, so many of a look, and a file that stays small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from redqueen.gateway import player_log
from redqueen.gateway.player_log import MOST_A_LOOK, PlayerLog


def line(number: int = 1, **more: object) -> bytes:
    fields = {"time": "1700000000.250", "request_id": f"r{number}", "path": "/media/t1/v/1.m4s", "status": 200}
    return json.dumps({**fields, **more}).encode() + b"\n"


def test_a_line_says_when_what_and_how_it_was_said(tmp_path: Path) -> None:
    path = tmp_path / "players.log"
    log = PlayerLog(path)
    assert log.read() == ([], 0)
    path.write_bytes(line(sent_bytes=9, query="bs", state="rtp=1") + b'{"time": torn\n' + b'{"time"')
    ((found,), dropped) = log.read()
    assert (found.time, found.title, found.query, found.sent_bytes, dropped) == (1_700_000_000.25, "t1", "bs", 9, 0)
    assert found.headers == {"cmcd-object": "", "cmcd-request": "", "cmcd-session": "", "cmcd-status": "rtp=1"}


def test_a_crowd_costs_no_more_than_a_look_may(tmp_path: Path) -> None:
    path = tmp_path / "players.log"
    log = PlayerLog(path)
    path.write_bytes(b"".join(line(number) for number in range(MOST_A_LOOK + 50)))
    lines, dropped = log.read()
    assert (len(lines), dropped) == (MOST_A_LOOK, 50)


def test_the_log_is_emptied_once_it_is_long_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player_log, "_CUT_BYTES", 500)
    path = tmp_path / "players.log"
    log = PlayerLog(path)
    with path.open("ab") as envoy:  # as Envoy writes: what comes after a cut stands at the file's new end
        for number in range(40):
            envoy.write(line(number))
            envoy.flush()
            ((found,), _) = log.read()
            assert found.request_id == f"r{number}"
            assert path.stat().st_size < 700
