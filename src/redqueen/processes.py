"""The one door through which processes are started, watched and ended.

Decides how a child is born (own session, no inherited input), how it is known again later (pid
plus start time, so a reused pid is never mistaken for it), and how it ends (the whole group,
TERM then KILL). `run` is for engines that finish; `spawn` is for nodes that outlive their
starter. Refuses shells: a command is a list of arguments.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import anyio
import psutil

from redqueen.errors import Broken, Unavailable

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_CONFINE = str(Path(__file__).with_name("confine.py"))


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that cannot be mistaken for another: pid and start time.

    `started_s` counts seconds since the machine's boot, which no change of the clock moves.
    """

    pid: int
    started_s: float


@dataclass(frozen=True, slots=True)
class Completed:
    """What a finished engine left: exit code (negative: signal) and the ends of its output."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a confined engine may touch and use; everything else is refused by the kernel."""

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    memory_bytes: int = 4 << 30
    cpu_s: int = 3600
    file_size_bytes: int = 64 << 30
    niceness: int = 10


def identify(pid: int) -> ProcessId | None:
    """Name the living process that has `pid` now, or None (a zombie is not living)."""
    state, started_s = _seen(pid)
    return None if state in ("", "Z", "X") else ProcessId(pid, started_s)


def _seen(pid: int) -> tuple[str, float]:
    """Return the state letter and start time of whatever has `pid`; ("", 0) for nothing. Source: proc(5)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return "", 0.0
    # The command's name may hold spaces and parentheses: fields are counted from its last one.
    fields = stat.rpartition(")")[2].split()
    return fields[0], int(fields[19]) / _TICKS_A_SECOND


def is_alive(process: ProcessId) -> bool:
    """Tell whether exactly this process still runs."""
    return identify(process.pid) == process


def send_signal(process: ProcessId, number: signal.Signals, *, group: bool = False) -> bool:
    """Send a signal to exactly this process (or its group); False if it is gone."""
    if not is_alive(process):
        return False
    try:
        if group and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


async def wait_exit(process: ProcessId) -> int | None:
    """Return when exactly this process has exited, whoever its parent is.

    A child of ours is reaped, even one that had ended before; its exit code (negative: signal) is
    returned to the first who waits, None to others and for processes that are no children.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    try:
        code = _reap(descriptor) if _is_zombie(process) else None
        while is_alive(process):
            code = await _reaped(descriptor)
        return code
    finally:
        os.close(descriptor)


async def _reaped(descriptor: int) -> int | None:
    code = None
    with anyio.move_on_after(5):
        await anyio.wait_readable(descriptor)
        if select.select([descriptor], [], [], 0)[0]:
            # A zombie stays readable for ever; a child of ours is reaped here.
            code = _reap(descriptor)
            await anyio.sleep(0.01)
    return code


def _reap(descriptor: int) -> int | None:
    try:
        ended = os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _is_zombie(process: ProcessId) -> bool:
    return _seen(process.pid) == ("Z", process.started_s)


def command_of(process: ProcessId) -> list[str]:
    """Return the argument list of a living process, empty if it is gone."""
    try:
        return psutil.Process(process.pid).cmdline() if is_alive(process) else []
    except psutil.Error:
        return []


def marked(name: str, value: str) -> list[ProcessId]:
    """Find the living processes that were started with the environment variable `name`=`value`."""
    found: list[ProcessId] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(name) == value and process.pid != os.getpid():
                found += [known for known in [identify(process.pid)] if known]
    return found


async def stop(process: ProcessId, *, grace_s: float) -> None:
    """End a process group: TERM, up to `grace_s` seconds, then KILL; return when it is gone."""
    send_signal(process, signal.SIGTERM)
    with anyio.move_on_after(grace_s):
        await wait_exit(process)
        return
    send_signal(process, signal.SIGKILL, group=True)
    with anyio.move_on_after(5):
        await wait_exit(process)


def leave(code: int) -> NoReturn:
    """End this process at once with its output flushed, but without the interpreter's finalization.

    For processes that ran a native server: a thread of it that asks for the interpreter while that
    finalizes aborts the process (PyO3 on Python before 3.14).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def spawn(
    argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> ProcessId:
    """Start a process that outlives its starter: own session, output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        try:
            child = subprocess.Popen(  # noqa: S603 - argument list of our own, no shell
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=None if env is None else dict(env),
                cwd=cwd,
            )
        except OSError as error:
            raise Unavailable("process.start", f"Cannot start {argv[0]}", why=str(error)) from error
    found = identify(child.pid)
    child.returncode = 0  # the handle is let go on purpose: the child is known by pid and start time
    return found or ProcessId(child.pid, 0.0)


