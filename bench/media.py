"""Films from disk beside nginx's sendfile, in the same run: bytes a core, at the sizes of our own segments.

The measured server has a core to itself, the load generator (wrk, keep-alive) another; rounds in turn, so
that a drift of the machine meets both. Ours checks a token on every request, answers with ETag and ranges,
and has its whole filter chain; nginx only sends the file. Once over plain HTTP, where sendfile copies nothing,
and once over TLS, as viewers outside the house have it. Bar: at least 0.9 of nginx over plain HTTP.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.from_thread import start_blocking_portal

from doors import Absent, Cores, cpu_s, free_port, pin, tool
from record import Bar, publish, stop
from redqueen.accounts import tokens
from redqueen.clock import SystemClock
from redqueen.events import discard
from redqueen.gateway import agent
from redqueen.gateway.model import Endpoint, GatewaySettings, MediaKeys, RouteInputs
from redqueen.gateway.routes import default_routes
from redqueen.gateway.tls import read_pair
from redqueen.gateway.transport import TlsEdge
from redqueen.processes import ProcessId

SIZES_KB = (460, 1300, 2400)
"""Four seconds of 360p, 720p and 1080p at the ladder's peak rates."""
LIMIT = 0.9
TITLE = "film"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its plain and its TLS port, its processes, and what a request must carry."""

    name: str
    ports: dict[str, int]
    pids: tuple[int, ...]
    header: str


@dataclass(frozen=True, slots=True)
class Round:
    """What one load found: bytes in a second, and bytes for each second of the server's processor time."""

    rate: float
    per_cpu_s: float
    busy: float


class _Nobody:
    async def watch(self) -> AsyncGenerator[tuple[Endpoint, ...]]:
        yield ()
        await anyio.sleep_forever()


class _Routes:
    def __init__(self, inputs: RouteInputs) -> None:
        self._inputs = inputs

    async def read(self) -> RouteInputs:
        return self._inputs


@contextlib.asynccontextmanager
async def _agent(settings: GatewaySettings, inputs: RouteInputs, envoys: list[ProcessId]) -> AsyncGenerator[None]:
    async with anyio.create_task_group() as group:

        async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            await agent.run(
                settings,
                _Nobody(),
                _Routes(inputs),
                SystemClock(),
                discard,
                drain=anyio.Event(),
                on_envoy=lambda process: envoys.append(process) if process else None,
                task_status=task_status,
            )

        with anyio.fail_after(30):
            await group.start(run)
        yield
        group.cancel_scope.cancel()


@contextmanager
def ours(folder: Path, core: int) -> Generator[Server]:
    """Run a gateway as a node does, its Envoy pinned to one core."""
    plain, secure = free_port(), free_port()
    key = tokens.new_signing_key()
    settings = GatewaySettings(
        envoy_id="envoy-a-1",
        zone="a",
        listen_host="127.0.0.1",
        listen_port=plain,
        admin_host="127.0.0.1",
        media_root=folder / "media",
        folder=folder / "node",
        log=folder / "gateway.log",
        tls=TlsEdge(secure, secure),
    )
    pair = read_pair(folder / "certificate.pem", folder / "key.pem")
    inputs = RouteInputs(default_routes(), MediaKeys(tokens.jwks((key,))), tls_pair=pair)
    token = tokens.sign(key, [TITLE], now=time.time(), ttl_s=86_400)
    envoys: list[ProcessId] = []
    try:
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(_agent(settings, inputs, envoys)):
            pin(envoys[-1].pid, core)
            yield Server("redqueen", {"http": plain, "https": secure}, (envoys[-1].pid,), f"Cookie: rq_media={token}")
    finally:
        for process in envoys:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


_NGINX = """\
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log error;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; keepalive_timeout 600s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  ssl_certificate {home}/certificate.pem; ssl_certificate_key {home}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
  server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{secure} ssl; root {home}; }}
}}
"""


