"""Static stability: with every other process of a region dead, its gateways serve a film and a service for hours.

A region starts, encodes its sample films, and learns of a foreign service with two instances. Then every
process of it but the Envoys is killed (SIGKILL), the foreign clients fall silent though they live on, and one
viewer asks again and again: a playlist, a segment, a range of one, the service, each over a new connection, so
that the kernel gives it to any gateway. Half-way one Envoy is killed as well; its gateway's agent is started by
hand, brings an Envoy back from the files alone, and is killed in turn. Bar: no request fails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import psutil

from doors import Absent
from foreign import Herd, registries_of
from record import Bar, publish, stop
from redqueen.cli.client import ApiClient
from redqueen.cli.titles import matching
from redqueen.fleet.nodefiles import MARK
from redqueen.testing.region import Region, free_port, play_link, temporary, wait_for

HERE = Path(__file__).parent
FOREIGN = "stranger"
_PATIENCE_S = 300.0
_SEGMENT = re.compile(r"^(?!#)\S+\.m4s$", re.MULTILINE)
_PLAYLIST = re.compile(r"^(?!#)\S+\.m3u8$", re.MULTILINE)


@dataclass
class Viewer:
    """Asks for everything that is to be served, and keeps what was answered."""

    playlist: str
    segments: list[str]
    service: str
    asked: int = 0
    slowest_ms: float = 0.0
    failures: list[str] = field(default_factory=list)
    dice: random.Random = field(default_factory=lambda: random.Random(11))  # noqa: S311 - the same order on every run

    def ask_all(self) -> None:
        """Ask once for each kind."""
        segment = self.dice.choice(self.segments)
        self._ask(self.playlist, 200)
        self._ask(segment, 200)
        self._ask(segment, 206, {"range": "bytes=100-299"})
        self._ask(self.service, 200)

    def _ask(self, address: str, wanted: int, headers: dict[str, str] | None = None) -> None:
        began = time.monotonic()
        try:
            answer = httpx.get(address, headers=headers, timeout=10, trust_env=False)
            said = "" if answer.status_code == wanted else str(answer.status_code)
        except httpx.HTTPError as error:
            said = type(error).__name__
        self.asked += 1
        self.slowest_ms = max(self.slowest_ms, (time.monotonic() - began) * 1000)
        if said:
            self.failures.append(f"{time.strftime('%H:%M:%S')} {address.rpartition('/')[2]}: {said}")
            print(self.failures[-1], flush=True)


def viewer_of(api: ApiClient) -> Viewer:
    """Give a viewer of the first sample title, whose link outlives the run."""
    ends_at = time.monotonic() + _PATIENCE_S
    while not (samples := [one["id"] for one in matching(api, "") if one["sample"]]):
        if time.monotonic() > ends_at:
            raise Absent("the region made no sample title within five minutes")
        time.sleep(0.2)
    wait_for(api, samples[0], ("complete",), timeout_s=300)
    master = play_link(api, samples[0])
    playlist = urljoin(master, _PLAYLIST.findall(httpx.get(master, trust_env=False).text)[0])
    segments = [urljoin(playlist, name) for name in _SEGMENT.findall(httpx.get(playlist, trust_env=False).text)]
    if not segments:
        raise Absent("the title's playlist names no segment")
    return Viewer(playlist, segments, urljoin(master, f"/{FOREIGN}"))


def declare(region: Region, api: ApiClient, herd: Herd) -> None:
    """Route a path to the foreign service, and wait until every gateway's files name each of its instances."""
    api.put(
        "/services/guide",
        {
            "name": "guide",
            "owner": "bench",
            "command": [sys.executable, "-I", "-S", str(HERE / "small_node.py")],
            "directory": str(HERE),
            "routes": [{"path": f"/{FOREIGN}", "service": FOREIGN}],
        },
    )
    ports = [str(herd.add().port).encode() for _ in range(2)]
    files = list(region.data.glob("nodes/gateway-*/envoy"))
    ends_at = time.monotonic() + _PATIENCE_S
    while not all(port in told for told in map(_told, files) for port in ports):
        if time.monotonic() > ends_at:
            raise Absent("the foreign service was not in the gateways within five minutes")
        time.sleep(0.2)


def _told(folder: Path) -> bytes:
    return b"".join(content for path in folder.glob("*.json") if FOREIGN.encode() in (content := path.read_bytes()))


def processes_of(region: Region) -> dict[int, str]:
    """List the living processes whose command names the region's data folder: their command, by pid."""
    found: dict[int, str] = {}
    for process in psutil.process_iter(["cmdline", "environ"]):
        words = process.info["cmdline"] or []
        marked = (process.info["environ"] or {}).get(MARK) == str(region.data)
        if process.pid != os.getpid() and words and (marked or str(region.data) in " ".join(words)):
            found[process.pid] = " ".join(words)
    return found


