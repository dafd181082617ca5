"""A declared command as a process: what it needs, what it is told, what it uses."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from redqueen import processes
from redqueen.errors import InvalidInput
from redqueen.fleet.declared import ServiceFile
from redqueen.fleet.drivers import strays
from redqueen.fleet.drivers.command import environment, family, listens_on, program_of, runnable, use_of
from redqueen.fleet.model import NodeSpec, Role
from redqueen.processes import ProcessId, identify

HOLD = """
import os, subprocess, sys, time
if sys.argv[1] == "inner":
    kept = bytearray(os.urandom(1 << 20)) * 60
    files = [open("/dev/null") for _ in range(40)]
    import socket
    server = socket.create_server(("127.0.0.1", 0))
    print("ready", flush=True)
    time.sleep(60)
subprocess.Popen([sys.executable, "-c", sys.argv[2], "inner", ""])
time.sleep(60)
"""


def file(folder: Path, *command: str, **fields: object) -> ServiceFile:
    return ServiceFile("shop", "me", command, directory=str(folder), **fields)  # type: ignore[arg-type]


def spec(folder: Path) -> NodeSpec:
    made = file(folder, "sh", environment={"COLOUR": "red"})
    urls = ("http://127.0.1.1:1", "http://127.0.2.1:2")
    return NodeSpec(
        "shop-a-1", Role.SERVICE, "shop", "7", "a", "local", "127.0.1.1", 5, str(folder), "h", 1, urls, made.program
    )


def test_a_folder_or_a_program_that_is_not_there_is_refused_by_its_key(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("#!/bin/sh\n")
    with pytest.raises(InvalidInput, match="directory = "):
        runnable(file(tmp_path / "no", "sh"), "f")
    for name in ("no-such-program", "./mine", str(tmp_path)):
        with pytest.raises(InvalidInput, match=r"command\[0\]"):
            runnable(file(tmp_path, name), "f")
    (tmp_path / "mine").chmod(0o755)
    assert program_of(runnable(file(tmp_path, "./mine"), "f").program) == str(tmp_path / "mine")
    assert program_of(file(tmp_path, "sh").program) is not None
    assert program_of(file(tmp_path, "sh", environment={"PATH": str(tmp_path)}).program) is None


def test_the_command_is_told_where_it_is_and_inherits_no_secrets(tmp_path: Path) -> None:
    known = spec(tmp_path)
    assert known.program is not None
    told = environment(known, known.program, {"PATH": "/bin", "AWS_SECRET": "x", "LANG": "C"})
    assert told["PATH"] == "/bin" and told["LANG"] == "C" and told["COLOUR"] == "red"
    assert (told["HOST"], told["PORT"], told["REDQUEEN_NODE"]) == ("127.0.1.1", "5", "shop-a-1")
    assert told["REDQUEEN_REGISTRIES"] == "http://127.0.1.1:1/eureka,http://127.0.2.1:2/eureka"
    assert "AWS_SECRET" not in told


def test_a_commands_descendants_count_and_end_with_it(tmp_path: Path) -> None:
    known = spec(tmp_path)
    assert known.program is not None
    told = environment(known, known.program, os.environ)
    outer = subprocess.Popen([sys.executable, "-c", HOLD, "outer", HOLD], env=told, stdout=subprocess.PIPE)
    try:
        assert outer.stdout is not None and outer.stdout.readline() == b"ready\n"
        process = identify(outer.pid)
        assert process is not None
        assert len(family(process)) == 2
        used = use_of(process)
        assert used.memory_bytes > 60 << 20
        assert used.descriptors >= 40
        ((host, _),) = listens_on(process)
        assert host == "127.0.0.1"
        inner = ProcessId(*[(found.pid, found.started_s) for found in strays.find(tmp_path, "shop-a-1")][-1])
        outer.kill()
        outer.wait()
        assert processes.is_alive(inner)
        assert strays.end(tmp_path, "shop-a-1") == 1
        ends_at = time.monotonic() + 5
        while processes.is_alive(inner):
            assert time.monotonic() < ends_at
            time.sleep(0.01)
    finally:
        strays.end(tmp_path, "shop-a-1")
        outer.kill()
        outer.communicate()