@contextmanager
def nginx(home: Path, core: int) -> Generator[Server]:
    """Run nginx on the same files, pinned to the same core."""
    binary, folder = tool("nginx", "nginx-light"), home / "nginx"
    folder.mkdir()
    plain, secure = free_port(), free_port()
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, home=home, plain=plain, secure=secure))
    command = ["taskset", "-c", str(core), binary, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            time.sleep(1)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield Server("nginx", {"http": plain, "https": secure}, tuple(map(int, children)), "X-None: 1")
        finally:
            process.terminate()


def loaded(server: Server, scheme: str, size_kb: int, core: int, options: argparse.Namespace) -> Round:
    """Load a server once. Raises RuntimeError if it answers anything but the files."""
    url = f"{scheme}://127.0.0.1:{server.ports[scheme]}/media/{TITLE}/{size_kb}.m4s"
    command = ["taskset", "-c", str(core), tool("wrk", "wrk"), "-t1", f"-c{options.connections}"]
    command += [f"-d{options.seconds}s", "-H", server.header, url]
    before = cpu_s(list(server.pids))
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used_s = cpu_s(list(server.pids)) - before
    found = re.search(r"(\d+) requests in ([\d.]+)s", text)
    if found is None or "Non-2xx" in text or found[1] == "0":
        raise RuntimeError(f"{server.name} did not answer {url}: {text[-300:]}")
    sent, took_s = int(found[1]) * size_kb * 1000, float(found[2])
    return Round(sent / took_s, sent / used_s, used_s / took_s)


def prepared(folder: Path) -> None:
    """Make the files and a certificate that signs itself (P-256). Raises Absent if a program is missing."""
    tool("wrk", "wrk"), tool("nginx", "nginx-light")
    folder.chmod(0o755)  # nginx's worker is another user when this runs as root
    media = folder / "media" / TITLE
    media.mkdir(parents=True)
    for size_kb in SIZES_KB:
        (media / f"{size_kb}.m4s").write_bytes(os.urandom(size_kb * 1000))
    command = [tool("openssl", "openssl"), "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run(command, capture_output=True, check=True)


def measured(folder: Path, cores: Cores, options: argparse.Namespace) -> dict[tuple[str, str, int], list[Round]]:
    """Run all rounds; return them by server, scheme and size."""
    rounds: dict[tuple[str, str, int], list[Round]] = defaultdict(list)
    with ours(folder, cores.measured) as own, nginx(folder, cores.measured) as other:
        for number in range(options.runs + 1):
            for scheme in ("http", "https"):
                for size_kb in SIZES_KB:
                    for server in (own, other):
                        found = loaded(server, scheme, size_kb, cores.others, options)
                        if number:  # the first round warms caches and connections up
                            rounds[server.name, scheme, size_kb].append(found)
            print(f"round {number} of {options.runs}", flush=True)
    return rounds


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="rounds after the first [5]")
    parser.add_argument("--seconds", type=int, default=4, help="length of each load [4]")
    parser.add_argument("--connections", type=int, default=16, help="connections kept open [16]")
    options = parser.parse_args()
    cores = Cores.here()
    folder = Path(tempfile.mkdtemp(prefix="redqueen-media-")).resolve()
    try:
        prepared(folder)
        rounds = measured(folder, cores, options)
    except Absent as absent:
        return stop(str(absent))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return told(rounds, cores, options)


def told(rounds: dict[tuple[str, str, int], list[Round]], cores: Cores, options: argparse.Namespace) -> int:
    """Turn the rounds into ratios, bars and the record."""
    figures: dict[str, object] = {}
    bars: list[Bar] = []
    for scheme in ("http", "https"):
        for size_kb in SIZES_KB:
            own, other = (rounds[name, scheme, size_kb] for name in ("redqueen", "nginx"))
            rate, per_cpu = (ratio(own, other, field) for field in ("rate", "per_cpu_s"))
            where = f"{scheme}, {size_kb} kB"
            figures[f"{where}: of nginx's rate"] = rate
            figures[f"{where}: of nginx's bytes a CPU second"] = per_cpu
            for name, found in (("redqueen", own), ("nginx", other)):
                figures[f"{where}: {name}, MB/s"] = round(statistics.median(each.rate for each in found) / 1e6)
                figures[f"{where}: {name}, share of its core"] = round(
                    statistics.median(each.busy for each in found), 2
                )
            if scheme == "http":
                bars.append(Bar(f"nginx over Red Queen, {size_kb} kB", round(1 / rate, 3), round(1 / LIMIT, 3), "x"))
    claim = f"films from disk at {LIMIT:g} of the rate of nginx's sendfile, tokens checked"
    settings = {**vars(options), "cores": [cores.measured, cores.others], "sizes_kb": SIZES_KB}
    return publish("media", claim, bars, figures, settings=settings)


def ratio(own: list[Round], other: list[Round], field: str) -> float:
    """Compare the medians."""
    return round(_median(own, field) / _median(other, field), 3)


def _median(rounds: list[Round], field: str) -> float:
    return statistics.median(getattr(each, field) for each in rounds)


if __name__ == "__main__":
    sys.exit(main())
