"""`down` ends every process of a region, whatever happened to its supervisor, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from fleet_region import free_port, living, swept, until

from redqueen import processes
from redqueen.errors import Conflict, InvalidInput
from redqueen.fleet.datadir import locked
from redqueen.fleet.living import seen_in
from redqueen.fleet.nodefiles import MARK, write_process
from redqueen.fleet.teardown import down

A, B = "api-a-1", "api-b-1"
SLEEP = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    with swept(tmp_path / "data") as path:
        yield path


@contextmanager
def supervisor(data_dir: Path) -> Generator[subprocess.Popen[bytes], None, None]:
    """Run a supervisor as a process of its own, and be sure that it ends."""
    script = str(Path(__file__).with_name("fleet_region.py"))
    with subprocess.Popen([sys.executable, script, str(data_dir), str(free_port())], start_new_session=True) as child:
        try:
            yield child
        finally:
            child.kill()


def all_ready(data_dir: Path) -> bool:
    return {view.node_id for view in seen_in(data_dir) if view.state == "up"} >= {A, B, "supervisor"}


async def test_down_asks_a_living_supervisor_and_tells_all_that_ended(data_dir: Path) -> None:
    with supervisor(data_dir) as child:
        await until(lambda: all_ready(data_dir))
        told: list[str] = []
        ended = await down(data_dir, grace_s=3, on_ended=lambda one: told.append(one.node_id))
        assert sorted(one.node_id for one in ended) == [A, B, "supervisor"]
        assert told == [one.node_id for one in ended]
        assert child.wait(5) == 0
    assert processes.marked(MARK, str(data_dir)) == []
    assert not (data_dir / "supervisor.json").exists()


async def test_down_ends_everything_after_the_supervisor_was_killed(data_dir: Path) -> None:
    with supervisor(data_dir) as child:
        await until(lambda: all_ready(data_dir))
        child.kill()
        child.wait(5)
        assert living(data_dir) == [A, B]
        (data_dir / "nodes" / A / "process.json").unlink()  # known by its mark only
        ended = await down(data_dir, grace_s=3)
    assert len(ended) == 2
    assert processes.marked(MARK, str(data_dir)) == []


async def test_down_ends_an_envoy_whose_agent_is_gone(data_dir: Path) -> None:
    with supervisor(data_dir) as child:
        await until(lambda: all_ready(data_dir))
        child.kill()
        child.wait(5)
        node = data_dir / "nodes" / A / "node.json"
        gateway = {**msgspec.json.decode(node.read_bytes()), "role": "gateway", "service": "gateway"}
        gateway["node_id"] = "gateway-c-1"
        folder = data_dir / "nodes" / "gateway-c-1"
        folder.mkdir()
        (folder / "node.json").write_bytes(msgspec.json.encode(gateway))
        envoy = processes.spawn(SLEEP, log=data_dir / "logs" / "envoy.log")
        (folder / "envoy.json").write_bytes(msgspec.json.encode(envoy))
        assert "envoy-c-1" in [one.node_id for one in await down(data_dir, grace_s=3)]
        assert not processes.is_alive(envoy)


async def test_down_never_touches_a_process_that_only_has_the_same_pid(data_dir: Path) -> None:
    with supervisor(data_dir):
        await until(lambda: all_ready(data_dir))
        await down(data_dir, grace_s=3)
    stranger = processes.spawn(SLEEP, log=data_dir / "logs" / "stranger.log")
    try:
        write_process(data_dir, A, processes.ProcessId(stranger.pid, stranger.started_s - 100))
        assert await down(data_dir, grace_s=1) == []
        assert processes.is_alive(stranger)
    finally:
        await processes.stop(stranger, grace_s=0)


async def test_down_has_nothing_to_do_where_no_region_is(tmp_path: Path) -> None:
    assert await down(tmp_path / "none") == []
    assert await down(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


async def test_down_leaves_a_newer_versions_region_alone(tmp_path: Path) -> None:
    (tmp_path / "region.json").write_text('{"format": 2}')
    with pytest.raises(InvalidInput, match="newer version"):
        await down(tmp_path)


async def test_down_does_not_fight_an_up_that_is_starting(tmp_path: Path) -> None:
    (tmp_path / "region.json").write_text('{"format": 1}')
    with locked(tmp_path), pytest.raises(Conflict, match="already runs"):
        await down(tmp_path)


async def test_a_stopped_supervisor_is_killed_and_its_nodes_are_ended(data_dir: Path) -> None:
    with supervisor(data_dir) as child:
        await until(lambda: all_ready(data_dir))
        os.kill(child.pid, signal.SIGSTOP)  # it lives, but will never drain
        at = time.monotonic()
        ended = await down(data_dir, grace_s=0)
        assert sorted(one.node_id for one in ended) == [A, B, "supervisor"]
        assert time.monotonic() - at < 40
