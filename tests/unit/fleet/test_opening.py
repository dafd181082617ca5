"""Addresses are chosen once and kept."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from redqueen.errors import Conflict, InvalidInput
from redqueen.fleet.datadir import read_supervisor, write_json
from redqueen.fleet.opening import Planner, opened


def taken_port() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_the_chosen_port_is_remembered(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with taken_port() as server:
        wanted = server.getsockname()[1]
        with opened(data_dir, port=wanted) as first:
            assert first.public_port != wanted
            assert str(wanted) in first.because
    with opened(data_dir) as again:
        assert again.public_port == first.public_port
        assert again.because == ""


def test_a_changed_configuration_is_stronger_than_memory(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with taken_port() as one, taken_port() as two:
        first, second = one.getsockname()[1], two.getsockname()[1]
    with opened(data_dir, port=first):
        pass
    (data_dir / "redqueen.toml").write_text(f"port = {second}")
    with opened(data_dir) as opening:
        assert opening.public_port == second


def test_who_supervises_is_written_while_the_lock_is_held(tmp_path: Path) -> None:
    with opened(tmp_path / "data") as opening:
        known = read_supervisor(tmp_path / "data")
        assert known is not None and known.public_url == opening.public_url
        with pytest.raises(Conflict), opened(tmp_path / "data"):
            pass
    assert read_supervisor(tmp_path / "data") is None


def test_a_wrong_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "redqueen.toml").write_text("prot = 1")
    with pytest.raises(InvalidInput, match="prot"), opened(tmp_path):
        pass


def test_ports_of_nodes_are_kept_unless_somebody_took_them(tmp_path: Path) -> None:
    with opened(tmp_path / "data") as opening:
        plan = Planner(opening, "1")()
        assert len({(spec.host, spec.port) for spec in plan.values()}) == len(plan)
        for node_id, spec in plan.items():
            (opening.data_dir / "nodes" / node_id).mkdir()
            write_json(opening.data_dir / "nodes" / node_id / "node.json", replace(spec, port=spec.port + 1))
        moved = plan["api-b-1"]
        with socket.create_server((moved.host, moved.port + 1)):
            again = Planner(opening, "1")()
        assert again["api-b-1"].port != moved.port + 1
        assert again["worker-a-1"].port == plan["worker-a-1"].port + 1


def test_a_moved_registry_is_told_to_everybody(tmp_path: Path) -> None:
    with opened(tmp_path / "data") as opening:
        planner = Planner(opening, "1")
        before = planner()["registry-a-1"]
        with socket.create_server((before.host, before.port)):
            after = planner("registry-a-1")
        assert after["registry-a-1"].port != before.port
        assert f":{after['registry-a-1'].port}" in after["api-b-1"].registry_urls[0]
