"""The agent's pure rules: write order, verdicts on snapshots, restart delays, what the log says."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from redqueen.clock import SystemClock
from redqueen.errors import InvalidInput
from redqueen.events import discard
from redqueen.gateway import agent
from redqueen.gateway.compiler import version_of
from redqueen.gateway.envoy_admin import Choice, judge, parse_stats, versions
from redqueen.gateway.envoy_process import last_complaint, restart_delay_s
from redqueen.gateway.model import GatewaySettings, Snapshot
from redqueen.gateway.snapshot_folder import SnapshotFolder, changed, write_order

FILES = {
    "bootstrap.json": b"{}",
    "cds.json": b'{"version_info": "c2", "resources": []}',
    "eds-api.json": b'{"version_info": "e2", "resources": []}',
    "lds.json": b'{"version_info": "l2", "resources": []}',
    "rds.json": b'{"version_info": "r2", "resources": []}',
}
WANTED = versions(FILES, FILES)


def stats(**versions: str) -> dict[str, str]:
    prefixes = {
        "c": "cluster_manager.cds",
        "e": "cluster.api",
        "l": "listener_manager.lds",
        "r": "http.front_door.rds.front-door",
    }
    return {f"{prefix}.version_text": versions.get(key, f"{key}2") for key, prefix in prefixes.items()}


def test_whatever_refers_to_another_is_written_after_it():
    mixed = ["rds.json", "lds.json", "eds-b.json", "cds.json", "eds-a.json", "bootstrap.json"]
    expected = ["bootstrap.json", "eds-a.json", "eds-b.json", "cds.json", "lds.json", "rds.json"]
    assert write_order(mixed) == expected
    assert changed({"a": b"1", "b": b"1"}, {"a": b"1", "b": b"2", "c": b""}) == ["b", "c"]


def test_a_snapshot_is_applied_when_every_version_is_in_effect():
    assert judge(WANTED, {}, stats()).choice is Choice.APPLIED
    assert judge(WANTED, {}, stats(e="e1")).choice is Choice.PENDING
    assert "eds-api.json" in judge(WANTED, {}, stats(e="e1")).because


@pytest.mark.parametrize("counter", ["update_rejected", "update_failure"])
def test_a_risen_counter_refuses_and_an_old_one_does_not(counter: str):
    name = f"listener_manager.lds.{counter}"
    now = {**stats(l="l1"), name: "2"}
    assert judge(WANTED, {name: "1"}, now).choice is Choice.REFUSED
    assert judge(WANTED, {name: "2"}, now).choice is Choice.PENDING
    assert judge(WANTED, {name: "1"}, {**stats(), name: "2"}).choice is Choice.APPLIED


def test_envoys_numbers_are_read():
    assert parse_stats('a.b: 3\nc.version_text: "x: y"\nempty\n') == {"a.b": "3", "c.version_text": "x: y"}


def test_a_first_crash_restarts_at_once_and_repeated_ones_slower_and_slower():
    assert restart_delay_s([]) == 0
    assert restart_delay_s([100.0]) == 0
    assert restart_delay_s([0.1]) == 0
    delays = [restart_delay_s([0.1] * count) for count in range(12)]
    assert delays == sorted(delays)
    assert delays[-1] == 5
    assert restart_delay_s([0.1] * 12 + [60.0]) == 0


def test_the_log_names_the_last_refusal(tmp_path: Path):
    log = tmp_path / "log"
    assert last_complaint(log, 0) == ""
    lines = [
        {"event": "Request", "path": "/rejected"},
        {"event": "Envoy", "message": "update rejected: port in use"},
        {"event": "Envoy", "message": "all is well"},
    ]
    log.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    assert last_complaint(log, 0) == "update rejected: port in use"
    assert last_complaint(log, log.stat().st_size) == ""


def test_only_changed_files_are_renamed_into_place_and_stale_ones_go(tmp_path: Path):
    folder = SnapshotFolder(tmp_path / "envoy")
    folder.prepare()
    assert folder.load() is None
    first = Snapshot(version_of(FILES.items()), FILES)
    assert set(folder.write(first)) == set(FILES)
    assert folder.load() == first
    inode = (folder.path / "lds.json").stat().st_ino
    files = {**FILES, "eds-shop.json": FILES["eds-api.json"]}
    del files["eds-api.json"]
    assert folder.write(Snapshot("2", files)) == ("eds-shop.json",)
    assert (folder.path / "lds.json").stat().st_ino == inode
    assert not (folder.path / "eds-api.json").exists()
    assert folder.load_good() is None
    folder.keep_good(first)
    assert folder.load_good() == first


def test_a_torn_or_incomplete_folder_is_no_snapshot(tmp_path: Path):
    folder = SnapshotFolder(tmp_path / "envoy")
    folder.prepare()
    folder.write(Snapshot("1", FILES))
    (folder.path / "rds.json").write_bytes(b'{"version_in')
    assert folder.load() is None
    (folder.path / "rds.json").unlink()
    assert folder.load() is None


@pytest.mark.anyio
async def test_a_media_folder_behind_a_symlink_is_refused(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    settings = GatewaySettings(
        "envoy-a-1", "a", "127.0.0.1", 8080, "127.0.0.1", tmp_path / "linked" / "media", tmp_path, tmp_path / "log"
    )

    class Nothing:
        async def watch(self):
            yield ()

        async def read(self):
            raise AssertionError

    with pytest.raises(InvalidInput, match="symlink"):
        await agent.run(settings, Nothing(), Nothing(), SystemClock(), discard, drain=anyio.Event())
