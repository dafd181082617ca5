"""What `redqueen up` and `down` do to a whole region of tiny processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fleet_region import free_port, living, swept, until

from redqueen import processes
from redqueen.cli.main import run
from redqueen.fleet.living import seen_in
from redqueen.fleet.nodefiles import MARK

pytestmark = pytest.mark.anyio

NODES = 10 + 2  # ten nodes, and the Envoys of two gateways


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    with swept(tmp_path / "data") as path:
        yield path


@contextmanager
def up(data_dir: Path, output: Path, *args: str) -> Generator[subprocess.Popen[bytes], None, None]:
    script = str(Path(__file__).with_name("fleet_up.py"))
    with (
        output.open("ab") as out,
        subprocess.Popen([sys.executable, script, str(data_dir), *args], stdout=out, start_new_session=True) as child,
    ):
        try:
            yield child
        finally:
            child.kill()


async def test_it_serves_and_drains_on_ctrl_c(data_dir: Path, tmp_path: Path) -> None:
    output, port = tmp_path / "out", free_port()
    with up(data_dir, output, str(port)) as child:
        await until(lambda: f"serves at http://127.0.0.1:{port}" in output.read_text(), within_s=30)
        await until(lambda: "warning: no films today" in output.read_text())
        await until(lambda: len([v for v in seen_in(data_dir) if v.state == "up"]) == NODES + 1, within_s=30)
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 0
    said = output.read_text()
    assert "Draining the region" in said
    assert said.index("gateway-a-1    gone") < said.index("api-b-1        gone") < said.index("registry-a-1   gone")
    assert said.endswith("closed\n")
    assert processes.marked(MARK, str(data_dir)) == []


async def test_a_killed_supervisor_is_followed_by_one_that_adopts_all_at_the_same_address(
    data_dir: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with up(data_dir, output, str(port)) as child:
            await until(lambda: "serves at" in output.read_text(), within_s=30)
            await until(lambda: len([v for v in seen_in(data_dir) if v.state == "up"]) == NODES + 1, within_s=30)
            assert f"port {port} is taken" in output.read_text()
            address = output.read_text().partition("serves at ")[2].split()[0]
            before = {view.node_id: view.pid for view in seen_in(data_dir) if view.role != "supervisor"}
            os.kill(child.pid, signal.SIGKILL)
            child.wait(5)
    second = tmp_path / "second"
    with up(data_dir, second):
        await until(lambda: f"serves at {address}" in second.read_text(), within_s=30)
        assert {view.node_id: view.pid for view in seen_in(data_dir) if view.role != "supervisor"} == before


async def test_down_ends_all_after_the_supervisor_was_killed(
    data_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with up(data_dir, tmp_path / "out", str(free_port())) as child:
        await until(lambda: len(living(data_dir)) >= NODES, within_s=30)
        child.kill()
        child.wait(5)
    done = subprocess.run(
        [sys.executable, "-m", "redqueen.cli.main", "down", "--data", str(data_dir)], capture_output=True, check=False
    )
    assert done.returncode == 0
    assert b"ended api-b-1" in done.stdout
    assert living(data_dir) == []
    assert processes.marked(MARK, str(data_dir)) == []


def test_status_tells_of_processes_when_no_api_answers(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--data", str(data_dir)]) == 4
    assert "There is no region" in capsys.readouterr().err
