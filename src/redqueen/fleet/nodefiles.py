"""The small files in a node's folder by which its process is known across supervisors.

`node.json` is what the node was told, `process.json` which process it is, `ready.json` that this
process is ready, `note.json` what it says about itself, `envoy.json` (written by a gateway's agent)
which Envoy it keeps. All are replaced by rename. A node calls `load_spec` at its start and
`mark_ready` once it serves.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from redqueen.errors import InvalidInput
from redqueen.fleet.datadir import read_json, write_json
from redqueen.fleet.model import NodeSpec
from redqueen.processes import ProcessId, identify, is_alive

MARK: Final = "REDQUEEN_REGION_DATA"
"""Environment variable of every process of a region: its data folder."""
NODE_MARK: Final = "REDQUEEN_NODE"
"""Environment variable of every process that a declared service's node started: the node's id."""


class ReadyFile(msgspec.Struct, frozen=True):
    """`ready.json`: the process that said it is ready."""

    pid: int


class NoteFile(msgspec.Struct, frozen=True):
    """`note.json`: what a process says about itself, or why it ended."""

    pid: int
    because: str
    ended: bool = False


def nodes_dir(data_dir: Path) -> Path:
    """Return the folder of the nodes' folders."""
    return data_dir / "nodes"


def spec_path(data_dir: Path, node_id: str) -> Path:
    """Return where a node's spec lies: the one argument it is started with."""
    return nodes_dir(data_dir) / node_id / "node.json"


def load_spec(path: Path) -> NodeSpec:
    """Read the spec a node was started with. Raises InvalidInput."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=NodeSpec)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(
            "fleet.spec", f"{path} is not a node's spec", why=str(error), hint="Nodes are started by: redqueen up"
        ) from error


def mark_ready(spec: NodeSpec) -> None:
    """Say that this process, the node's own, is ready; the supervisor shows it as up."""
    write_json(spec.folder / "ready.json", ReadyFile(os.getpid()))


def is_ready(data_dir: Path, node_id: str, process: ProcessId) -> bool:
    """Tell whether exactly this process has said that it is ready."""
    found = read_json(nodes_dir(data_dir) / node_id / "ready.json", ReadyFile)
    return found is not None and found.pid == process.pid


def unmark_ready(spec: NodeSpec) -> None:
    """Say that this process, the node's own, is not ready any more."""
    (spec.folder / "ready.json").unlink(missing_ok=True)


def write_note(spec: NodeSpec, because: str, *, ended: bool = False) -> None:
    """Say why this process, the node's own, is as it is; the supervisor shows it."""
    write_json(spec.folder / "note.json", NoteFile(os.getpid(), because, ended))


def read_note(data_dir: Path, node_id: str, process: ProcessId, *, ended: bool = False) -> str:
    """Return what exactly this process has said about itself (or its end), empty if nothing."""
    found = read_json(nodes_dir(data_dir) / node_id / "note.json", NoteFile)
    return found.because if found is not None and found.pid == process.pid and found.ended == ended else ""


def known_specs(data_dir: Path) -> dict[str, NodeSpec]:
    """Return the spec of every node that has one, by id; what cannot be read is left out."""
    found = {path.parent.name: read_json(path, NodeSpec) for path in sorted(nodes_dir(data_dir).glob("*/node.json"))}
    return {node_id: spec for node_id, spec in found.items() if spec is not None and spec.node_id == node_id}


def node_process(data_dir: Path, node_id: str) -> ProcessId | None:
    """Return the node's living process, or None."""
    return _living(nodes_dir(data_dir) / node_id / "process.json")


def envoy_process(data_dir: Path, node_id: str) -> ProcessId | None:
    """Return the living Envoy of a gateway node, or None."""
    return _living(nodes_dir(data_dir) / node_id / "envoy.json")


def write_process(data_dir: Path, node_id: str, process: ProcessId) -> None:
    """Remember which process a node is."""
    write_json(nodes_dir(data_dir) / node_id / "process.json", process)


def myself() -> ProcessId:
    """Name this very process."""
    return identify(os.getpid()) or ProcessId(os.getpid(), 0.0)


def _living(path: Path) -> ProcessId | None:
    found = read_json(path, ProcessId)
    return found if found is not None and is_alive(found) else None
