"""Processes are started, recognised and ended as promised."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

from redqueen.errors import Unavailable
from redqueen.processes import (
    Completed,
    Confinement,
    ProcessId,
    identify,
    is_alive,
    run,
    send_signal,
    spawn,
    stop,
    wait_exit,
)

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
PYTHON_FILES = (Path(sys.prefix), Path(sys.base_prefix))


def limits(**changes: object) -> Confinement:
    """Give limits under which a Python can run."""
    return Confinement(read=PYTHON_FILES, **changes)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_a_spawned_process_is_known_by_pid_and_start_time_and_stops(tmp_path: Path) -> None:
    child = spawn(SLEEP, log=tmp_path / "log")
    assert is_alive(child)
    assert not is_alive(ProcessId(child.pid, child.started_s - 60)), "a reused pid would be mistaken for the child"
    with anyio.fail_after(30):
        await stop(child, grace_s=2)
    assert not is_alive(child)
    assert identify(child.pid) is None


@pytest.mark.anyio
async def test_a_process_that_ignores_term_is_killed_after_its_grace(tmp_path: Path) -> None:
    stubborn = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    child = spawn([sys.executable, "-S", "-c", stubborn], log=tmp_path / "log")
    with anyio.fail_after(30):
        while b"ready" not in (tmp_path / "log").read_bytes():
            await anyio.sleep(0.01)
        started = time.monotonic()
        await stop(child, grace_s=0.3)
    assert time.monotonic() - started >= 0.3
    assert not is_alive(child)


@pytest.mark.anyio
async def test_an_exit_is_noticed_at_once_whoever_the_parent_is(tmp_path: Path) -> None:
    grandchild = (
        f"import subprocess; print(subprocess.Popen({SLEEP!r}, start_new_session=True, stdout=-3, stderr=-3).pid)"
    )
    output = subprocess.run([sys.executable, "-c", grandchild], capture_output=True, check=True)
    orphan = identify(int(output.stdout))
    assert orphan is not None
    noticed: list[float] = []

    async def watch() -> None:
        await wait_exit(orphan)
        noticed.append(time.monotonic())

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await anyio.sleep(0.1)
            killed = time.monotonic()
            assert send_signal(orphan, signal.SIGKILL)
    assert noticed[0] - killed < 1


def test_a_signal_never_reaches_a_process_that_reused_the_pid() -> None:
    assert not send_signal(ProcessId(os.getpid(), 12345.0), signal.SIGKILL)


@pytest.mark.anyio
async def test_a_confined_engine_cannot_read_outside_what_it_was_given(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "film").write_text("film")
    read = "import sys; print(open(sys.argv[1]).read())"
    command = [sys.executable, "-S", "-c", read]
    inside = await run([*command, str(allowed / "film")], timeout_s=10, limits=limits(write=(allowed,)))
    outside = await run([*command, str(secret)], timeout_s=10, limits=limits(write=(allowed,)))
    assert inside == Completed(0, b"film\n", b"")
    assert outside.exit_code != 0
    assert b"PermissionError" in outside.stderr


@pytest.mark.anyio
async def test_a_confined_engine_has_no_network_and_bounded_memory() -> None:
    connect = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    hoard = "bytearray(1 << 30)"
    network = await run([sys.executable, "-S", "-c", connect], timeout_s=10, limits=limits())
    memory = await run([sys.executable, "-S", "-c", hoard], timeout_s=10, limits=limits(memory_bytes=512 << 20))
    assert b"PermissionError" in network.stderr
    assert b"MemoryError" in memory.stderr


@pytest.mark.anyio
async def test_an_engine_that_takes_too_long_is_killed_with_its_group() -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable, match="did not finish within"):
        await run(SLEEP, timeout_s=0.5, limits=limits())
    assert time.monotonic() - started < 30


@pytest.mark.anyio
async def test_only_the_end_of_a_long_output_is_kept() -> None:
    chatter = "print('x' * 1_000_000 + 'end', end='')"
    done = await run([sys.executable, "-S", "-c", chatter], timeout_s=10, limits=limits(), tail_bytes=1000)
    assert len(done.stdout) == 1000
    assert done.stdout.endswith(b"end")


def test_a_confined_engine_dies_with_its_starter() -> None:
    starter = (
        "import subprocess, sys; from pathlib import Path; from redqueen.processes import Confinement, confined;"
        f"argv = confined({SLEEP!r}, Confinement(read=(Path(sys.prefix), Path(sys.base_prefix))));"
        "print(subprocess.Popen(argv, start_new_session=True).pid, flush=True); import time; time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        engine = identify(int(parent.stdout.readline()))
        assert engine is not None
        time.sleep(0.3)
        assert is_alive(engine)
        parent.kill()
    deadline = time.monotonic() + 5
    while is_alive(engine) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(engine)
