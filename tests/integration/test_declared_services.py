"""Declared services in a real region with real Envoys: run, routed, killed, bounded, replaced under load, removed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from redqueen.cli.client import read_credentials
from redqueen.errors import NotFound, RedQueenError
from redqueen.testing.region import NO_SAMPLES, Region, free_port, temporary

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = "counts = { worker = 1, control = 1, registry = 2, gateway = 2, api = 2 }\ntimings = { drain_s = 1.0 }\n"

pytestmark = [pytest.mark.region, pytest.mark.timeout(180)]

PROGRAM = """
import http.server, json, os, sys, threading, time
mode, kept = sys.argv[1], []
def hoard():
    while True:
        try:
            kept.append(open("/dev/null"))
        except OSError:
            time.sleep(0.02)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        status = 200
        if self.path.endswith("/leak"):
            kept.append(b"x" * (200 << 20))
        if self.path.endswith("/open"):
            threading.Thread(target=hoard, daemon=True).start()
        if self.path.endswith("/ill"):
            globals()["mode"] = "ill"
        if self.path == "/health" and mode == "ill":
            status = 503
        body = json.dumps({"node": os.environ["REDQUEEN_NODE"], "env": dict(os.environ)}).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
port = int(os.environ["PORT"]) + (1 if mode == "elsewhere" else 0)
print("a line of the program", flush=True)
if mode == "exit":
    sys.exit(3)
