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
from redqueen.fleet import nodefiles
from redqueen.fleet.datadir import open_data_dir, write_json
from redqueen.fleet.living import seen_in
from redqueen.fleet.model import NodeSpec, Role


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


def running(data_dir: Path, node_id: str, role: Role, service: str) -> None:
    """Leave the files of a node that lives: this very process."""
    spec = NodeSpec(node_id, role, service, "r2", "a", "local", "127.0.1.1", 1, str(data_dir), "127.0.0.1", 8080)
    spec.folder.mkdir(parents=True)
    write_json(spec.folder / "node.json", spec)
    for name in ("process.json", *(["envoy.json"] if role is Role.GATEWAY else [])):
        write_json(spec.folder / name, nodefiles.myself())


async def engines() -> list[Check]:
    return []


def test_a_region_in_the_middle_of_a_release_is_as_well_as_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "_engines", engines)
    open_data_dir(tmp_path)
    running(tmp_path, "gateway-a-1", Role.GATEWAY, "gateway")
    running(tmp_path, "api--r2-canary-a-1", Role.API, "api--r2-canary")
    running(tmp_path, "shop--r3-baseline-a-1", Role.SERVICE, "shop--r3-baseline")
    assert {view.service for view in seen_in(tmp_path)} == {"gateway", "envoy", "api--r2-canary", "shop--r3-baseline"}
    assert run(["doctor", "--json", "--data", str(tmp_path)]) == 0
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert found["port"]["found"] == "held by this data folder's own region"
    assert run(["doctor", "--data", str(tmp_path)]) == 0
    assert "This machine can run a region" in capsys.readouterr().out


def test_it_tells_how_much_is_kept_and_for_how_long(tmp_path: Path) -> None:
    assert doctor.kept(tmp_path / "none") == []
    open_data_dir(tmp_path)
    for day in ("2026-05-02", "2026-05-01"):
        hour = tmp_path / "objects/events" / f"date={day}" / "hour=03"
        hour.mkdir(parents=True)
        (hour / "a.parquet").write_bytes(b"x" * (1 << 20))
    (tmp_path / "objects/artifacts").mkdir()
    (tmp_path / "objects/artifacts/x.tar").write_bytes(b"x")
    (tmp_path / "redqueen.toml").write_text("[retention]\ntrial_logs_days = 0\n")
    ((name, verdict, found),) = [(check.name, check.verdict, check.found) for check in doctor.kept(tmp_path)]
    assert (name, verdict) == ("kept", "ok")
    assert "events 2.0 MiB since 2026-05-01 (kept 90 days)" in found and "1 artifacts 0.0 MiB" in found
    assert "looks of trials (kept for ever)" in found
    (tmp_path / "redqueen.toml").write_text('[objects]\nurl = "s3://films/home"\n')
    assert "events and artifacts lie in s3://films/home" in doctor.kept(tmp_path)[0].found
