"""Opens a region for its supervisor: the folder, the lock, the public port, where each node listens.

Decides the addresses once and keeps them: ports are read back from the nodes' specs, the public
port from `address.json`, so that a restarted region is found where it was. A living process of
the region keeps its port; a port somebody else took meanwhile is given up for a new one.
Enter at `opened` and `Planner`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from redqueen import config
from redqueen.fleet import addresses, nodefiles
from redqueen.fleet.addresses import PublicPort
from redqueen.fleet.datadir import SupervisorFile, locked, open_data_dir, read_json, unwritable, write_json
from redqueen.fleet.declared import Wishes
from redqueen.fleet.desired import Addresses, Share, desired, node_ids, specs
from redqueen.fleet.model import NodeSpec, Role


class AddressFile(msgspec.Struct, frozen=True):
    """`address.json`: the public port in use, and the configured one it was chosen for."""

    configured: int
    port: int


@dataclass(frozen=True, slots=True)
class Opening:
    """A region that is ours to supervise."""

    data_dir: Path
    region: config.Region
    public_port: int
    public_url: str
    because: str
    """Why the public port is not the configured one; empty if it is."""
    tools_url: str
    """Where this machine's own tools reach the region, without TLS."""


@contextlib.contextmanager
def opened(data_dir: Path, *, port: int | None = None) -> Generator[Opening, None, None]:
    """Hold the region's lock until the block ends. Raises InvalidInput, Conflict, Exhausted, Broken."""
    open_data_dir(data_dir)
    region = config.load(data_dir)
    with locked(data_dir):
        chosen = _public_port(data_dir, region, port)
        url, tools_url = addresses.region_url(region, chosen.port), addresses.tools_url(region, chosen.port)
        me = nodefiles.myself()
        try:
            write_json(data_dir / "address.json", AddressFile(region.port, chosen.port))
            write_json(data_dir / "supervisor.json", SupervisorFile(me.pid, me.started_s, url, tools_url))
        except OSError as error:
            raise unwritable(data_dir, error) from error
        try:
            yield Opening(data_dir, region, chosen.port, url, chosen.because, tools_url)
        finally:
            (data_dir / "supervisor.json").unlink(missing_ok=True)


def _public_port(data_dir: Path, region: config.Region, port: int | None) -> PublicPort:
    known = nodefiles.known_specs(data_dir).values()
    held = {
        spec.public_port
        for spec in known
        if spec.role is Role.GATEWAY and nodefiles.envoy_process(data_dir, spec.node_id) is not None
    }
    before = read_json(data_dir / "address.json", AddressFile)
    candidates = [port or region.port]
    if port is None and before is not None and before.configured == region.port:
        candidates.insert(0, before.port)
    if region.tls.certificate and not held:
        addresses.check_tls_port(region.host, region.tls.port)
    return addresses.choose_public_port(region.host, candidates, lambda number: number in held)


class Planner:
    """Gives the wanted specs of an opened region; asked again for a node that lost its port.

    `shares` fixes what is wanted; otherwise it is what the settings and the wishes ask for.
    """

    def __init__(self, opening: Opening, version: str, shares: tuple[Share, ...] | None = None) -> None:
        self._opening = opening
        self._version = version
        self._fixed = shares
        self._shares: tuple[Share, ...] = ()
        self._hosts = addresses.zone_hosts(opening.region.zones)
        self._ports: dict[str, int] = {}
        self.wish(Wishes())

    def wish(self, wishes: Wishes) -> None:
        """Take what is wished for from now on; nodes that stay wanted keep their ports."""
        self._shares = desired(self._opening.region, self._version, wishes) if self._fixed is None else self._fixed
        named = node_ids(self._shares)
        wanted = {node_id for node_id, _ in named}
        self._ports = {node_id: port for node_id, port in self._ports.items() if node_id in wanted}
        before = nodefiles.known_specs(self._opening.data_dir)
        for node_id, share in named:
            if node_id not in self._ports:
                self._keep(node_id, share, before)
        self._fill()

    def _keep(self, node_id: str, share: Share, before: Mapping[str, NodeSpec]) -> None:
        spec = before.get(node_id)
        host = self._hosts[share.zone]
        if spec is None or spec.host != host or (host, spec.port) in self._taken():
            return
        data_dir = self._opening.data_dir
        alive = nodefiles.node_process(data_dir, node_id) or nodefiles.envoy_process(data_dir, node_id)
        if alive or addresses.is_free(host, spec.port):
            self._ports[node_id] = spec.port

    def _fill(self) -> None:
        for node_id, share in node_ids(self._shares):
            if node_id not in self._ports:
                seed = f"{self._opening.data_dir}/{node_id}"
                self._ports[node_id] = addresses.node_port(self._hosts[share.zone], seed, self._taken())

    def _taken(self) -> set[tuple[str, int]]:
        zones = {node_id: share.zone for node_id, share in node_ids(self._shares)}
        return {(self._hosts[zones[node_id]], port) for node_id, port in self._ports.items()}

    def __call__(self, moved: str | None = None) -> dict[str, NodeSpec]:
        """Return the wanted specs by id; `moved` names a node whose port somebody else has taken."""
        if moved is not None:
            self._ports.pop(moved, None)
            self._fill()
        where = Addresses(self._hosts, self._ports, self._opening.region.host, self._opening.public_port)
        return specs(self._shares, self._opening.region.name, str(self._opening.data_dir), where)
