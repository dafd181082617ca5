"""Real nodes by their roles, each started by hand as a process of its own: no supervisor restarts what a test kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from gateway_rig import end_envoy, free_port

from redqueen import config, processes
from redqueen.fleet.model import NodeSpec, Role
from redqueen.fleet.nodefiles import MARK, envoy_process, is_ready
from redqueen.processes import ProcessId
from redqueen.roles import region


@dataclass
class Nodes:
    """A region's nodes under test."""

    data_dir: Path
    public_port: int
    registry_urls: tuple[str, ...]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.public_port}"

    async def prepare(self) -> None:
        self.data_dir.mkdir(parents=True)
        await region.prepare(self.data_dir, config.load(self.data_dir), self.url)

    def start(self, role: Role, zone: str, port: int | None = None) -> str:
        """Start a node and return its id."""
        node_id = f"{role.value}-{zone}-1"
        spec = NodeSpec(
            node_id=node_id,
            role=role,
            service=role.value,
            version="1",
            zone=zone,
            region="local",
            host="127.0.0.1",
            port=port or free_port(),
            data_dir=str(self.data_dir),
            public_host="127.0.0.1",
            public_port=self.public_port,
            registry_urls=self.registry_urls,
        )
        spec.folder.mkdir(parents=True, exist_ok=True)
        path = spec.folder / "node.json"
        path.write_bytes(msgspec.json.encode(spec))
        log = self.data_dir / "logs" / f"{node_id}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as output:
            self.running[node_id] = subprocess.Popen(
                [sys.executable, "-m", "redqueen.roles", str(path)],
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, MARK: str(self.data_dir)},
            )
        return node_id

    def is_ready(self, node_id: str) -> bool:
        process = processes.identify(self.running[node_id].pid)
        return process is not None and is_ready(self.data_dir, node_id, process)

    def envoy(self, node_id: str) -> ProcessId | None:
        return envoy_process(self.data_dir, node_id)

    def kill(self, node_id: str) -> None:
        """Kill a node's process, not its Envoy."""
        process = self.running.pop(node_id)
        process.kill()
        process.wait()


@contextmanager
def nodes(data_dir: Path) -> Generator[Nodes, None, None]:
    """Give a region whose registries start; whatever lives of it at the block's end is killed."""
    ports = [free_port(), free_port()]
    found = Nodes(data_dir, free_port(), tuple(f"http://127.0.0.1:{port}" for port in ports))
    try:
        found.data_dir.parent.mkdir(parents=True, exist_ok=True)
        yield found
    finally:
        for node_id in list(found.running):
            found.kill(node_id)
        for folder in (data_dir / "nodes").glob("gateway-*"):
            end_envoy(folder)
        for process in processes.marked(MARK, str(data_dir)):
            processes.send_signal(process, signal.SIGKILL)


def ports_of(urls: Sequence[str]) -> list[int]:
    return [int(url.rpartition(":")[2]) for url in urls]