http.server.ThreadingHTTPServer((os.environ["HOST"], port), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def region() -> Generator[Region]:
    with temporary(settings=NO_SAMPLES + SMALL) as started:
        started.up("--port", str(free_port()))
        yield started


def service_file(folder: Path, name: str, mode: str = "well", extra: str = "") -> Path:
    (folder / "program.py").write_text(PROGRAM)
    path = folder / f"{name}.toml"
    command = json.dumps([sys.executable, "program.py", mode])
    path.write_text(f'name = "{name}"\nowner = "tests"\ncommand = {command}\n{extra}\n[[routes]]\npath = "/{name}"\n')
    return path


def redqueen(region: Region, *arguments: str, code: int = 0) -> str:
    done = region.run(*arguments)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return done.stdout + done.stderr


def show(region: Region, name: str) -> dict[str, Any]:
    with region.api() as api:
        return dict(api.get(f"/services/{name}"))


def ask(region: Region, path: str) -> httpx.Response:
    return httpx.get(read_credentials(region.data).address + path, timeout=30, trust_env=False)


def until(holds: Callable[[], object], within_s: float = 45.0) -> None:
    ends_at = time.monotonic() + within_s
    while True:
        with contextlib.suppress(RedQueenError, httpx.TransportError):
            if holds():
                return
        if time.monotonic() > ends_at:
            raise AssertionError("it did not come about in time")
        time.sleep(0.05)


@contextlib.contextmanager
def removed(region: Region, name: str) -> Generator[None]:
    """Remove the service at the end, whatever happened."""
    try:
        yield
    finally:
        with contextlib.suppress(NotFound), region.api() as api:
            api.delete(f"/services/{name}")


@dataclass
class Load:
    """Asks a path over and over from some threads, until told to stop; every answer must be a good one."""

    region: Region
    path: str
    threads: int = 4
    good: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._ended = threading.Event()
        self._running = [threading.Thread(target=self._ask) for _ in range(self.threads)]
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._running:
            thread.join()

    def _ask(self) -> None:
        address = urlsplit(read_credentials(self.region.data).address)
        while not self._ended.is_set():
            connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
            try:
                for _ in range(20):
                    connection.request("GET", self.path)
                    answer = connection.getresponse()
                    text = answer.read()
                    if answer.status == 200:
                        self.good[str(json.loads(text).get("node", ""))] += 1
                    else:
                        self.bad.append(f"{answer.status} {text[:200]!r}")
                    if self._ended.wait(0.01):
                        break
            except (OSError, http.client.HTTPException) as error:
                self.bad.append(repr(error))
            finally:
                connection.close()


def child_of(pid: int) -> psutil.Process:
    (child,) = psutil.Process(pid).children()
    return child


@pytest.mark.parametrize(
    ("folder", "name", "program"), [("hello-python", "hello", "python3"), ("ticker-node", "ticker", "node")]
)
def test_an_example_is_added_reached_killed_replaced_and_removed(
    region: Region, folder: str, name: str, program: str
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not on this machine")
    with removed(region, name):
        redqueen(region, "service", "add", str(EXAMPLES / folder / "service.toml"), "--wait")
        until(lambda: ask(region, f"/{name}/you").status_code == 200)
        before = show(region, name)["instances"]
        victim = before[0]
        with Load(region, f"/{name}/you") as load:
            redqueen(region, "node", "kill", victim["id"])
            until(lambda: show(region, name)["instances"][0]["restarts"] == 1 and show(region, name)["state"] == "up")
            # The command's own end is noticed just the same.
            other = child_of(show(region, name)["instances"][1]["pid"])
            os.kill(other.pid, signal.SIGKILL)
            until(lambda: show(region, name)["instances"][1]["restarts"] == 1 and show(region, name)["state"] == "up")
        assert load.bad == []
        assert "its command was killed by SIGKILL" in show(region, name)["instances"][1]["because"]
        children = [child_of(instance["pid"]) for instance in show(region, name)["instances"]]
        assert f"removed {name}" in redqueen(region, "service", "remove", name, "--yes")
        until(lambda: not any(child.is_running() for child in children))
        until(lambda: not any(node.startswith(f"{name}-") for node in nodes(region)))
        until(lambda: ask(region, f"/{name}/you").headers["content-type"] == "text/html; charset=utf-8")


def test_a_service_is_replaced_under_load_without_a_lost_request_and_never_below_its_count(
    region: Region, tmp_path: Path
) -> None:
    path = service_file(tmp_path, "rolled", extra="count = 2\ntimings = { drain_s = 0.5, stop_s = 3.0 }")
    with removed(region, "rolled"):
        redqueen(region, "service", "add", str(path), "--wait")
        until(lambda: ask(region, "/rolled").status_code == 200)
        before = {instance["pid"] for instance in show(region, "rolled")["instances"]}
        revision = show(region, "rolled")["revision"]
        redqueen(region, "service", "add", str(path))
        assert show(region, "rolled")["revision"] == revision, "the same file again is nothing to do"
        path.write_text(path.read_text().replace("count = 2", 'count = 2\nversion = "2"'))
        serving: list[int] = []
        with Load(region, "/rolled") as load, region.api() as api:
            redqueen(region, "service", "restart", "rolled")
            redqueen(region, "service", "add", str(path))
            while (card := api.get("/services/rolled"))["state"] != "up":
                serving.append(sum(instance["state"] == "up" for instance in card["instances"]))
                time.sleep(0.05)
        assert load.bad == []
        assert sum(load.good.values()) > 100
        assert min(serving) >= 2
        instances = show(region, "rolled")["instances"]
        assert before.isdisjoint(instance["pid"] for instance in instances)
        assert {instance["version"] for instance in instances} == {"2"}


def test_our_own_nodes_are_replaced_under_load_without_a_lost_request(region: Region) -> None:
    def pids(*roles: str) -> set[int]:
        with region.api() as api:
            return {node["pid"] for node in api.get("/fleet")["nodes"] if node["role"] in roles}

    before, doors = pids("api", "gateway"), pids("envoy")
    with Load(region, "/api/v1/health") as load:
        redqueen(region, "service", "restart", "api", "--wait")
        redqueen(region, "service", "restart", "gateway", "--wait")
    assert load.bad == []
    assert before.isdisjoint(pids("api", "gateway"))
    assert pids("envoy") == doors, "an Envoy serves on while the agent beside it is replaced"


def test_what_uses_too_much_or_falls_ill_is_ended_and_replaced_with_the_reason(region: Region, tmp_path: Path) -> None:
    path = service_file(
        tmp_path, "leaky", extra="count = 2\nlimits = { memory_mb = 100, descriptors = 64 }\ntimings = { drain_s = 0 }"
    )
    with removed(region, "leaky"):
        redqueen(region, "service", "add", str(path), "--wait")
        until(lambda: ask(region, "/leaky").status_code == 200)
        ask(region, "/leaky/ill")
        until(lambda: any(one["state"] == "down" for one in show(region, "leaky")["instances"]))
        reasons = (
            ("leak", "of memory and may use 100 MB"),
            ("open", "all its 64 descriptors"),
            ("", "its health check failed"),
        )
        for way, reason in reasons:
            until(lambda way=way: ask(region, f"/leaky/{way}").status_code == 200)
            until(lambda reason=reason: reason in redqueen(region, "logs", "supervisor"))
        assert "started again: " in " ".join(one["because"] for one in show(region, "leaky")["instances"])
        until(lambda: show(region, "leaky")["state"] == "up")
        assert "of memory and may use" in redqueen(region, "logs", "--service", "leaky")


def test_a_service_that_does_not_come_up_says_why(region: Region, tmp_path: Path) -> None:
    reasons = {"elsewhere": "but must on $HOST:$PORT", "ill": "was answered 503", "exit": "command exited with code 3"}
    with contextlib.ExitStack() as stack:
        for mode in reasons:
            stack.enter_context(removed(region, f"bad-{mode}"))
            path = service_file(tmp_path, f"bad-{mode}", mode, extra="count = 1\ntimings = { start_s = 1.0 }")
            redqueen(region, "service", "add", str(path))
        program = tmp_path / "gone"
        program.symlink_to(sys.executable)
        lost = service_file(tmp_path, "bad-gone", extra="count = 1")
        lost.write_text(lost.read_text().replace(sys.executable, str(program)))
        stack.enter_context(removed(region, "bad-gone"))
        redqueen(region, "service", "add", str(lost), "--wait")
        program.unlink()
        redqueen(region, "node", "kill", show(region, "bad-gone")["instances"][0]["id"])
        reasons["gone"] = f"there is no program {program}"
        for mode, reason in reasons.items():
            until(lambda mode=mode, reason=reason: reason in show(region, f"bad-{mode}")["because"])
        said = redqueen(region, "service", "add", str(path), "--wait", "--timeout", "1", code=7)
        assert "bad-exit is not up" in said
        assert "redqueen logs --service bad-exit" in said
        assert "a line of the program" in redqueen(region, "logs", "--service", "bad-exit")


def test_a_new_version_that_is_broken_leaves_the_old_one_serving(region: Region, tmp_path: Path) -> None:
    path = service_file(tmp_path, "careful", extra="count = 1\ntimings = { drain_s = 0 }")
    with removed(region, "careful"):
        redqueen(region, "service", "add", str(path), "--wait")
        until(lambda: ask(region, "/careful").status_code == 200)
        good = show(region, "careful")["instances"][0]["pid"]
        path.write_text(path.read_text().replace('"well"', '"exit"'))
        with Load(region, "/careful", threads=1) as load:
            redqueen(region, "service", "add", str(path))
            until(lambda: "its command exited with code 3" in show(region, "careful")["because"])
        assert load.bad == []
        assert good in [instance["pid"] for instance in show(region, "careful")["instances"]]
        path.write_text(path.read_text().replace('"exit"', '"well"'))
        redqueen(region, "service", "add", str(path), "--wait")
        assert ask(region, "/careful").status_code == 200


def test_a_service_knows_where_it_is_and_outlives_its_supervisor(region: Region, tmp_path: Path) -> None:
    path = service_file(tmp_path, "told", extra='count = 1\nenvironment = { COLOUR = "red" }')
    with removed(region, "told"):
        redqueen(region, "service", "add", str(path), "--wait")
        until(lambda: ask(region, "/told").status_code == 200)
        found = ask(region, "/told").json()["env"]
        (instance,) = show(region, "told")["instances"]
        assert f"{found['HOST']}:{found['PORT']}" == instance["address"]
        assert found["COLOUR"] == "red"
        assert found["REDQUEEN_NODE"] == instance["id"]
        assert found["REDQUEEN_ZONE"] == instance["zone"]
        assert found["REDQUEEN_REGISTRIES"].startswith("http://127.0.")
        assert "REDQUEEN_DATA" not in found  # the region was started with it
        redqueen(region, "node", "kill", "supervisor")
        until(lambda: ask(region, "/told").status_code == 200)
        region.up_again()
        until(lambda: show(region, "told")["state"] == "up")
        assert [one["pid"] for one in show(region, "told")["instances"]] == [instance["pid"]]


def test_a_file_that_cannot_be_is_refused_before_anything_changes(region: Region, tmp_path: Path) -> None:
    path = service_file(tmp_path, "refused")
    text = path.read_text()
    for old, new, said in (
        ("refused", "api", "none of the region's own names"),
        (sys.executable, "/no/such/program", "command[0] = '/no/such/program'"),
        ('path = "/refused"', 'path = "/api/v1/refused"', "the region's own pages"),
        ('path = "/refused"', 'path = "/refused"\ntimeout_s = -1', "timeout_s"),
    ):
        path.write_text(text.replace(old, new))
        assert said in redqueen(region, "service", "add", str(path), code=5 if "pages" in said else 2)
    with region.api() as api:
        assert [card["name"] for card in api.get("/services")["services"]] == []


def nodes(region: Region) -> list[str]:
    with region.api() as api:
        return [node.id for node in region.nodes(api)]
