"""Which addresses the region listens on: a loopback host a zone, a port a node, the public port.

Decides by really binding, without SO_REUSEPORT, so that a port somebody listens on is never taken
for free; what our own living processes hold stays theirs. Ports of nodes are chosen below the
kernel's ephemeral range, so that no outgoing connection sits on them when a node restarts.
Refuses hosts this machine does not have and ports it may not open. Enter at `zone_hosts`,
`node_port`, `choose_public_port`, `region_url`.
"""

from __future__ import annotations

import errno
import socket
import zlib
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from redqueen.config import Region
from redqueen.errors import Exhausted, InvalidInput

_LOWEST = 20_000
_EVERYWHERE = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class PublicPort:
    """The chosen public port, and why it is none of the candidates (empty if it is one)."""

    port: int
    because: str = ""


def zone_hosts(zones: Sequence[str]) -> dict[str, str]:
    """Give each zone a loopback host of its own, 127.0.<n>.1; 127.0.0.1 where that cannot be bound."""
    hosts = {zone: f"127.0.{index + 1}.1" for index, zone in enumerate(zones)}
    return {zone: host if is_free(host, 0) else _EVERYWHERE for zone, host in hosts.items()}


def bind_error(host: str, port: int) -> OSError | None:
    """Bind a TCP port for a moment (0: any) and return what hindered it, or None."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Without this a port counts as taken for a minute after its last connection.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen(1)
    except OSError as error:
        return error
    return None


def is_free(host: str, port: int) -> bool:
    """Tell whether a TCP port can be bound now."""
    return bind_error(host, port) is None


def node_port(host: str, seed: str, taken: AbstractSet[tuple[str, int]]) -> int:
    """Choose a free port for a node, the same for the same `seed` while it is free. Raises Exhausted."""
    highest = _ephemeral_start()
    width = highest - _LOWEST
    first = zlib.crc32(seed.encode()) % width
    for step in range(min(width, 2000)):
        port = _LOWEST + (first + step) % width
        if (host, port) not in taken and is_free(host, port):
            return port
    raise Exhausted("fleet.ports", f"No free port on {host}", hint="End what listens on so many ports")


def _ephemeral_start() -> int:
    try:
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768
    return low if low > _LOWEST + 1000 else 65_000


def choose_public_port(host: str, candidates: Sequence[int], ours: Callable[[int], bool]) -> PublicPort:
    """Choose the first candidate that is free or already ours, else the next free port after the last.

    `ours` tells whether the region's own gateways hold a port. Raises InvalidInput where the host is not
    this machine's or the port needs rights, Exhausted where nothing is free.
    """
    for port in candidates:
        if ours(port) or _may_bind(host, port):
            return PublicPort(port)
    wanted = candidates[-1]
    for port in range(wanted + 1, 65_536):
        if is_free(host, port):
            return PublicPort(port, f"port {wanted} is taken")
    raise Exhausted("fleet.ports", f"No port from {wanted} up is free on {host}", hint="Choose another with --port N")


def _may_bind(host: str, port: int) -> bool:
    error = bind_error(host, port)
    if error is None:
        return True
    if error.errno == errno.EADDRINUSE:
        return False
    if error.errno == errno.EACCES:
        raise InvalidInput(
            "fleet.port_rights",
            f"Port {port} cannot be opened",
            why="Ports below 1024 need rights this user has not",
            hint="Choose one with --port N, such as 8080",
        ) from error
    raise InvalidInput(
        "fleet.host",
        f"{host} is not an address of this machine",
        why=str(error),
        hint="Set `host` in redqueen.toml to 127.0.0.1 or 0.0.0.0",
    ) from error


def check_tls_port(host: str, port: int) -> None:
    """Raise Exhausted if somebody has the port of HTTPS, which is never chosen anew: links name it."""
    if not _may_bind(host, port):
        raise Exhausted("fleet.tls_port", f"Port {port} is taken", hint="Free it, or set `tls.port` in redqueen.toml")


def public_url(host: str, port: int) -> str:
    """Return the address to show for a listening host: loopback where it listens everywhere."""
    shown = {"0.0.0.0": _EVERYWHERE, "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def region_url(region: Region, port: int) -> str:
    """Return what viewers call the region: `public_url`, or HTTPS where there is a certificate, or `port` of `host`."""
    if region.public_url:
        return region.public_url.rstrip("/")
    if region.tls.certificate:
        return public_url(region.host, region.tls.port).replace("http:", "https:", 1)
    return public_url(region.host, port)


def tools_url(region: Region, port: int) -> str:
    """Return where this machine's own tools reach the region, by plain HTTP; see the gateway's listeners."""
    here = region.host.startswith("127.") or region.host == "::1"
    return public_url(region.host if here or not region.tls.certificate else _EVERYWHERE, port)
