"""A declared service's command as a process: whether it can be run, what it is told, what it uses.

The command gets a small environment of its own, not its starter's, whose secrets are none of its
business. Refuses a folder or a program that is not there, naming the key of the service file.
Enter at `runnable`, `environment`, `use_of` and `listens_on`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from redqueen.errors import InvalidInput
from redqueen.fleet.declared import ServiceFile
from redqueen.fleet.limits import Use
from redqueen.fleet.model import NodeSpec, Program
from redqueen.fleet.nodefiles import MARK, NODE_MARK
from redqueen.processes import ProcessId, is_alive

_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def runnable(file: ServiceFile, source: str) -> ServiceFile:
    """Return `file` if its folder and its program are there. Raises InvalidInput naming the key."""
    if not os.path.isabs(file.directory) or not os.path.isdir(file.directory):
        raise _wrong(source, "directory", file.directory, "a folder of this machine")
    if program_of(file.program) is None:
        raise _wrong(source, "command[0]", file.command[0], "a program of this machine, on the PATH or with its folder")
    return file


def _wrong(source: str, key: str, value: str, accepted: str) -> InvalidInput:
    return InvalidInput(
        "service.file", f"{source}: {key} = {value!r}", why=f"it must be {accepted}", hint="Change it and add again"
    )


def program_of(program: Program) -> str | None:
    """Return the absolute path of the program, or None where there is none that can be run."""
    name = program.command[0]
    if "/" in name:
        path = os.path.normpath(os.path.join(program.directory, name))
        return path if os.path.isfile(path) and os.access(path, os.X_OK) else None
    return shutil.which(name, path=dict(program.environment).get("PATH") or os.environ.get("PATH") or os.defpath)


def environment(spec: NodeSpec, program: Program, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return all that the command finds in its environment."""
    return {
        **{name: inherited[name] for name in _KEPT if name in inherited},
        **dict(program.environment),
        "HOST": spec.host,
        "PORT": str(spec.port),
        NODE_MARK: spec.node_id,
        MARK: spec.data_dir,
        "REDQUEEN_SERVICE": spec.service,
        "REDQUEEN_VERSION": spec.version,
        "REDQUEEN_ZONE": spec.zone,
        "REDQUEEN_REGION": spec.region,
        "REDQUEEN_REGISTRIES": ",".join(f"{url}/eureka" for url in spec.registry_urls),
    }


def family(process: ProcessId) -> list[int]:
    """Return the pids of a living process and of all its descendants."""
    if not is_alive(process):
        return []
    found = [process.pid]
    for pid in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                found += [int(child) for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    return found


def use_of(process: ProcessId) -> Use:
    """Return what a process and its descendants use now."""
    pids = family(process)
    descriptors = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            descriptors = max(descriptors, len(os.listdir(f"/proc/{pid}/fd")))
    return Use(memory_of(pids), descriptors)


def memory_of(pids: Iterable[int]) -> int:
    """Return the bytes of memory that processes use together; what they share counts once. Source: proc(5), statm."""
    private, shared = 0, 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/statm").read_text().split()
            private += int(fields[1]) - int(fields[2])
            shared = max(shared, int(fields[2]))
    return (private + shared) * _PAGE


def listens_on(process: ProcessId) -> list[tuple[str, int]]:
    """Return the addresses and ports that a process or one of its descendants listens on."""
    found: set[tuple[str, int]] = set()
    for pid in family(process):
        with contextlib.suppress(psutil.Error):
            for connection in psutil.Process(pid).net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add((str(connection.laddr[0]), int(connection.laddr[1])))
    return sorted(found)
