"""Foreign Eureka clients for benchmarks: small HTTP processes kept in the registries by the raw Eureka wire.

Each is a process that knows nothing of Red Queen, registered with a lease of 90 s and renewed every
10 s from here, as a client library would. Killed, nobody says so: only its silence and refused
connections do. A replacement is another process on another port under another id. Enter at `Herd`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

LEASE_S, RENEWAL_S = 90, 10
_NODE = Path(__file__).with_name("small_node.py")


@dataclass(slots=True)
class Foreigner:
    """One instance."""

    id: str
    process: subprocess.Popen[str]
    port: int
    killed_at: float = 0.0


def registries_of(data: Path) -> list[str]:
    """List the addresses of a region's registries."""
    specs = [json.loads(path.read_bytes()) for path in sorted(data.glob("nodes/registry-*/node.json"))]
    return [f"http://{spec['host']}:{spec['port']}" for spec in specs]


@dataclass
class Herd:
    """All foreign instances of one service."""

    app: str
    urls: list[str]
    members: list[Foreigner] = field(default_factory=list)
    _made: int = 0

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._client = httpx.Client(trust_env=False, timeout=2)
        self._renewing = threading.Thread(target=self._renew, daemon=True)
        self._renewing.start()

    def add(self) -> Foreigner:
        """Start one more and register it."""
        process = subprocess.Popen([sys.executable, "-I", "-S", str(_NODE)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        self._made += 1
        one = Foreigner(f"stranger:{self.app}:{self._made}", process, int(process.stdout.readline()))
        self._ask("POST", f"/eureka/apps/{self.app.upper()}", json=self._document(one))
        with self._lock:
            self.members.append(one)
        return one

    def _document(self, one: Foreigner) -> dict[str, Any]:
        now_ms = str(int(time.time() * 1000))
        return {
            "instance": {
                "instanceId": one.id, "app": self.app.upper(), "hostName": "127.0.0.1", "ipAddr": "127.0.0.1",
                "status": "UP", "port": {"$": one.port, "@enabled": "true"},
                "securePort": {"$": 443, "@enabled": "false"},
                "vipAddress": self.app, "lastDirtyTimestamp": now_ms,
                "dataCenterInfo": {"@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn"},
                "leaseInfo": {"renewalIntervalInSecs": RENEWAL_S, "durationInSecs": LEASE_S},
            }
        }  # fmt: skip

    def _ask(self, method: str, path: str, **more: Any) -> int:
        for url in self.urls:
            with contextlib.suppress(httpx.HTTPError):
                return self._client.request(method, url + path, **more).status_code
        return 0

    def _renew(self) -> None:
        while not self._ended.wait(RENEWAL_S):
            with self._lock:
                living = [one for one in self.members if not one.killed_at]
            for one in living:
                path = f"/eureka/apps/{self.app.upper()}/{one.id}"
                if self._ask("PUT", path, params={"status": "UP"}) == 404:
                    self._ask("POST", f"/eureka/apps/{self.app.upper()}", json=self._document(one))

    def kill(self, one: Foreigner) -> None:
        """Kill it; nobody tells the registries."""
        with self._lock:
            one.killed_at = time.monotonic()
        one.process.kill()
        one.process.wait(5)

    def close(self) -> None:
        """End all of them."""
        self._ended.set()
        self._renewing.join(5)
        for one in self.members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.process.pid, signal.SIGKILL)
            one.process.wait(5)
            if one.process.stdout is not None:
                one.process.stdout.close()
        self._client.close()
