"""`redqueen token`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from redqueen.cli.main import run
from redqueen.fleet.datadir import registry_key
from redqueen.registry.rights import owner_of


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "credentials.json").write_text('{"address": "http://127.0.0.1:1", "token": "x"}')
    return tmp_path


def test_the_token_alone_goes_to_standard_output_and_is_the_regions(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["token", "team-tea", "--data", str(data)]) == 0
    assert owner_of(registry_key(data), capsys.readouterr().out.strip()) == "team-tea"
    assert run(["token", "team-tea", "--json", "--data", str(data)]) == 0
    assert json.loads(capsys.readouterr().out)["owner"] == "team-tea"


@pytest.mark.parametrize("owner", ["region", "Team Tea", ""])
def test_names_that_cannot_be_owners_get_none(owner: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["token", owner, "--data", str(data)]) == 2
    assert capsys.readouterr().out == ""


def test_without_a_region_there_is_no_secret_to_mint_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["token", "team-tea", "--data", str(tmp_path)]) == 4
    assert not (tmp_path / "registry.key").exists()