def leave_alone(region: Region, envoys: dict[str, psutil.Process]) -> int:
    """Kill whatever is not an Envoy until nothing else is there; return how many were killed."""
    spared, killed = {one.pid for one in envoys.values()}, set[int]()
    others: list[int] = []
    for _ in range(50):
        others = [pid for pid in processes_of(region) if pid not in spared]
        if not others:
            return len(killed)
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        time.sleep(0.1)
    raise Absent(f"these would not die: {others}")


def envoys_of(region: Region, api: ApiClient) -> dict[str, psutil.Process]:
    """Find the Envoy of each gateway by the gateway's zone."""
    rows = [node for node in region.nodes(api) if node.role == "envoy" and node.pid]
    return {node.id.split("-")[1]: psutil.Process(node.pid) for node in rows if node.pid}


def returned(region: Region, zone: str, envoys: dict[str, psutil.Process], viewer: Viewer) -> float:
    """Kill one Envoy, let its agent bring another back from the files alone, kill the agent; return the seconds."""
    old = envoys.pop(zone)
    old.kill()
    psutil.wait_procs([old], timeout=5)
    spec = region.data / "nodes" / f"gateway-{zone}-1" / "node.json"
    known, began = set(processes_of(region)), time.monotonic()
    command = [sys.executable, "-m", "redqueen.roles", str(spec)]
    environment = {**os.environ, MARK: str(region.data)}
    agent = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = region.data / "logs" / f"gateway-{zone}-1.log"
    before = log.stat().st_size
    while time.monotonic() - began < _PATIENCE_S:
        viewer.ask_all()
        with log.open("rb") as lines:
            lines.seek(before)
            serves = f'"path":"/{FOREIGN}"'.encode() in lines.read()
        fresh = [pid for pid, words in processes_of(region).items() if pid not in known and "envoy" in words.split()[0]]
        if serves and fresh:
            envoys[zone] = psutil.Process(fresh[0])
            took_s = time.monotonic() - began
            agent.kill()
            agent.wait(5)
            return took_s
    agent.kill()
    raise Absent(f"the gateway of zone {zone} did not come back within five minutes")


def measured(region: Region, viewer: Viewer, envoys: dict[str, psutil.Process], options: argparse.Namespace) -> Any:
    """Ask for the whole time, with a restart half-way; return figures by name."""
    began, lasts_s = time.monotonic(), options.hours * 3600
    memory = {zone: one.memory_info().rss for zone, one in envoys.items()}
    for _ in range(3):
        viewer.ask_all()
    first, back_s, half = next(iter(envoys)), None, began + lasts_s / 2
    while time.monotonic() - began < lasts_s:
        if back_s is None and time.monotonic() >= half:
            back_s = returned(region, first, envoys, viewer)
            print(f"the gateway of zone {first} was back after {back_s:.1f} s", flush=True)
        viewer.ask_all()
        time.sleep(options.every)
    others = [words for pid, words in processes_of(region).items() if pid not in {one.pid for one in envoys.values()}]
    gone = [zone for zone, one in envoys.items() if not one.is_running()]
    grown = [(one.memory_info().rss - memory[zone]) / (1 << 20) for zone, one in envoys.items() if zone != first]
    return {
        "hours alone": round((time.monotonic() - began) / 3600, 3),
        "requests": viewer.asked,
        "requests that failed": len(viewer.failures),
        "slowest answer, ms": round(viewer.slowest_ms, 1),
        "Envoys": len(envoys),
        "Envoys that ended by themselves": len(gone),
        "an Envoy grew by, MiB at most": round(max(grown, default=0.0), 1),
        "a killed Envoy was back after, s": None if back_s is None else round(back_s, 2),
        "other processes at the end": len(others),
        "failures": viewer.failures[:50],
    }


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0, help="how long nobody else is there [2]")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two rounds of requests [1]")
    options = parser.parse_args()
    with ExitStack() as stack:
        region = stack.enter_context(temporary())
        region.up("--port", str(free_port()))
        try:
            with region.api() as api:
                viewer = viewer_of(api)
                herd = Herd(FOREIGN, registries_of(region.data))
                stack.callback(herd.close)
                declare(region, api, herd)
                envoys = envoys_of(region, api)
            killed = leave_alone(region, envoys)
            print(f"{killed} processes killed; {len(envoys)} Envoys are alone", flush=True)
            found = measured(region, viewer, envoys, options)
        except Absent as error:
            return stop(str(error))
    bars = [
        Bar("requests that failed", found["requests that failed"], 0),
        Bar("Envoys that ended by themselves", found["Envoys that ended by themselves"], 0),
        Bar("other processes of the region", found["other processes at the end"], 0),
    ]
    claim = f"with every other process dead, gateways serve films and services as last known for {options.hours:g} h"
    settings = {name: getattr(options, name) for name in ("hours", "every")}
    return publish("alone", claim, bars, {"processes killed": killed, **found}, settings=settings)


if __name__ == "__main__":
    sys.exit(main())