def attach(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, data_bytes: int, descriptors: int
) -> tuple[ProcessId, int]:
    """Start a process that dies with this one, bounded in memory and descriptors, in a session of its own.

    Returns it with the reading end of a pipe that its output goes to; the caller closes that. Raises
    Unavailable. The calling thread must live as long as the process: the kernel ties them.
    """
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    args = [sys.executable, "-I", "-S", _CONFINE, f"--parent={os.getpid()}"]
    args += [f"--data={data_bytes}", f"--descriptors={descriptors}", "--", *argv]
    try:
        child = subprocess.Popen(  # noqa: S603 - argument list that the operator declared, no shell
            args,
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            start_new_session=True,
            env=dict(env),
            cwd=cwd,
        )
    except OSError as error:
        os.close(reading)
        raise Unavailable("process.start", f"Cannot start {argv[0]} in {cwd}", why=str(error)) from error
    finally:
        os.close(writing)
    found = identify(child.pid)
    child.returncode = 0  # the handle is let go on purpose: the child is known by pid and start time
    return found or ProcessId(child.pid, 0.0), reading


def spawn_orphan(argv: Sequence[str], *, log: Path, cwd: Path | None = None) -> ProcessId:
    """Start a narrowed server as nobody's child, output appended to `log`; takes some 30 ms.

    For servers that end themselves when their parent dies. `argv` must come from `narrowed`.
    Raises Unavailable.
    """
    reading, writing = os.pipe()
    launcher = [*argv[:4], f"--orphan={writing}", *argv[4:]]
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("ab") as output:
            subprocess.run(  # noqa: S603 - argument list of our own, no shell
                launcher,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=cwd,
                pass_fds=[writing],
                timeout=10,
                check=True,
            )
        pid = int(os.read(reading, 20))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise Unavailable("process.start", f"Cannot start {argv[-1]}", why=str(error)) from error
    finally:
        os.close(reading)
        os.close(writing)
    return identify(pid) or ProcessId(pid, 0.0)


def confined(argv: Sequence[str], limits: Confinement) -> list[str]:
    """Wrap `argv` so that it runs under the limits, dies with its starter, and gains no rights."""
    args = [sys.executable, "-I", "-S", _CONFINE]
    args += [f"--read={path}" for path in limits.read] + [f"--write={path}" for path in limits.write]
    args += [f"--memory={limits.memory_bytes}", f"--cpu={limits.cpu_s}", f"--file-size={limits.file_size_bytes}"]
    args += [f"--nice={limits.niceness}", f"--parent={os.getpid()}"]
    return [*args, "--", *argv]


def narrowed(argv: Sequence[str], *, read: Sequence[Path], write: Sequence[Path]) -> list[str]:
    """Wrap `argv`, a server that outlives its starter, so that the kernel shows it only these files."""
    args = [sys.executable, "-I", "-S", _CONFINE]
    args += [f"--read={path}" for path in read] + [f"--write={path}" for path in write]
    return [*args, "--", *argv]


async def run(
    argv: Sequence[str], *, timeout_s: float, limits: Confinement, cwd: Path | None = None, tail_bytes: int = 65_536
) -> Completed:
    """Run a confined engine to its end and keep the last `tail_bytes` of each output.

    Raises Unavailable (`process.timeout`) after `timeout_s` seconds; the group is killed then,
    and also when the caller is cancelled.
    """
    process = await anyio.open_process(
        confined(argv, limits),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd=cwd,
    )
    stdout, stderr = bytearray(), bytearray()
    try:
        with anyio.fail_after(timeout_s):
            async with anyio.create_task_group() as group:
                group.start_soon(_keep_tail, process.stdout, stdout, tail_bytes)
                group.start_soon(_keep_tail, process.stderr, stderr, tail_bytes)
            code = await process.wait()
    except TimeoutError as error:
        raise Unavailable(
            "process.timeout",
            f"{Path(argv[0]).name} did not finish within {timeout_s:g} s",
            hint="Try again; if it repeats, the input is too heavy for this machine",
        ) from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with anyio.CancelScope(shield=True):
                await process.wait()
        with anyio.CancelScope(shield=True):
            await process.aclose()
    return Completed(code, bytes(stdout), bytes(stderr))


async def _keep_tail(stream: anyio.abc.ByteReceiveStream | None, into: bytearray, limit: int) -> None:
    if stream is None:
        raise Broken("process.pipe", "The engine was started without pipes")
    async for piece in stream:
        into += piece
        del into[:-limit]
