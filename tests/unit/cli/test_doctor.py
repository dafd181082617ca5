"""`redqueen doctor`: judgements; the engines themselves are asked once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from certificates import put_certificate
from redqueen.cli import doctor
from redqueen.cli.doctor import Check
from redqueen.cli.main import run
from redqueen.errors import Unavailable


def test_missing_landlock_is_a_warning_that_says_what_it_means() -> None:
    check = doctor.sandbox(0)
    assert check.verdict == "warn"
    assert "without a narrowed view" in check.means
    assert doctor.sandbox(3).verdict == "warn"
    assert doctor.sandbox(4).verdict == "ok"


def test_a_nearly_full_disk_fails() -> None:
    assert doctor.disk(1 << 29).verdict == "fail"
    assert doctor.disk(5 << 30).verdict == "warn"
    assert doctor.disk(50 << 30).verdict == "ok"


def test_a_small_machine_and_few_files_are_warnings() -> None:
    assert doctor.machine(1, 8 << 30).verdict == "warn"
    assert doctor.machine(2, 8 << 30).verdict == "ok"
    assert doctor.open_files(1024).verdict == "warn"
    assert doctor.open_files(-1).found == "unlimited"


def test_everything_is_looked_at_and_a_failure_is_exit_code_7(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken() -> list[Check]:
        raise Unavailable("x.y", "The engine is gone", hint="Install it")

    monkeypatch.setattr(doctor, "_engines", broken)
    assert run(["doctor", "--json", "--data", str(tmp_path / "new")]) == 7
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"]
    verdicts = {check["name"]: check["verdict"] for check in found["checks"]}
    assert verdicts["engines"] == "fail"
    assert set(verdicts) >= {"python", "sandbox", "zones", "port", "data", "disk", "machine", "open files"}
    assert not (tmp_path / "new").exists()


def test_the_engines_of_this_environment_answer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run(["doctor", "--json", "--data", str(tmp_path)])
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    for engine in ("envoy", "ffmpeg", "ffprobe", "packager"):
        assert found[engine]["verdict"] == "ok", found[engine]
        assert "version" in found[engine]["found"]


def test_a_newer_versions_folder_is_a_failed_check(tmp_path: Path) -> None:
    (tmp_path / "region.json").write_text('{"format": 99}')
    checks = {check.name: check for check in doctor._looked("data", lambda: [doctor._data(tmp_path)])}
    assert checks["data"].verdict == "fail"


def test_a_certificate_is_looked_at_where_there_is_one(tmp_path: Path) -> None:
    def said() -> list[tuple[str, str]]:
        found = [check for check in doctor.examine(tmp_path) if check.name == "certificate"]
        return [(check.verdict, check.found + check.means) for check in found]

    assert said() == []
    (tmp_path / "redqueen.toml").write_text('[tls]\ncertificate = "certificate.pem"\nkey = "key.pem"\n')
    ((verdict, why),) = said()
    assert verdict == "fail" and "there is no such file" in why
    put_certificate(tmp_path, days=10)
    ((verdict, why),) = said()
    assert verdict == "warn" and "was not renewed" in why
    put_certificate(tmp_path)
    ((verdict, _),) = said()
    assert verdict == "ok"
