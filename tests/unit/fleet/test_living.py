"""What is believed to be alive: pid and start time together."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from redqueen.errors import InvalidInput, NotFound
from redqueen.fleet.living import checked, envoy_view, kill, node_view, supervisor_view
from redqueen.fleet.model import NodeSpec, NodeState, Role
from redqueen.fleet.nodefiles import is_ready, known_specs, load_spec, mark_ready, myself, spec_path

SPEC = NodeSpec("gateway-a-1", Role.GATEWAY, "gateway", "1", "a", "local", "127.0.1.1", 2, "/d", "127.0.0.1", 8080)


def test_a_view_whose_process_is_gone_is_stopped() -> None:
    alive = node_view(SPEC, myself(), NodeState.UP)
    reused = replace(alive, started_s=1.0)
    resting = node_view(SPEC, None, NodeState.QUARANTINED, because="it exited with code 1")
    assert checked([alive, resting]) == [alive, resting]
    assert checked([reused])[0].state is NodeState.STOPPED
    ailing = replace(reused, because="GET /health was answered 503")
    assert checked([ailing])[0].because.endswith("(last seen: GET /health was answered 503)")


@pytest.mark.parametrize("pid", [0, 1, -1, pytest.param(os.getpid(), id="own")])
def test_nothing_is_killed_that_is_not_exactly_the_views_process(pid: int) -> None:
    with pytest.raises(NotFound):
        kill(replace(node_view(SPEC, None, NodeState.UP), pid=pid, started_s=1.0))


def test_an_envoys_row_has_its_own_name_and_the_public_address() -> None:
    view = envoy_view(SPEC, myself())
    assert (view.node_id, view.role, view.zone, view.port) == ("envoy-a-1", "envoy", "a", 8080)
    assert supervisor_view().node_id == "supervisor"


def test_a_node_marks_itself_ready(tmp_path: Path) -> None:
    spec = replace(SPEC, data_dir=str(tmp_path))
    spec.folder.mkdir(parents=True)
    assert not is_ready(tmp_path, spec.node_id, myself())
    mark_ready(spec)
    assert is_ready(tmp_path, spec.node_id, myself())
    assert not is_ready(tmp_path, spec.node_id, replace(myself(), pid=1))


def test_a_spec_file_that_is_none_is_refused_by_the_node_and_passed_over_by_the_fleet(tmp_path: Path) -> None:
    path = spec_path(tmp_path, "api-a-1")
    path.parent.mkdir(parents=True)
    path.write_text('{"node_id": "api-a-1"}')
    with pytest.raises(InvalidInput):
        load_spec(path)
    assert known_specs(tmp_path) == {}
