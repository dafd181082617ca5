"""Two api nodes over one store, one of them behind a gateway, and OpenFeature's own JavaScript providers."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import foreign_clients
import gateway_rig
import httpx
import msgspec
from api_region import BEARER
from test_api_node_killed import nodes

from redqueen.gateway.model import Endpoint
from redqueen.testing.region import free_port

FLAGS: dict[str, dict[str, Any]] = {
    "greeting": {
        "kind": "string",
        "variants": {"plain": "hello", "loud": "HELLO"},
        "default": "plain",
        "rules": [{"variant": "loud", "when": [{"attribute": "device", "op": "in", "values": ["tv"]}]}],
    },
    "shiny": {"kind": "boolean", "variants": {"on": True, "off": False}, "default": "on"},
    "ratio": {"kind": "number", "variants": {"one": 1, "half": 0.5}, "default": "one"},
    "rung": {"kind": "integer", "variants": {"low": 240}, "default": "low"},
    "layout": {"kind": "object", "variants": {"wide": {"columns": [1, 2]}}, "default": "wide"},
    "asleep": {"kind": "boolean", "variants": {"on": True, "off": False}, "default": "off", "enabled": False},
}


@dataclass
class Pair:
    """Two api nodes: flags are changed at one and read at the other, through a gateway as everybody does."""

    writing: str
    reading: str
    token: str = ""
    revisions: dict[str, int] = field(default_factory=dict)

    def put(self, key: str, **changes: Any) -> None:
        """Change a flag at the first node."""
        flag = {**FLAGS[key], **changes, "revision": self.revisions.get(key)}
        answer = httpx.put(f"{self.writing}/api/v1/flags/{key}", json=flag, headers=BEARER, timeout=30)
        assert answer.status_code == 200, answer.text
        self.revisions[key] = answer.json()["revision"]


@contextlib.contextmanager
def pair(folder: Path) -> Generator[Pair]:
    """Start two nodes with the flags above and a token to read them."""
    with nodes(folder, 2) as (one, other), door(folder / "door", other.port) as address:
        found = Pair(one.url, address)
        for key in FLAGS:
            found.put(key)
        answer = httpx.post(f"{one.url}/api/v1/flag-tokens", json={"name": "tests"}, headers=BEARER, timeout=30)
        found.token = answer.json()["token"]
        yield found


@contextlib.contextmanager
def door(folder: Path, api_port: int) -> Generator[str]:
    """Run a gateway before one api node; give its address."""
    gateway_rig.put_media(folder)
    (folder / "endpoints.json").write_bytes(msgspec.json.encode([Endpoint("api", "other", "127.0.0.1", api_port, "a")]))
    port = free_port()
    settings = gateway_rig.settings_in(folder, port)
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, gateway_rig.__file__, folder, str(port)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not _answers(f"http://127.0.0.1:{port}/api/v1/health"):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "gateway.log").read_text()[-2000:]
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)
        gateway_rig.end_envoy(settings.folder)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=30, trust_env=False).status_code == 200
    return False


class Provider:
    """One running program around a provider; `told` is what it has said so far."""

    def __init__(self, kind: str, url: str, token: str, log: Path) -> None:
        # The browser's EventSource is behind an option in Node.
        node = foreign_clients.node()[0]
        program = foreign_clients.PROGRAMS / "js" / "ofrep.js"
        self.told: list[dict[str, Any]] = []
        self.log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [node, "--no-warnings", "--experimental-eventsource", str(program), kind, url, token],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.told.append(json.loads(line))

    def say(self, line: str) -> None:
        """Hand it one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def answer(self, line: str) -> dict[str, Any]:
        """Hand it one line and wait for what it says to it."""
        before = len(self.told)
        self.say(line)
        self.until(lambda: len(self.told) > before, f"an answer to {line}")
        return self.told[before]

    def until(self, true: Callable[[], bool], what: str, limit_s: float = 40.0) -> None:
        """Wait until something holds while the program runs."""
        deadline = time.monotonic() + limit_s
        while not true():
            told = f"{what}; it said {self.told[-1:]}\n{self.log.read_text()[-2000:]}"
            assert self._process.poll() is None, f"it ended before: {told}"
            assert time.monotonic() < deadline, f"never: {told}"
            time.sleep(0.02)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
