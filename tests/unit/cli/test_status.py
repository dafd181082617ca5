"""`redqueen status`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import msgspec
import pytest
from region_api import FLEET, node, refuse, serve

from redqueen.cli.main import run
from redqueen.fleet.datadir import SupervisorFile
from redqueen.fleet.nodefiles import myself


def test_the_table_is_by_zone_and_ends_with_the_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, lambda request: httpx.Response(200, json=FLEET))
    assert run(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["a", "api-a-1"], ["b", "api-b-1"]]
    assert lines[-1] == "local serves at http://127.0.0.1:8080"


def test_what_a_gateway_refuses_stands_beside_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing = {**FLEET["nodes"][0], "id": "gateway-a-1", "warning": "it refuses snapshot 12: bad key"}
    serve(monkeypatch, lambda request: httpx.Response(200, json={**FLEET, "nodes": [refusing]}))
    assert run(["status"]) == 0
    assert "it refuses snapshot 12: bad key" in capsys.readouterr().out


def test_json_has_every_node_and_the_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, lambda request: httpx.Response(200, json=FLEET))
    assert run(["status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["public_url"] == FLEET["public_url"]
    assert found["nodes"] == FLEET["nodes"]


@pytest.mark.parametrize("as_json", [False, True])
def test_processes_that_live_without_an_api_are_shown_from_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, as_json: bool
) -> None:
    serve(monkeypatch, refuse)
    me = myself()
    supervisor = SupervisorFile(me.pid, me.started_s, "http://127.0.0.1:8080")
    (tmp_path / "supervisor.json").write_bytes(msgspec.json.encode(supervisor))
    assert run(["status", "--data", str(tmp_path), *(["--json"] if as_json else [])]) == 7
    caught = capsys.readouterr()
    if as_json:
        found = json.loads(caught.out)
        assert [node["pid"] for node in found["nodes"]] == [os.getpid()]
        assert found["error"]["code"] == "region.unreachable"
    else:
        assert "supervisor" in caught.out
        assert "does not answer" in caught.err


def test_a_region_of_which_nothing_lives_is_down(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    serve(monkeypatch, refuse)
    assert run(["status", "--data", str(tmp_path)]) == 7
    assert f"redqueen up --data {tmp_path}" in capsys.readouterr().err


def test_a_node_that_waits_for_its_next_start_has_no_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = {**node("shop-a-1", "service", "a", state="backoff"), "pid": None, "because": "it exited with code 3"}
    serve(monkeypatch, lambda request: httpx.Response(200, json={**FLEET, "nodes": [waiting]}))
    assert run(["status"]) == 0
    assert "it exited with code 3" in capsys.readouterr().out
