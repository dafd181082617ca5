"""What a declared service's node left behind: its command's processes, found by their marks.

A command dies with its node; what the command itself started may not, and would hold the port.
Everything that carries both the region's and the node's mark in its environment is ended at once.
Enter at `end`.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import psutil

from redqueen.fleet.nodefiles import MARK, NODE_MARK
from redqueen.processes import ProcessId, identify, send_signal


def find(data_dir: Path, node_id: str) -> list[ProcessId]:
    """Return the living processes that the node of a declared service started, at any depth."""
    found: list[ProcessId] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environ = process.environ()
            if environ.get(NODE_MARK) == node_id and environ.get(MARK) == str(data_dir) and process.pid != os.getpid():
                found += [known for known in [identify(process.pid)] if known]
    return found


def end(data_dir: Path, node_id: str) -> int:
    """Kill them all; return how many there were."""
    left = find(data_dir, node_id)
    for process in left:
        send_signal(process, signal.SIGKILL)
    return len(left)
