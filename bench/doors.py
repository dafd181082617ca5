"""The proxies that are measured beside each other, each pinned to one core, each before the same tiny backend.

Decides how each is run: ours as a gateway node runs it (agent, Envoy, media filters, access log), nginx as a
plain proxy with its access log and upstream keep-alive, Zuul 2 from Maven with what Netflix's own benchmark
switches off. Refuses (Absent) what this machine cannot run, and says why. Everything ends with its block.
Enter at `backend`, `ours`, `nginx`, `zuul`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.from_thread import start_blocking_portal

from redqueen.accounts import tokens
from redqueen.clock import SystemClock
from redqueen.events import discard
from redqueen.gateway import agent
from redqueen.gateway.model import Endpoint, GatewaySettings, MediaKeys, RouteInputs
from redqueen.gateway.routes import default_routes
from redqueen.processes import ProcessId
from redqueen.testing.region import free_port

HERE = Path(__file__).resolve().parent
PATH = "/api/v1/health"


class Absent(Exception):
    """This machine lacks what a measurement needs; the text says what."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core the measured proxy has to itself, and which one everything else shares."""

    measured: int
    others: int

    @classmethod
    def here(cls) -> Cores:
        """Take the last core for the proxy, the one before for the rest (the same where there is but one)."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[-1], allowed[-2] if len(allowed) > 1 else allowed[-1])


def tool(name: str, package: str) -> str:
    """Find a program. Raises Absent naming the package that has it."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/local/go/bin")
    if found is None:
        raise Absent(f"{name} is not installed (apt-get install {package})")
    return found


def pin(pid: int, core: int) -> None:
    """Bind every thread of a process to one core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), {core})


def cpu_s(pids: list[int]) -> float:
    """Return the CPU time that processes have used so far, in seconds."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Door:
    """A running proxy: where it listens, and which processes do its work."""

    name: str
    port: int
    pids: tuple[int, ...]


_NGINX = """\
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log error;
events {{ worker_connections 4096; }}
http {{
  access_log {log}; keepalive_requests 100000000; keepalive_timeout 600s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {upstream}
  server {{ listen 127.0.0.1:{port} reuseport backlog=4096; {location} }}
}}
"""
_ANSWER = 'location / { default_type application/json; return 200 \'{"status":"ok"}\'; }'
_PROXY = 'location / { proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; }'


@contextmanager
def _nginx(name: str, folder: Path, core: int, *, behind: int | None) -> Generator[Door]:
    binary = tool("nginx", "nginx-light")
    folder.mkdir()
    port = free_port()
    upstream = f"upstream behind {{ server 127.0.0.1:{behind}; keepalive 256; }}" if behind else ""
    text = _NGINX.format(
        folder=folder,
        port=port,
        upstream=upstream,
        location=_PROXY if behind else _ANSWER,
        log=f"{folder}/access.log" if behind else "off",
    )
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    command = ["taskset", "-c", str(core), binary, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with _running(command, folder / "out.log") as process:
        _until_open(port, process, folder / "error.log")
        yield Door(name, port, (process.pid, *_children(process.pid)))


def backend(folder: Path, cores: Cores) -> contextlib.AbstractContextManager[Door]:
    """Run the tiny native backend that all proxies share."""
    return _nginx("direct", folder / "backend", cores.others, behind=None)


def nginx(folder: Path, cores: Cores, behind: Door) -> contextlib.AbstractContextManager[Door]:
    """Run nginx as a plain proxy."""
    return _nginx("nginx", folder / "nginx", cores.measured, behind=behind.port)


@contextmanager
def zuul(folder: Path, cores: Cores, behind: Door) -> Generator[Door]:
    """Build (Maven) and run Zuul 2. Raises Absent."""
    java, maven = tool("java", "default-jdk-headless"), tool("mvn", "maven")
    project = HERE / "zuul"
    build = [maven, "-q", "-B", "-f", str(project / "pom.xml"), "package", "dependency:copy-dependencies"]
    built = subprocess.run([*build, "-DincludeScope=runtime"], capture_output=True, text=True, check=False, timeout=600)
    if built.returncode:
        raise Absent(f"Zuul could not be built: {built.stdout.strip()[-400:]}")
    port = free_port()
    jars = f"{project}/target/zuul.jar:{project}/target/dependency/*"
    command = ["taskset", "-c", str(cores.measured), java, "-Xms256m", "-Xmx256m", "-cp", jars, "door.Door"]
    log = folder / "zuul.log"
    with _running([*command, str(port), str(behind.port)], log) as process:
        _until_open(port, process, log)
        yield Door("zuul", port, (process.pid,))


class _One:
    """The endpoints: the backend, for ever."""

    def __init__(self, port: int) -> None:
        self._endpoint = Endpoint("api", "backend-1", "127.0.0.1", port, "a")

    async def watch(self) -> AsyncGenerator[tuple[Endpoint, ...]]:
        yield (self._endpoint,)
        await anyio.sleep_forever()


class _Routes:
    """The routes of a region, with media keys, so that the whole filter chain is in place."""

    def __init__(self) -> None:
        self._inputs = RouteInputs(default_routes(), MediaKeys(tokens.jwks((tokens.new_signing_key(),))))

    async def read(self) -> RouteInputs:
        return self._inputs


@contextlib.asynccontextmanager
async def _agent(settings: GatewaySettings, port: int, envoys: list[ProcessId]) -> AsyncGenerator[None]:
    drain = anyio.Event()
    async with anyio.create_task_group() as group:

        async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            await agent.run(
                settings,
                _One(port),
                _Routes(),
                SystemClock(),
                discard,
                drain=drain,
                on_envoy=lambda process: envoys.append(process) if process else None,
                task_status=task_status,
            )

        with anyio.fail_after(30):
            await group.start(run)
        try:
            yield
        finally:
            drain.set()


@contextmanager
def ours(folder: Path, cores: Cores, behind: Door) -> Generator[Door]:
    """Run a gateway as a node does: the agent (here on the other core) and its Envoy."""
    home = (folder / "ours").resolve()
    home.mkdir()
    settings = GatewaySettings(
        envoy_id="envoy-a-1",
        zone="a",
        listen_host="127.0.0.1",
        listen_port=free_port(),
        admin_host="127.0.0.1",
        media_root=home / "objects" / "media",
        folder=home / "node",
        log=home / "gateway.log",
        drain_s=1.0,
    )
    envoys: list[ProcessId] = []
    try:
        with start_blocking_portal() as portal:
            with portal.wrap_async_context_manager(_agent(settings, behind.port, envoys)):
                pid = envoys[-1].pid
                pin(pid, cores.measured)
                yield Door("redqueen", settings.listen_port, (pid,))
    finally:
        for process in envoys:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _until_open(port: int, process: subprocess.Popen[bytes], log: Path, *, within_s: float = 30.0) -> None:
    ends_at = time.monotonic() + within_s
    while time.monotonic() < ends_at and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    said = log.read_text(encoding="utf-8", errors="replace").strip()[-400:] if log.exists() else ""
    raise Absent(f"{process.args!r} did not start: {said}")
