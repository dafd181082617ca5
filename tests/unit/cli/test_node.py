"""`redqueen node kill`."""

from __future__ import annotations

import httpx
import pytest
from region_api import FLEET, node, serve

from redqueen.cli import node as cli_node
from redqueen.cli.main import run


class Region:
    """Answers like a region; may break the connection of a kill."""

    def __init__(self, *, breaks: bool = False, dies: bool = True, lingers: int = 0) -> None:
        self.nodes = FLEET["nodes"]
        self.killed: list[str] = []
        self.breaks, self.dies = breaks, dies
        self.lingers = lingers
        """How often the killed node is still seen."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET" and self.killed and self.lingers:
            self.lingers -= 1
            return httpx.Response(200, json=FLEET)
        if request.method == "GET":
            return httpx.Response(200, json={**FLEET, "nodes": self.nodes})
        self.killed.append(request.url.path)
        if self.dies:
            self.nodes = [node("api-b-1", "api", "b", pid=99)]
        if self.breaks:
            raise httpx.ReadError("reset")
        return httpx.Response(202)


@pytest.mark.parametrize(
    ("args", "victim"),
    [
        (["api-a-1"], "api-a-1"),
        (["--role", "api"], "api-b-1"),  # the one that is up
        (["--role", "api", "--zone", "a"], "api-a-1"),
    ],
)
def test_the_node_that_is_meant_is_killed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str], victim: str
) -> None:
    region = Region()
    serve(monkeypatch, region)
    assert run(["node", "kill", *args]) == 0
    assert region.killed == [f"/api/v1/fleet/nodes/{victim}/kill"]
    assert f"killed {victim}" in capsys.readouterr().out


@pytest.mark.parametrize("args", [[], ["api-a-1", "--role", "api"], ["api-a-1", "--zone", "a"]])
def test_it_must_be_clear_which_node(args: list[str]) -> None:
    assert run(["node", "kill", *args]) == 2


def test_a_node_that_is_not_there_is_said_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, Region())
    assert run(["node", "kill", "api-z-1"]) == 4
    assert "api-a-1, api-b-1, supervisor" in capsys.readouterr().err


@pytest.mark.parametrize("lingers", [0, 3])
def test_a_connection_that_broke_because_of_the_kill_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, lingers: int
) -> None:
    region = Region(breaks=True, lingers=lingers)
    serve(monkeypatch, region)
    assert run(["node", "kill", "api-b-1"]) == 0
    assert len(region.killed) == 1


def test_a_kill_that_did_not_happen_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_node, "_DYING_S", 0.0)
    serve(monkeypatch, Region(breaks=True, dies=False))
    assert run(["node", "kill", "api-b-1"]) == 7
