"""`redqueen ship`, `rollback` and `releases`: what is sent, what is shown, how they end."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from region_api import serve

from redqueen.cli import release_view, ship, trial_view
from redqueen.cli.main import run

TOML = 'service = "shop"\nowner = "me"\ncommand = ["run"]\n'
WHEN = "2026-01-02T03:04:05Z"


class Region:
    """Keeps artifacts; a release goes through the phases it was given, one a look."""

    def __init__(self, *phases: str) -> None:
        self.artifacts: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.wish: dict[str, Any] = {}
        self.phases = list(phases)
        self.phase = "stored"
        self.keys: list[str] = []
        self.cut = 0
        self.dying = 0
        self.interrupted = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        self.asked.append(f"{request.method} {path}")
        if path.startswith("/artifacts/"):
            return self.artifact(request, path.rpartition("/")[2])
        if path.startswith("/trials/"):
            return self.trial()
        if request.method == "POST":
            self.wish = json.loads(request.content)
            self.keys.append(request.headers.get("idempotency-key", ""))
            if self.cut:
                self.cut -= 1
                raise httpx.ReadError("the connection was cut")
            return httpx.Response(201 if path == "/releases" else 202, json=self.card())
        if path == "/releases":
            return httpx.Response(200, json={"releases": [self.card()]})
        if self.interrupted:
            raise KeyboardInterrupt
        self.phase = self.phases.pop(0) if self.phases else self.phase
        return httpx.Response(200, json=self.card())

    def artifact(self, request: httpx.Request, digest: str) -> httpx.Response:
        if request.method == "GET":
            known = digest in self.artifacts
            return httpx.Response(200 if known else 404, json={"code": "x", "what": "none", "hint": "send"})
        body = request.read()
        if self.dying:
            self.dying -= 1
            return httpx.Response(503, json={"code": "x", "what": "the node died", "hint": "again"})
        self.artifacts[digest] = body
        assert request.headers["content-length"] == str(len(body))
        return httpx.Response(200, json={"digest": digest})

    def card(self) -> dict[str, Any]:
        return {
            "service": "shop",
            "id": "r3",
            "phase": self.phase,
            "because": f"it is {self.phase} for a reason",
            "since": WHEN,
            "created": WHEN,
            "trial": "shop-r3",
            "by": "ada",
            "warm_until": WHEN if self.phase == "promoted" else None,
            "routes": [{"path": "/cart", "change": "added"}],
            "provenance": {"commit": "abcdef0123456789", "clean": False},
        }

    def trial(self) -> httpx.Response:
        if self.phase == "trying" and len(self.phases) > 1:
            return httpx.Response(404, json={"code": "trial.unknown", "what": "none yet", "hint": "wait"})
        status = "running" if self.phases else "promoted"
        trial = {"id": "shop-r3", "subject": "release", "target": "shop"}
        return httpx.Response(200, json={"trial": trial, "status": status, "because": "so far so good"})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Region]:
    monkeypatch.setattr(release_view, "_LOOK_S", 0.0)
    monkeypatch.setattr(trial_view, "_LOOK_S", 0.0)

    def region(*phases: str) -> Region:
        found = Region(*phases)
        serve(monkeypatch, found)
        return found

    return region


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "shop"
    made.mkdir()
    (made / "redqueen.toml").write_text(TOML)
    (made / "run").write_text("#!/bin/sh\n")
    return made


def test_ship_sends_the_folder_under_its_digest_and_follows_to_the_verdict(
    made: Callable[..., Region], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    region = made("starting", "trying", "trying", "promoting", "promoted")
    assert run(["ship", str(folder), "--because", "cheaper carts"]) == 0
    (digest, body), *others = region.artifacts.items()
    assert not others and hashlib.sha256(body).hexdigest() == digest
    assert region.wish["artifact"] == digest and region.wish["because"] == "cheaper carts"
    shown = capsys.readouterr()
    assert "shipping shop: 2 files" in shown.err and "from no git commit" in shown.err
    assert "for everybody once it is promoted: /cart (added)" in shown.err
    lines = shown.out.splitlines()
    assert lines[0].startswith("r3 of shop is stored")
    assert lines[-1].startswith("r3 of shop is promoted: it is promoted for a reason")
    assert "stays warm until" in lines[-1]


@pytest.mark.parametrize(
    ("verdict", "code"),
    [("promoted", 0), ("rolled back", 10), ("inconclusive", 11), ("stopped", 12), ("failed", 13)],
)
def test_each_verdict_has_an_exit_code_of_its_own(
    made: Callable[..., Region], folder: Path, verdict: str, code: int
) -> None:
    made("starting", verdict)
    assert run(["ship", str(folder)]) == code


def test_what_the_region_has_already_is_not_sent_again(made: Callable[..., Region], folder: Path) -> None:
    region = made("promoted", "promoted")
    assert run(["ship", str(folder)]) == 0 == run(["ship", str(folder)])
    assert sum(asked.startswith("PUT") for asked in region.asked) == 1


def test_a_node_that_dies_during_the_upload_costs_another_try(made: Callable[..., Region], folder: Path) -> None:
    region = made("promoted")
    region.dying = 2
    assert run(["ship", str(folder)]) == 0
    assert sum(asked.startswith("PUT") for asked in region.asked) == 3
    region = made("promoted")
    region.dying = 9
    assert run(["ship", str(folder)]) == 7
    assert not any(asked.startswith("POST") for asked in region.asked)


def test_a_node_that_dies_while_it_takes_the_release_is_asked_again_under_the_same_key(
    made: Callable[..., Region], folder: Path
) -> None:
    region = made("promoted")
    region.cut = 2
    assert run(["ship", str(folder)]) == 0
    assert len(region.keys) == 3 and len(set(region.keys)) == 1 and region.keys[0]
    assert run(["ship", str(folder)]) == 0
    assert len(set(region.keys)) == 2, "another release has another key"


def test_json_is_one_line_for_each_change_of_release_and_trial(
    made: Callable[..., Region], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made("starting", "trying", "trying", "rolled back")
    assert run(["ship", str(folder), "--json"]) == 10
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.out.splitlines()]
    assert not shown.err
    phases = [line["phase"] for line in lines if line["kind"] == "release"]
    assert phases == ["stored", "starting", "trying", "rolled back"]
    assert [line["status"] for line in lines if line["kind"] == "trial"] == ["running"]


def test_detached_it_returns_when_the_region_has_taken_it(made: Callable[..., Region], folder: Path) -> None:
    region = made("starting")
    assert run(["ship", str(folder), "--detach"]) == 0
    assert region.asked[-1] == "POST /releases"


def test_an_interrupt_leaves_the_release_going_and_says_how_to_follow_and_undo_it(
    made: Callable[..., Region], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    region = made()
    region.interrupted = True
    assert run(["ship", str(folder)]) == 130
    words = capsys.readouterr().err
    assert "redqueen releases shop --follow" in words and "redqueen rollback shop" in words
    assert not any("stop" in asked or "rollback" in asked for asked in region.asked)


def test_a_region_that_is_silent_for_a_moment_is_waited_for(
    made: Callable[..., Region], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = made("starting", "promoted")
    answer = region.card
    silent = [3]

    def card() -> dict[str, Any]:
        if region.phase == "starting" and silent[0]:
            silent[0] -= 1
            raise httpx.ReadError("gone")
        return answer()

    monkeypatch.setattr(region, "card", card)
    assert run(["ship", str(folder)]) == 0


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda folder: (folder / "redqueen.toml").write_text("service = 1"), "service = 1"),
        (lambda folder: (folder / "redqueen.toml").unlink(), "redqueen.toml cannot be read"),
        (lambda folder: (folder / "away").symlink_to("/etc/hosts"), "leads out of the folder"),
        (lambda folder: (folder / "redqueen.toml").write_text(TOML + 'directory = "app"'), "directory = 'app'"),
    ],
)
def test_what_can_be_known_here_is_refused_before_anything_is_sent(
    made: Callable[..., Region],
    folder: Path,
    broken: Callable[[Path], object],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    region = made()
    broken(folder)
    assert run(["ship", str(folder)]) == 2
    assert words in capsys.readouterr().err and not region.asked


def test_a_folder_that_is_none_is_refused(made: Callable[..., Region], tmp_path: Path) -> None:
    made()
    assert run(["ship", str(tmp_path / "nothing")]) == 2


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_a_ref_is_shipped_as_it_was_committed_with_its_commit_and_author(
    made: Callable[..., Region], folder: Path
) -> None:
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "First shop")
    git(folder, "tag", "v1")
    with ship.parcel(folder) as clean:
        assert clean.provenance.clean is True and clean.provenance.ref == "main"
    (folder / "run").write_text("#!/bin/false\n")
    with ship.parcel(folder) as changed, ship.parcel(folder, "v1") as tagged:
        assert changed.provenance.clean is False and changed.artifact.digest != clean.artifact.digest
        assert tagged.artifact.digest == clean.artifact.digest
        assert tagged.provenance.author == "Ada <ada@example.org>" and tagged.provenance.subject == "First shop"
        assert len(tagged.provenance.commit) == 40 and tagged.provenance.ref == "v1"
    made()
    for ref in ("v2", "--output=x", "v1\n"):
        assert run(["ship", str(folder), "--ref", ref]) == 2


def test_rollback_asks_for_the_service_or_for_one_release(
    made: Callable[..., Region], capsys: pytest.CaptureFixture[str]
) -> None:
    region = made()
    assert run(["rollback", "shop", "--because", "bad"]) == 0
    assert region.asked == ["POST /releases/shop/rollback"] and region.wish == {"because": "bad"}
    assert run(["rollback", "shop", "--release", "r3"]) == 0
    assert region.asked[-1] == "POST /releases/shop/r3/stop"
    assert "r3 of shop is stored" in capsys.readouterr().out


def test_releases_are_listed_or_followed(made: Callable[..., Region], capsys: pytest.CaptureFixture[str]) -> None:
    region = made("trying", "failed")
    assert run(["releases"]) == 0
    assert "abcdef012345+" in capsys.readouterr().out
    assert run(["releases", "shop", "--follow"]) == 13
    assert "r3 of shop is failed: it is failed for a reason" in capsys.readouterr().out
    assert run(["releases", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["id"] == "r3"
    assert run(["releases", "--follow"]) == 2
    assert region.asked[0] == "GET /releases"
