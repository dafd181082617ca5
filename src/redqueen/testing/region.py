"""A whole region to test or measure: one that runs already, or one of the caller's own that always ends.

Decides that a region of its own lives in a temporary folder on a free port, and that it is ended
with `redqueen down` whatever happened, then checked process by process. Refuses to go on when
`up` fails. Speaks to the region as any client does, by its API. Enter at `borrowed_or_own`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from redqueen.cli.client import ApiClient, read_credentials
from redqueen.cli.titles import matching
from redqueen.cli.upload import Memory, Sender, examine
from redqueen.errors import NotFound, RedQueenError
from redqueen.fleet import addresses
from redqueen.studio.samples import SAMPLES

_REDQUEEN = [sys.executable, "-c", "from redqueen.cli.main import main; main()"]
PATIENCE_S = 20.0
NO_SAMPLES = "samples = false\n"
"""Settings of a region that encodes nothing that nobody published."""


class RegionFailed(Exception):
    """The region could not be started or ended; the text says why."""


@dataclass(frozen=True, slots=True)
class Node:
    """A process of the region as `status` shows it."""

    id: str
    role: str
    state: str
    pid: int | None


@dataclass(frozen=True, slots=True)
class Region:
    """A region's data folder."""

    data: Path

    def run(self, *arguments: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run `redqueen …` on this region's data."""
        environment = {**os.environ, "REDQUEEN_DATA": str(self.data)}
        return subprocess.run(  # noqa: S603 - our own command
            [*_REDQUEEN, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env=environment,
        )

    def up(self, *arguments: str) -> float:
        """Start (or adopt) the region; return the seconds until `up` said that it serves."""
        began = time.monotonic()
        done = self.run("up", "--detach", *arguments)
        if done.returncode:
            raise RegionFailed(f"redqueen up failed: {(done.stderr or done.stdout).strip()[-600:]}")
        return time.monotonic() - began

    def up_again(self) -> float:
        """Let a new supervisor adopt the region at the address it has; return the seconds it took."""
        return self.up("--port", str(urlsplit(read_credentials(self.data).address).port))

    def down(self) -> float:
        """End the region; return the seconds it took."""
        began = time.monotonic()
        done = self.run("down")
        if done.returncode:
            raise RegionFailed(f"redqueen down failed: {(done.stderr or done.stdout).strip()[-600:]}")
        return time.monotonic() - began

    def api(self, *, patience_s: float = PATIENCE_S) -> ApiClient:
        """Open a client (close it: it is a context manager)."""
        return ApiClient.local(self.data, patience_s=patience_s)

    def sender(self, api: ApiClient, **settings: Any) -> Sender:
        """Make a sender of films that remembers in a place of its own."""
        return Sender(api, region=str(self.data), memory=Memory(self.data / "sent"), **settings)

    def nodes(self, api: ApiClient) -> list[Node]:
        """List the processes of the region."""
        shown = api.get("/fleet")["nodes"]
        return [Node(node["id"], node["role"], node["state"], node.get("pid")) for node in shown]

    def publish_and_wait(self, api: ApiClient, film: Path, title: str, *, timeout_s: float) -> str:
        """Publish a film and wait until all of it is encoded; return the title's id."""
        title_id = self.sender(api).send(examine(film), title=title).title_id
        wait_for(api, title_id, ("complete",), timeout_s=timeout_s)
        return title_id

    def segments(self, title_id: str) -> dict[str, Path]:
        """Map the title's media files by their names relative to the build's folder."""
        folder = self.data / "objects" / "media" / title_id
        found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in (".m4s", ".mp4")]
        return {_without_build(path.relative_to(folder)): path for path in found}


def wait_for(api: ApiClient, title_id: str, states: Sequence[str], *, timeout_s: float, look_s: float = 0.5) -> str:
    """Poll a title until it is in one of `states`; return the state. Raises RegionFailed."""
    ends_at = time.monotonic() + timeout_s
    while time.monotonic() < ends_at:
        with contextlib.suppress(RedQueenError):
            title = api.get(f"/titles/{title_id}")
            if title["state"] in states:
                return str(title["state"])
            if title["state"] == "failed":
                raise RegionFailed(f"title {title_id} failed: {title.get('failure')}")
        time.sleep(look_s)
    raise RegionFailed(f"title {title_id} was not {' or '.join(states)} within {timeout_s:g} s")


def play_link(api: ApiClient, title_id: str) -> str:
    """Return an address of the title that needs no cookie."""
    return str(api.post(f"/titles/{title_id}/play-link", {}, again=True)["url"])


def remove(api: ApiClient, title_id: str) -> None:
    """Delete a title; one that is gone already is fine."""
    with contextlib.suppress(NotFound):
        api.delete(f"/titles/{title_id}")


def clear_samples(api: ApiClient, *, timeout_s: float = 240.0) -> int:
    """Remove the sample titles of a new region as they appear, so that their encodes disturb no figure.

    Returns how many were removed; gives up waiting for the rest after `timeout_s` seconds.
    """
    removed: set[str] = set()
    ends_at = time.monotonic() + timeout_s
    while len(removed) < len(SAMPLES) and time.monotonic() < ends_at:
        for title in matching(api, ""):
            if title["sample"] and title["state"] != "uploading":
                remove(api, title["id"])
                removed.add(title["id"])
        time.sleep(0.5)
    return len(removed)


# Browsers refuse to speak to 10080.
_PORTS = range(10_100, 20_000)
_ports = itertools.islice(itertools.cycle(_PORTS), zlib.crc32(str(os.getpid()).encode()) % len(_PORTS), None)


def free_port() -> int:
    """Find a loopback port that is free now, another one at each call.

    They lie below those of a region's nodes and below the kernel's ephemeral range: between this call and the
    moment when somebody listens there, no connection and no listener that asked for any port can take it. Each
    process begins elsewhere.
    """
    return next(port for port in _ports if addresses.is_free("127.0.0.1", port))


@contextmanager
def borrowed_or_own(data: Path | None, *, settings: str = "") -> Generator[Region]:
    """Give the running region in `data`, or start one with these settings that ends with the block."""
    if data is not None:
        yield Region(data.absolute())
        return
    with temporary(settings=settings) as region:
        region.up("--port", str(free_port()))
        yield region


@contextmanager
def temporary(*, settings: str = "") -> Generator[Region]:
    """Give a region that is not started; whatever of it runs at the block's end is ended and removed.

    `settings` is the text of its settings file; without it the folder is not made. Raises RegionFailed
    if `down` left processes; they are ended by their pids then.
    """
    folder = Path(tempfile.mkdtemp(prefix="redqueen-region-"))
    region = Region(folder / "data")
    if settings:
        region.data.mkdir(mode=0o700)
        (region.data / "redqueen.toml").write_text(settings, encoding="utf-8")
    said = ""
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield region
    finally:
        signal.signal(signal.SIGTERM, before)
        try:
            if region.data.exists():
                said = region.run("down").stderr.strip()[-600:]
        finally:
            left = _leftovers(region.data)
            for process in left:
                with contextlib.suppress(psutil.Error):
                    os.kill(process.pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)
    if left:
        raise RegionFailed(f"`down` left {len(left)} processes: {said}")


def _leave(number: int, frame: object) -> None:
    """Turn SIGTERM into an exception, so that a region is ended also when its user is told to stop."""
    raise SystemExit(128 + number)


def _leftovers(data: Path) -> list[psutil.Process]:
    """Find processes whose command line names the temporary data folder (nobody else's can)."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid() and any(str(data) in part for part in process.info["cmdline"] or ()):
            found.append(process)
    return found


def _without_build(path: Path) -> str:
    """Leave out the folder that is named by the build's digest (12 hexadecimal digits)."""
    return "/".join(part for part in path.parts if not (len(part) == 12 and set(part) <= set("0123456789abcdef")))
