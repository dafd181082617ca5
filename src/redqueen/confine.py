"""Run one command with less power: limits, a Landlock view of the files, no network, no new rights.

A launcher of its own, started with `python -I -S` (about 20 ms) because a process can only
confine itself; its pid stays the command's. An engine dies with its starter. Where the kernel has no Landlock it
still sets the limits; `available()` tells `redqueen doctor` what is missing.
Source: linux/landlock.h, ABI 1 to 5; prctl(2).
"""

import ctypes
import os
import resource
import signal
import sys
import time

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read file, read directory
_ALL_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_TCP = 1 << 0 | 1 << 1  # bind, connect; from ABI 4
_FILE_RIGHTS = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
_SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/null",
    "/dev/urandom",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
)


class _Ruleset(ctypes.Structure):
    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64)]


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("access", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def landlock_abi() -> int:
    """Return the kernel's Landlock version, 0 where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def restrict(read: list[str], write: list[str], *, network: bool) -> bool:
    """Allow only `read` and `write` paths and the system's libraries, TCP only with `network`.

    Returns False where the kernel has no Landlock.
    """
    abi = landlock_abi()
    if abi == 0:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    everything = _ALL_BY_ABI[min(abi, 5)]
    attributes = _Ruleset(everything, 0 if network or abi < 4 else _NET_TCP)
    size = ctypes.sizeof(attributes) if abi >= 4 else 8
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0))
    for paths, access in (([*_SYSTEM, *read], _READ), (write, everything)):
        for path in paths:
            _allow(libc, ruleset, path, access)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, without which the next call is refused
    return int(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0))) == 0


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not os.path.isdir(path):
        access &= _FILE_RIGHTS
    rule = _PathRule(access, descriptor)
    libc.syscall(_ADD_RULE, ruleset, ctypes.c_int(1), ctypes.byref(rule), ctypes.c_uint32(0))
    os.close(descriptor)


def be_orphaned(pipe: int) -> None:
    """Go on in a child whose parent is gone, and tell its pid through `pipe`.

    Some servers (Envoy with hot restart) end when whoever started them does; nobody's child does not.
    """
    starter = os.getpid()
    child = os.fork()
    if child:
        os.write(pipe, str(child).encode())
        os._exit(0)
    os.close(pipe)
    while os.getppid() == starter:
        time.sleep(0.0005)


def be_nice(niceness: int) -> None:
    """Give way to others by `niceness` (0 to 19), also across sessions. Source: sched(7), autogroup."""
    os.nice(niceness)
    # With autogroups, niceness counts within a session only, and an engine has one of its own.
    try:
        with open("/proc/self/autogroup", "w") as group:
            group.write(str(niceness))
    except OSError:
        return  # no autogroups on this machine


def tie_to(parent: int) -> None:
    """Die with the process that started this one."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit(137)  # it died before the line above


def limit(numbers: dict[str, int]) -> None:
    """Bound memory and files in bytes and processor time in seconds; no core dumps."""
    for resource_kind, value in (
        (resource.RLIMIT_AS, numbers["memory"]),
        (resource.RLIMIT_CPU, numbers["cpu"]),
        (resource.RLIMIT_FSIZE, numbers["file-size"]),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(resource_kind, (value, value))


def become_service(command: list[str], numbers: dict[str, int]) -> None:
    """Tie this process to its starter, bound its data and its descriptors, become the command.

    RLIMIT_DATA, not RLIMIT_AS: runtimes such as V8 and Go reserve far more addresses than they use.
    """
    tie_to(numbers["parent"])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    descriptors = numbers["descriptors"] if hard == resource.RLIM_INFINITY else min(numbers["descriptors"], hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    resource.setrlimit(resource.RLIMIT_DATA, (numbers["data"], numbers["data"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        os.execv(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error.strerror}")


def main(argv: list[str]) -> None:
    """Parse `--key=value … -- command`, confine this process, become the command.

    With `--descriptors` it is a declared service: tied to its starter and bounded. With `--parent`
    it is an engine: tied to its starter, limited, without network. Without, it is a server that
    outlives its starter, and only its view of the files is narrowed; with `--orphan` it is nobody's
    child besides.
    """
    cut = argv.index("--")
    options = [option.removeprefix("--").partition("=") for option in argv[:cut]]
    command = argv[cut + 1 :]
    numbers = {key: int(value) for key, _, value in options if key not in ("read", "write")}
    if "orphan" in numbers:
        be_orphaned(numbers["orphan"])
    if "descriptors" in numbers:
        become_service(command, numbers)
    engine = "parent" in numbers
    if engine:
        tie_to(numbers["parent"])
        be_nice(numbers["nice"])
        limit(numbers)
    read = [value for key, _, value in options if key == "read"]
    write = [value for key, _, value in options if key == "write"]
    restrict([*read, command[0]], write, network=not engine)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
