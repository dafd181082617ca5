"""What the tests of shipping share: a maker's folder, a way to ship it, viewers who keep their cookies."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from redqueen.cli.client import read_credentials
from redqueen.delivery.artifact import pack
from redqueen.errors import RedQueenError
from redqueen.testing.region import Region

PROGRAM = """
import http.server, json, os, random, sys, time
mode, kept = os.environ.get("MODE", "well"), []
if mode == "exits":
    time.sleep(0.3)
    sys.exit(3)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        status = 200
        if self.path == "/health":
            status = 503 if mode == "ill" else 200
        elif mode == "fails" and random.random() < float(os.environ.get("SHARE", "0.5")):
            status = 500
        elif mode == "leaks":
            kept.append(os.urandom(2 << 20))
        body = json.dumps({name: os.environ[f"REDQUEEN_{name.upper()}"] for name in ("version", "node")}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
port = int(os.environ["PORT"]) + (1 if mode == "elsewhere" else 0)
Server((os.environ["HOST"], port), Handler).serve_forever()
"""
MANIFEST = """
service = "{name}"
owner = "tests"
command = {command}
count = {count}
steps = [0.25, 0.5]
step_s = 2.0
horizon_s = {horizon_s}
hold_s = 20.0
alpha = 0.2
warm_s = {warm_s}
[config]
MODE = "{mode}"
[limits]
memory_mb = 128
[timings]
start_s = {start_s}
drain_s = 0.5
stop_s = 2.0
[[routes]]
path = "/{name}"
# Wide, so that some thousand requests are enough; latency on a busy machine would tell of the machine.
[[metrics]]
name = "request_errors"
margin = 5.0
expected = 6.0
"""


def maker(
    folder: Path, name: str, mode: str = "well", *, count: int = 2, horizon_s: float = 180, warm_s: float = 60
) -> Path:
    """Write a service as a maker has it."""
    folder.mkdir(exist_ok=True)
    (folder / "program.py").write_text(PROGRAM)
    command = json.dumps([sys.executable, "program.py"])
    # Only what never becomes healthy is given up soon: a busy machine takes its time.
    start_s = 3.0 if mode in ("ill", "elsewhere") else 20.0
    text = MANIFEST.format(
        name=name, command=command, mode=mode, count=count, horizon_s=horizon_s, warm_s=warm_s, start_s=start_s
    )
    (folder / "redqueen.toml").write_text(text)
    return folder


def ship(region: Region, folder: Path) -> dict[str, Any]:
    """Send a folder and ship it, as any program may; return the release."""
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    packed = io.BytesIO()
    found = pack(folder, paths, packed)
    known = read_credentials(region.data)
    with httpx.Client(
        base_url=f"{known.address}/api/v1",
        headers={"Authorization": f"Bearer {known.token}"},
        trust_env=False,
        timeout=30,
    ) as client:
        client.put(f"/artifacts/{found.digest}", content=packed.getvalue()).raise_for_status()
        done = client.post("/releases", json={"artifact": found.digest, "because": "a test"})
        assert done.status_code == 201, done.text
        return dict(done.json())


def release(region: Region, service: str, release_id: str) -> dict[str, Any]:
    """Return a release as the API shows it."""
    with region.api() as api:
        return dict(api.get(f"/releases/{service}/{release_id}"))


def until_phase(region: Region, service: str, release_id: str, *phases: str, within_s: float = 250) -> dict[str, Any]:
    """Wait until a release is in one of these phases, and return it."""
    ends_at = time.monotonic() + within_s
    while True:
        with contextlib.suppress(RedQueenError):
            found = release(region, service, release_id)
            if found["phase"] in phases:
                return found
            assert time.monotonic() < ends_at, found
        time.sleep(0.05)


def until(holds: Callable[[], object], within_s: float = 120.0) -> None:
    """Wait until something holds."""
    ends_at = time.monotonic() + within_s
    while True:
        with contextlib.suppress(RedQueenError, httpx.TransportError):
            if holds():
                return
        assert time.monotonic() < ends_at, "it did not come about in time"
        time.sleep(0.05)


@dataclass
class Crowd:
    """Viewers with cookie jars who ask a path over and over; each leaves after some requests and another comes."""

    region: Region
    path: str
    threads: int = 4
    pause_s: float = 0.005
    requests_each: int = 5
    statuses: Counter[int] = field(default_factory=Counter[int])
    versions: Counter[str] = field(default_factory=Counter[str])
    torn: list[str] = field(default_factory=list[str])
    """What went wrong without an answer: always a lost request."""
    sent_back: int = 0
    """Viewers who met a canary and then the version before it."""
    first_seen: dict[str, float] = field(default_factory=dict[str, float])
    version_of: Callable[[bytes], str] = lambda text: str(json.loads(text)["version"])
    """Which version gave an answer."""

    def __enter__(self) -> Crowd:
        self._ended = threading.Event()
        self._running = [threading.Thread(target=self._ask) for _ in range(self.threads)]
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._running:
            thread.join()

    @property
    def bad(self) -> list[str]:
        """Return what viewers did not get."""
        return [*self.torn, *(f"{status} x{count}" for status, count in self.statuses.items() if status != 200)]

    def _ask(self) -> None:
        address = urlsplit(read_credentials(self.region.data).address)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
        while not self._ended.is_set():
            self._view(connection)
        connection.close()

    def _view(self, connection: http.client.HTTPConnection) -> None:
        """Be one viewer."""
        cookies: dict[str, str] = {}
        canaries: set[str] = set()
        for _ in range(self.requests_each):
            try:
                headers = {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
                connection.request("GET", self.path, headers=headers)
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.torn.append(repr(error))
                connection.close()
                break
            for cookie in answer.headers.get_all("set-cookie") or ():
                name, _, value = cookie.partition(";")[0].partition("=")
                cookies[name.strip()] = value
            self.statuses[answer.status] += 1
            with contextlib.suppress(ValueError, KeyError):
                version = self.version_of(text)
                self.versions[version] += 1
                self.first_seen.setdefault(version, time.monotonic())
                if "-canary-" in json.loads(text).get("node", ""):
                    canaries.add(version)
                elif canaries and version not in canaries:
                    self.sent_back += 1
                    canaries.clear()
            if self._ended.wait(self.pause_s * random.uniform(0.5, 1.5)):  # noqa: S311
                return
