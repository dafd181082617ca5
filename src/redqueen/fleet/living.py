"""What is really alive: views checked against the processes, and the end of exactly one of them.

A view may be older than the truth (its supervisor may be dead), so a pid alone is never believed:
pid and start time together name a process. Enter at `checked`, `seen_in` and `kill`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from redqueen import __version__
from redqueen.errors import NotFound
from redqueen.fleet import nodefiles
from redqueen.fleet.datadir import read_supervisor
from redqueen.fleet.model import NodeSpec, NodeState, NodeView, Role
from redqueen.processes import ProcessId, is_alive, send_signal

_HAS_PROCESS = frozenset({NodeState.STARTING, NodeState.UP, NodeState.DOWN, NodeState.DRAINING})


def checked(views: Iterable[NodeView]) -> list[NodeView]:
    """Return the views, those whose process is gone as stopped; only for views of this machine."""
    return [_checked(view) for view in views]


def _checked(view: NodeView) -> NodeView:
    if view.state not in _HAS_PROCESS or is_alive(ProcessId(view.pid, view.started_s)):
        return view
    last = f" (last seen: {view.because})" if view.because else ""
    because = f"its process is gone and no supervisor has restarted it{last}"
    return replace(view, state=NodeState.STOPPED, because=because)


def kill(view: NodeView) -> None:
    """Send SIGKILL to exactly the process of this view, not to its group. Raises NotFound if it is gone."""
    process = ProcessId(view.pid, view.started_s)
    if view.pid <= 1 or not send_signal(process, signal.SIGKILL):
        raise NotFound(
            "fleet.node_gone",
            f"{view.node_id} has no living process",
            why=f"Process {view.pid} has ended",
            hint="See what lives with: redqueen status",
        )


def seen_in(data_dir: Path) -> list[NodeView]:
    """Return the region's living processes from the data folder's files alone."""
    views: list[NodeView] = []
    for node_id, spec in nodefiles.known_specs(data_dir).items():
        process = nodefiles.node_process(data_dir, node_id)
        if process is not None:
            ready = nodefiles.is_ready(data_dir, node_id, process)
            views.append(node_view(spec, process, NodeState.UP if ready else NodeState.STARTING))
        envoy = nodefiles.envoy_process(data_dir, node_id) if spec.role is Role.GATEWAY else None
        if envoy is not None:
            views.append(envoy_view(spec, envoy))
    supervisor = read_supervisor(data_dir)
    if supervisor is not None and is_alive(ProcessId(supervisor.pid, supervisor.started_s)):
        views.append(supervisor_view(ProcessId(supervisor.pid, supervisor.started_s)))
    return views


def node_view(
    spec: NodeSpec, process: ProcessId | None, state: NodeState, *, restarts: int = 0, because: str = ""
) -> NodeView:
    """Return the view of a node; pid 0 without a process."""
    return NodeView(
        node_id=spec.node_id,
        role=spec.role.value,
        service=spec.service,
        version=spec.version,
        zone=spec.zone,
        host=spec.host,
        port=spec.port,
        pid=process.pid if process else 0,
        started_s=process.started_s if process else 0.0,
        state=state,
        restarts=restarts,
        because=because,
        revision=spec.revision,
        spare=spec.spare,
    )


def envoy_view(spec: NodeSpec, envoy: ProcessId) -> NodeView:
    """Return the view of the Envoy that a gateway keeps."""
    view = node_view(spec, envoy, NodeState.UP)
    return replace(
        view,
        node_id=spec.node_id.replace(spec.service, "envoy", 1),
        role="envoy",
        service="envoy",
        host=spec.public_host,
        port=spec.public_port,
    )


def supervisor_view(process: ProcessId | None = None) -> NodeView:
    """Return the view of a supervisor; without an argument this very process."""
    known = process or nodefiles.myself()
    return NodeView(
        "supervisor", "supervisor", "supervisor", __version__, "", "", 0, known.pid, known.started_s, NodeState.UP
    )
