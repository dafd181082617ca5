"""Become Envoy with the file system narrowed to what it serves and what it is configured by.

Envoy's file server follows symlinks. Landlock makes the kernel refuse what lies outside, whatever
a path or a link says; the network stays free. A script of its own (`python -I -S`), because a
process can only confine itself, and its pid stays Envoy's. Unlike an engine's launcher it does
not tie Envoy to its starter: Envoy outlives the agent. Source: linux/landlock.h.
"""

import ctypes
import os
import sys

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read file, read directory
_ALL_BY_ABI = ((1 << 13) - 1, (1 << 14) - 1, (1 << 15) - 1, (1 << 15) - 1, (1 << 16) - 1)
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
    _fields_ = [("fs", ctypes.c_uint64)]


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("access", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def supported() -> int:
    """Return the kernel's Landlock version, 0 where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def narrow(read: list[str], write: list[str]) -> bool:
    """Allow this process only these folders and the system's libraries; False where unsupported."""
    abi = supported()
    if abi == 0:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    everything = _ALL_BY_ABI[min(abi, 5) - 1]
    attributes = _Ruleset(everything)
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(8), ctypes.c_uint32(0))
    for paths, access in (([*_SYSTEM, *read], _READ), (write, everything)):
        for path in paths:
            _allow(libc, ruleset, path, access)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    return int(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0))) == 0


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    rights = access if os.path.isdir(path) else access & _FILE_RIGHTS
    rule = _PathRule(rights, descriptor)
    libc.syscall(_ADD_RULE, ruleset, ctypes.c_int(1), ctypes.byref(rule), ctypes.c_uint32(0))
    os.close(descriptor)


def main(argv: list[str]) -> None:
    """Parse `--read=PATH… --write=PATH… -- command`, narrow this process, become the command."""
    cut = argv.index("--")
    options = [option.removeprefix("--").partition("=") for option in argv[:cut]]
    command = argv[cut + 1 :]
    read = [value for key, _, value in options if key == "read"]
    narrow([*read, command[0]], [value for key, _, value in options if key == "write"])
    os.execv(command[0], command)  # noqa: S606 - an argument list of our own, no shell


if __name__ == "__main__":
    main(sys.argv[1:])
