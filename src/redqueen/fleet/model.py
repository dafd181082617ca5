"""What the fleet is made of: what a node shall be (`NodeSpec`) and what it is seen to be (`NodeView`).

A spec is written to the node's folder as `node.json`, is all that a node is told, and its digest
tells whether a living node still is what it shall be. Node ids are "<role>-<zone>-<n>"; views
also name each gateway's Envoy ("envoy-<zone>-<n>") and the "supervisor". Enter at `NodeSpec`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import msgspec


class Role(StrEnum):
    """What a node does."""

    REGISTRY = "registry"
    GATEWAY = "gateway"
    API = "api"
    WORKER = "worker"
    CONTROL = "control"
    SERVICE = "service"


class NodeState(StrEnum):
    """Where a node is in its life, as its supervisor sees it."""

    STARTING = "starting"
    UP = "up"
    DOWN = "down"
    DRAINING = "draining"
    BACKOFF = "backoff"
    QUARANTINED = "quarantined"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Program:
    """What a declared service's node runs and watches; times in seconds, `directory` absolute."""

    command: tuple[str, ...]
    directory: str
    health: str
    owner: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    memory_bytes: int = 512 << 20
    descriptors: int = 1024
    start_s: float = 30.0
    drain_s: float = 2.0
    stop_s: float = 10.0

    @property
    def path(self) -> Path:
        """Return the folder that the command runs in."""
        return Path(self.directory)


@dataclass(frozen=True, slots=True)
class Edition:
    """A version of one of the region's own roles other than the installed one; folders absolute.

    `code` is a folder that holds the package `redqueen`, `web` one with the built web app; what is
    empty is as installed, the version too.
    """

    version: str
    code: str = ""
    web: str = ""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """All that one node is told when it starts. `data_dir` is the region's folder, absolute.

    A new `revision` asks for a fresh process of the same settings; a `spare` runs only while the
    service's other nodes are replaced.
    """

    node_id: str
    role: Role
    service: str
    version: str
    zone: str
    region: str
    host: str
    port: int
    data_dir: str
    public_host: str
    public_port: int
    registry_urls: tuple[str, ...] = ()
    program: Program | None = None
    revision: int = 0
    spare: bool = False
    code: str = ""
    """Of our own roles: the folder whose package `redqueen` runs; empty: the installed one."""
    web: str = ""
    """Of an api node: the folder of the web app that it serves; empty: the installed one."""

    @property
    def data_path(self) -> Path:
        """Return the region's folder."""
        return Path(self.data_dir)

    @property
    def folder(self) -> Path:
        """Return the node's own folder: node.json, process.json and its scratch."""
        return Path(self.data_dir) / "nodes" / self.node_id

    @property
    def digest(self) -> str:
        """Return a short content hash: two nodes with the same digest are interchangeable."""
        return hashlib.sha256(msgspec.json.encode(replace(self, spare=False))).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class NodeView:
    """One process of the region as last seen; `role` may also be "envoy" or "supervisor"."""

    node_id: str
    role: str
    service: str
    version: str
    zone: str
    host: str
    port: int
    pid: int
    started_s: float
    state: NodeState
    restarts: int = 0
    because: str = ""
    revision: int = 0
    spare: bool = False
