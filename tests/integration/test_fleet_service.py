"""The supervisor with real processes: restarts, quarantine, adoption, draining."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from fleet_region import TWO, Board, fake_argv, living, supervised, swept, until

from redqueen import processes
from redqueen.errors import Conflict
from redqueen.fleet.backoff import Pace
from redqueen.fleet.datadir import read_supervisor
from redqueen.fleet.desired import Share
from redqueen.fleet.drivers.local import LocalProcesses
from redqueen.fleet.living import kill, seen_in
from redqueen.fleet.model import NodeState, Role
from redqueen.fleet.nodefiles import MARK, known_specs, node_process, spec_path
from redqueen.fleet.opening import opened

A, B = "api-a-1", "api-b-1"

pytestmark = pytest.mark.anyio


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    with swept(tmp_path / "data") as path:
        yield path


async def test_a_killed_node_is_started_again_and_everybody_hears_of_it(data_dir: Path) -> None:
    async with supervised(data_dir) as region:
        await until(lambda: region.is_up(A, B))
        before = node_process(data_dir, A)
        assert before is not None
        at = time.monotonic()
        os.kill(before.pid, signal.SIGKILL)
        await until(lambda: region.ears.heard)
        noticed_s = time.monotonic() - at
        await until(lambda: (now := node_process(data_dir, A)) and now != before)
        await until(lambda: region.is_up(A, B))
        assert noticed_s < 2.5
        assert region.ears.heard == [(A, "it was killed by SIGKILL")]
        await until(lambda: A in region.board.views and region.board.views[A].restarts == 1)
        assert region.board.views[A].because == "started again: it was killed by SIGKILL"
    assert living(data_dir) == []
    assert region.board.views == {}


async def test_ports_and_public_address_are_kept_over_restarts(data_dir: Path) -> None:
    async with supervised(data_dir) as region:
        await until(lambda: region.is_up(A, B))
        ports = {node_id: spec.port for node_id, spec in known_specs(data_dir).items()}
        public = region.opening.public_port
    with opened(data_dir) as opening:
        assert opening.public_port == public
    assert {node_id: spec.port for node_id, spec in known_specs(data_dir).items()} == ports
    async with supervised(data_dir) as region:
        await until(lambda: region.is_up(A, B))
        assert {node_id: spec.port for node_id, spec in known_specs(data_dir).items()} == ports


async def test_a_node_that_is_not_wanted_any_more_is_drained_and_forgotten(data_dir: Path) -> None:
    async with supervised(data_dir, drain=False) as region:
        await until(lambda: region.is_up(A, B))
    async with supervised(data_dir, TWO[:1], port=region.opening.public_port):
        await until(lambda: set(known_specs(data_dir)) == {A})
        assert living(data_dir) == [A, "supervisor"]


async def test_nodes_survive_their_supervisor_and_the_next_one_adopts_them(data_dir: Path) -> None:
    board = Board()
    async with supervised(data_dir, board=board, drain=False) as region:
        await until(lambda: region.is_up(A, B))
        public = region.opening.public_port
        before = {view.node_id: view.pid for view in seen_in(data_dir) if view.role == "api"}
    (data_dir / "nodes" / B / "process.json").unlink()  # as if the supervisor had died between start and note
    async with supervised(data_dir, board=board, port=public) as region:
        await until(lambda: region.is_up(A, B))
        assert {view.node_id: view.pid for view in seen_in(data_dir) if view.role == "api"} == before
        os.kill(node_process(data_dir, A).pid, signal.SIGKILL)  # type: ignore[union-attr]
        await until(lambda: any(node_id == A for node_id, _ in region.ears.heard))
        await until(lambda: region.is_up(A, B))


async def test_a_crash_loop_is_quarantined_while_the_others_serve(data_dir: Path) -> None:
    (data_dir / "nodes" / A).mkdir(parents=True)
    (data_dir / "region.json").write_text('{"format": 1}')
    (data_dir / "nodes" / A / "crash").touch()
    pace = Pace(first_s=0.01, crashes=3, quarantine_s=0.6, stop_s=0.4)
    async with supervised(data_dir, pace=pace) as region:
        await until(lambda: (view := region.view(A)) and view.state is NodeState.QUARANTINED)
        assert "it exited with code 3, 3 times in a row" in region.view(A).because  # type: ignore[union-attr]
        (data_dir / "nodes" / A / "crash").unlink()
        await until(lambda: region.is_up(A, B))


async def test_a_new_supervisor_gives_a_crash_loop_one_try_not_a_whole_new_loop(data_dir: Path) -> None:
    (data_dir / "nodes" / A).mkdir(parents=True)
    (data_dir / "region.json").write_text('{"format": 1}')
    (data_dir / "nodes" / A / "crash").touch()
    pace, board = Pace(first_s=0.01, crashes=3, quarantine_s=60, stop_s=0.4), Board()

    def is_quarantined() -> bool:
        return A in board.views and board.views[A].state is NodeState.QUARANTINED

    async with supervised(data_dir, board=board, pace=pace, drain=False) as region:
        await until(is_quarantined)
    before = board.views[A].restarts
    async with supervised(data_dir, board=board, pace=pace, port=region.opening.public_port) as again:
        await until(lambda: (A, "it exited with code 3") in again.ears.heard)
        await until(is_quarantined)
        assert board.views[A].restarts == before + 1


async def test_a_node_that_does_not_leave_is_killed(data_dir: Path) -> None:
    (data_dir / "nodes" / A).mkdir(parents=True)
    (data_dir / "region.json").write_text('{"format": 1}')
    (data_dir / "nodes" / A / "stubborn").touch()
    async with supervised(data_dir) as region:
        await until(lambda: region.is_up(A, B))
    assert living(data_dir) == []
    assert (A, "it was killed by SIGKILL") in region.ears.heard


async def test_a_broken_board_does_not_stop_repairs(data_dir: Path) -> None:
    async with supervised(data_dir, board=Board(broken=True)) as region:
        await until(lambda: region.is_up(A, B))
        os.kill(node_process(data_dir, A).pid, signal.SIGKILL)  # type: ignore[union-attr]
        await until(lambda: region.ears.heard)
        await until(lambda: region.is_up(A, B))


async def test_a_node_whose_port_was_taken_meanwhile_moves(data_dir: Path) -> None:
    async with supervised(data_dir) as region:
        await until(lambda: region.is_up(A, B))
        spec = known_specs(data_dir)[A]
        with socket.create_server((spec.host, spec.port)):
            os.kill(node_process(data_dir, A).pid, signal.SIGKILL)  # type: ignore[union-attr]
            await until(lambda: region.ears.heard)
            await until(lambda: region.is_up(A, B))
            assert known_specs(data_dir)[A].port != spec.port


async def test_new_settings_replace_the_nodes_one_by_one(data_dir: Path) -> None:
    board = Board()
    async with supervised(data_dir, board=board, drain=False) as region:
        await until(lambda: region.is_up(A, B))
    newer = tuple(Share(Role.API, "api", "2", zone, 1) for zone in "ab")
    async with supervised(data_dir, newer, board=board, port=region.opening.public_port) as region:
        await until(lambda: region.views and {v.version for v in region.views[-1] if v.role == "api"} == {"2"})
        await until(lambda: region.is_up(A, B))
        for views in region.views[1:]:
            assert any(view.role == "api" and view.state is NodeState.UP for view in views)


async def test_a_second_supervisor_is_refused_with_pid_and_address(data_dir: Path) -> None:
    async with supervised(data_dir) as region:
        with pytest.raises(Conflict) as caught, opened(data_dir):
            pass
        assert region.opening.public_url in caught.value.what
        assert str(os.getpid()) in caught.value.why
        assert read_supervisor(data_dir) is not None
    assert read_supervisor(data_dir) is None


async def test_kill_ends_exactly_the_process_of_a_view(data_dir: Path) -> None:
    async with supervised(data_dir, TWO) as region:
        await until(lambda: region.is_up(A, B))
        view = region.view(A)
        assert view is not None
        kill(view)
        await until(lambda: (A, "it was killed by SIGKILL") in region.ears.heard)


async def test_every_process_of_a_region_carries_its_mark(data_dir: Path) -> None:
    async with supervised(data_dir) as region:
        await until(lambda: region.is_up(A, B))
        marked = {process.pid for process in processes.marked(MARK, str(data_dir))}
        assert marked == {view.pid for view in region.views[-1] if view.role == "api"}


async def test_a_process_that_ended_before_anybody_waited_is_reaped(data_dir: Path) -> None:
    (data_dir / "nodes" / A).mkdir(parents=True)
    (data_dir / "nodes" / A / "crash").touch()
    driver = LocalProcesses(data_dir, fake_argv)
    log = data_dir / "logs" / "x.log"
    process = processes.spawn(fake_argv(spec_path(data_dir, A)), log=log)
    await until(lambda: not processes.is_alive(process))
    assert await driver.wait_exit(A, process) == "it exited with code 3"
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)  # noqa: ASYNC222 - returns at once


async def test_spec_files_are_readable_json(data_dir: Path) -> None:
    async with supervised(data_dir) as region:
        await until(lambda: region.is_up(A, B))
        spec = json.loads(await anyio.Path(spec_path(data_dir, A)).read_bytes())
        assert spec["node_id"] == A
        assert spec["data_dir"] == str(data_dir)
