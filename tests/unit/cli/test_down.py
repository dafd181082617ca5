"""`redqueen down` where nothing runs; real regions are ended in tests/integration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from redqueen.cli.main import run


def test_nothing_to_end_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["down", "--data", str(tmp_path / "none")]) == 0
    assert "Nothing runs" in capsys.readouterr().out
    assert run(["down", "--json", "--data", str(tmp_path / "none")]) == 0
    assert json.loads(capsys.readouterr().out) == {"ended": []}


def test_a_broken_configuration_does_not_keep_a_region_alive(tmp_path: Path) -> None:
    (tmp_path / "region.json").write_text('{"format": 1}')
    (tmp_path / "redqueen.toml").write_text("port = 'many'")
    assert run(["down", "--data", str(tmp_path)]) == 0
