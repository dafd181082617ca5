"""Nodes as processes of this machine.

A node is `python -m redqueen.roles DATA/nodes/<id>/node.json` in a session of its own, with its
output in DATA/logs/<id>.log, known again by pid and start time. It outlives whoever started it.
A node of another edition finds its folder of code first on the path. Every process of a region
carries a mark in its environment, so that one whose file was never written (its starter died in
between) is found and adopted all the same. Enter at `LocalProcesses`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from redqueen import processes
from redqueen.errors import Unavailable
from redqueen.fleet import addresses, limits, nodefiles
from redqueen.fleet.datadir import read_json, write_json
from redqueen.fleet.drivers import command, strays
from redqueen.fleet.model import NodeSpec, Role
from redqueen.fleet.ports import Readiness
from redqueen.processes import ProcessId


def node_argv(spec_path: Path) -> list[str]:
    """Return the command that runs a node."""
    return [sys.executable, "-m", "redqueen.roles", str(spec_path)]


class LocalProcesses:
    """Starts, finds and ends the node processes of one data folder."""

    def __init__(self, data_dir: Path, argv: Callable[[Path], Sequence[str]] = node_argv) -> None:
        self._data_dir = data_dir
        self._argv = argv
        self._environment = {**os.environ, nodefiles.MARK: str(data_dir)}

    def adopt(self) -> Mapping[str, tuple[NodeSpec, ProcessId]]:
        """Return every node that lives already, also one whose process file was never written.

        What was started by a declared service's node that is gone is ended: nobody watches it.
        """
        self._recover()
        for node_id, spec in self._specs().items():
            if spec.role is Role.SERVICE and self._living(node_id) is None:
                strays.end(self._data_dir, node_id)
        found = {node_id: (spec, self._living(node_id)) for node_id, spec in self._specs().items()}
        return {node_id: (spec, process) for node_id, (spec, process) in found.items() if process is not None}

    def _recover(self) -> None:
        known = {self._living(node_id) for node_id in self._specs()}
        for process in processes.marked(nodefiles.MARK, str(self._data_dir)):
            node_id = self._node_of(process) if process not in known else None
            if node_id is not None and self._living(node_id) is None:
                nodefiles.write_process(self._data_dir, node_id, process)

    def _node_of(self, process: ProcessId) -> str | None:
        argv = processes.command_of(process)
        for node_id in self._specs():
            if argv[1:] == list(self._argv(nodefiles.spec_path(self._data_dir, node_id)))[1:]:
                return node_id
        return None

    def _specs(self) -> Mapping[str, NodeSpec]:
        return nodefiles.known_specs(self._data_dir)

    def _living(self, node_id: str) -> ProcessId | None:
        return nodefiles.node_process(self._data_dir, node_id)

    def envoy(self, node_id: str) -> ProcessId | None:
        """Return the living Envoy of a gateway, or None."""
        return nodefiles.envoy_process(self._data_dir, node_id)

    def may_listen(self, spec: NodeSpec) -> bool:
        """Tell whether the node's port is free, or held by the gateway's own Envoy."""
        kept = spec.role is Role.GATEWAY and self.envoy(spec.node_id) is not None
        return kept or addresses.is_free(spec.host, spec.port)

    def start(self, spec: NodeSpec) -> ProcessId:
        """Start a node; it outlives its starter. Raises Unavailable."""
        path = nodefiles.spec_path(self._data_dir, spec.node_id)
        log = self._data_dir / "logs" / f"{spec.node_id}.log"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for name in ("ready.json", "note.json"):
                (path.parent / name).unlink(missing_ok=True)
            # A service's environment may hold secrets.
            write_json(path, spec, mode=0o600)
            process = processes.spawn(self._argv(path), log=log, env=self._told(spec))
            nodefiles.write_process(self._data_dir, spec.node_id, process)
            _bound(spec, process)
        except OSError as error:
            raise Unavailable("fleet.start", f"Cannot start {spec.node_id}", why=str(error)) from error
        return process

    def _told(self, spec: NodeSpec) -> dict[str, str]:
        """Return the environment of a node; one of another edition must not find our package first.

        PYTHONSAFEPATH: without it the starter's working directory would come before PYTHONPATH.
        """
        if not spec.code:
            return self._environment
        return {**self._environment, "PYTHONPATH": spec.code, "PYTHONSAFEPATH": "1"}

    def excess(self, spec: NodeSpec, process: ProcessId) -> str:
        """Say why one of our own nodes uses too much, empty if it does not; its engines are bounded themselves."""
        allowance = limits.OWN.get(spec.role)
        if allowance is None:
            return ""
        used = limits.Use(command.memory_of([process.pid]), 0)
        return limits.exceeded(used, allowance, limits.Verdict()).because

    def readiness(self, node_id: str, process: ProcessId) -> Readiness:
        """Return what this very process has said about itself."""
        note = nodefiles.read_note(self._data_dir, node_id, process)
        return Readiness(nodefiles.is_ready(self._data_dir, node_id, process), note)

    def end(self, process: ProcessId, *, at_once: bool, replaced: bool = False) -> None:
        """Send SIGTERM to the node (SIGHUP if it is replaced), or SIGKILL to its group."""
        if at_once:
            processes.send_signal(process, signal.SIGKILL, group=True)
        else:
            processes.send_signal(process, signal.SIGHUP if replaced else signal.SIGTERM)

    async def wait_exit(self, node_id: str, process: ProcessId) -> str:
        """Return why the node's process ended, as soon as it has; what a service's node started ends with it."""
        code = await processes.wait_exit(process)
        spec = read_json(nodefiles.spec_path(self._data_dir, node_id), NodeSpec)
        if spec is not None and spec.role is Role.SERVICE:
            strays.end(self._data_dir, node_id)
        return nodefiles.read_note(self._data_dir, node_id, process, ended=True) or exit_reason(code)

    def forget(self, node_id: str) -> None:
        """Drop what is known about a node that is not wanted any more; its scratch stays."""
        folder = nodefiles.nodes_dir(self._data_dir) / node_id
        for name in ("node.json", "process.json", "ready.json", "note.json"):
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()  # a service has no scratch of its own


def _bound(spec: NodeSpec, process: ProcessId) -> None:
    """Give a node of ours the descriptors of its role, as many as the system allows."""
    allowance = limits.OWN.get(spec.role)
    if allowance is None:
        return
    with contextlib.suppress(OSError):  # it may be gone already
        hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)[1]
        soft = allowance.descriptors if hard == resource.RLIM_INFINITY else min(allowance.descriptors, hard)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (soft, hard))


def exit_reason(code: int | None) -> str:
    """Say how a process ended; None: it was not our child, so nobody knows."""
    if code is None:
        return "its process ended"
    if code >= 0:
        return f"it exited with code {code}"
    try:
        return f"it was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was killed by signal {-code}"
