"""`redqueen service`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from region_api import serve

from redqueen.cli import service
from redqueen.cli.main import run

TEXT = f'name = "shop"\nowner = "me"\ncommand = ["{sys.executable}"]\n[[routes]]\npath = "/shop"\n'


class Region:
    """Takes declarations; a service is `starting` until it was looked at some times."""

    def __init__(self, *, looks: int = 2) -> None:
        self.asked: list[httpx.Request] = []
        self.looks = looks
        self.file: dict[str, Any] | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.method == "PUT":
            self.file = json.loads(request.content)
        if request.method == "DELETE":
            return httpx.Response(204)
        if request.url.path.endswith("/services"):
            return httpx.Response(200, json={"services": [self.card()]})
        self.looks -= request.method == "GET"
        return httpx.Response(200, json=self.card())

    def card(self) -> dict[str, Any]:
        up = self.looks <= 0
        return {
            "name": "shop",
            "state": "up" if up else "starting",
            "because": "" if up else "shop-a-1: refused",
            "wanted": 1,
            "ready": int(up),
            "revision": 4,
            "instances": [
                {"id": "shop-a-1", "zone": "a", "state": "up", "pid": 7, "address": "127.0.1.1:1", "version": "1"}
            ],
            "file": self.file,
        }


@pytest.fixture
def region(monkeypatch: pytest.MonkeyPatch) -> Region:
    made = Region()
    serve(monkeypatch, made)
    monkeypatch.setattr(service, "_LOOK_S", 0.0)
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "shop.toml"
    found.write_text(TEXT)
    return found


def test_add_sends_the_file_with_its_folder_and_waits(
    region: Region, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["service", "add", str(path), "--wait"]) == 0
    assert region.file is not None
    assert region.file["directory"] == str(path.parent)
    assert region.asked[0].url.path == "/api/v1/services/shop"
    shown = capsys.readouterr()
    assert shown.out == "shop is up: 1 of 1 instances are ready\n"
    assert "shop is starting: 0 of 1 instances are ready (shop-a-1: refused)" in shown.err


def test_one_that_does_not_come_up_in_time_ends_with_the_reason(
    region: Region, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    region.looks = 1 << 30
    assert run(["service", "add", str(path), "--wait", "--timeout", "1", "--json"]) == 7
    said = json.loads(capsys.readouterr().out)
    assert (said["code"], said["why"]) == ("service.not_up", "shop-a-1: refused")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("owner", "ownr", "shop.toml: ownr = 'me'"),
        (sys.executable, "/no/program", "shop.toml: command[0] = '/no/program'"),
        ('"/shop"', '"shop"', "shop.toml: routes[0].path = 'shop'"),
    ],
)
def test_a_wrong_file_is_refused_before_the_region_is_asked(
    region: Region, path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    path.write_text(TEXT.replace(old, new))
    assert run(["service", "add", str(path)]) == 2
    assert said in capsys.readouterr().err
    assert region.asked == []


def test_a_file_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["service", "add", str(tmp_path / "no.toml")]) == 2
    assert "no.toml cannot be read" in capsys.readouterr().err


def test_removing_shows_what_ends_and_asks(
    region: Region, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["service", "add", str(path)])
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda text: "n")
    assert run(["service", "remove", "shop"]) == 130
    said = capsys.readouterr().err
    assert "shop-a-1" in said and "/shop" in said
    assert not [request for request in region.asked if request.method == "DELETE"]
    assert run(["service", "remove", "shop", "--yes"]) == 0
    assert dict(region.asked[-1].url.params) == {"revision": "4"}


def test_a_role_of_the_region_cannot_be_removed(region: Region, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["service", "remove", "api", "--yes"]) == 2
    assert "own roles" in capsys.readouterr().err


def test_list_and_show_tell_the_state_and_the_paths(
    region: Region, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["service", "add", str(path)])
    assert run(["service", "list"]) == 0
    assert "/shop" in capsys.readouterr().out
    assert run(["service", "show", "shop"]) == 0
    shown = capsys.readouterr().out
    assert "owner me" in shown and "shop-a-1" in shown
