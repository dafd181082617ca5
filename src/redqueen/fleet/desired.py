"""Region settings and declared services into the nodes there shall be: how many, in which zones.

Decides the spread: the n nodes of a role go round the zones, each role beginning at a zone of
its own, so that two of a role never share a zone (while there are two zones) and zones carry
about the same. A change of one role's count moves no node of another. A service that can be
replaced under load has a spare beside its nodes. The groups of one release begin at one zone, so
that they are compared on equal terms. Ports and addresses are given by `addresses.py`.
Enter at `desired`, `declared` and `specs`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from redqueen.config import Region
from redqueen.errors import InvalidInput
from redqueen.fleet.declared import Wish, Wishes
from redqueen.fleet.groups import group_of
from redqueen.fleet.model import Edition, NodeSpec, Program, Role

_BUILT_IN = (Role.REGISTRY, Role.GATEWAY, Role.API, Role.WORKER, Role.CONTROL)
SPARED = frozenset({Role.API, Role.SERVICE})
"""Roles that callers reach through gateways and that may have one node more while they are replaced."""


@dataclass(frozen=True, slots=True)
class Share:
    """So many nodes of one service's version in one zone."""

    role: Role
    service: str
    version: str
    zone: str
    count: int
    program: Program | None = None
    revision: int = 0
    first: int = 1
    """The number of its first node."""
    spare: bool = False
    """Whether its node only stands in while the service's others are replaced."""
    edition: Edition | None = None


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the nodes listen: each zone's host, each node's port, and the public address."""

    zone_hosts: Mapping[str, str]
    ports: Mapping[str, int]
    public_host: str
    public_port: int


def desired(region: Region, version: str, wishes: Wishes | None = None) -> tuple[Share, ...]:
    """Return what the region's settings and the wishes ask for, role by role, zone by zone."""
    wishes = wishes or Wishes()
    counts = {
        Role.REGISTRY: region.counts.registry,
        Role.GATEWAY: region.counts.gateway,
        Role.API: region.counts.api,
        Role.WORKER: region.counts.worker,
        Role.CONTROL: region.counts.control,
    }
    shares: list[Share] = []
    for index, role in enumerate(_BUILT_IN):
        zones = _spread(region.zones, counts[role], first=2 * index)
        edition = wishes.edition(role)
        whole = Share(role, role.value, version, "", 0, revision=wishes.revision(role))
        if edition is not None:
            whole = replace(whole, version=edition.version, edition=edition)
        shares += _with_spare(
            [replace(whole, zone=zone, count=zones.count(zone)) for zone in region.zones if zone in zones]
        )
    for wish in wishes.services:
        shares += declared(wish, region.zones, version)
    return tuple(shares)


def declared(wish: Wish, zones: Sequence[str], installed: str = "") -> list[Share]:
    """Return the shares of one declared service or group: the same in each zone, or its count spread over them.

    `installed` is the version of a group of our own role that runs no other edition.
    """
    file = wish.file
    if file.count is None:
        placed = [zone for zone in zones for _ in range(file.count_per_zone or 1)]
    else:
        # Each service begins at a zone of its own, so that single instances do not all share the first.
        placed = _spread(zones, file.count, first=zlib.crc32(_seed(file.name)) % len(zones))
    whole = Share(Role.SERVICE, file.name, file.version, "", 0, file.program, wish.revision)
    if wish.edition is not None:
        whole = replace(
            whole, role=Role.API, version=wish.edition.version or installed, program=None, edition=wish.edition
        )
    return _with_spare([replace(whole, zone=zone, count=placed.count(zone)) for zone in zones if zone in placed])


def _seed(name: str) -> bytes:
    group = group_of(name)
    return (name if group is None else f"{group.service} {group.release}").encode()


def _with_spare(shares: list[Share]) -> list[Share]:
    """Give a service one node more, in the first of its zones, that stands by for replacements."""
    if not shares or shares[0].role not in SPARED:
        return shares
    return [*shares, replace(shares[0], count=1, first=shares[0].count + 1, spare=True)]


def _spread(zones: Sequence[str], count: int, *, first: int) -> list[str]:
    return [zones[(first + number) % len(zones)] for number in range(count)]


def node_ids(shares: Sequence[Share]) -> tuple[tuple[str, Share], ...]:
    """Name each node of each share: "<service>-<zone>-<n>". Raises InvalidInput on a clash."""
    named = tuple(
        (f"{share.service}-{share.zone}-{share.first + n}", share) for share in shares for n in range(share.count)
    )
    if len({node_id for node_id, _ in named}) < len(named):
        raise InvalidInput(
            "fleet.clash", "Two shares name the same nodes", hint="Give each service and zone one share only"
        )
    return named


def specs(shares: Sequence[Share], region: str, data_dir: str, addresses: Addresses) -> dict[str, NodeSpec]:
    """Return the full spec of each desired node by id, registries first, all knowing the registries."""
    made = {node_id: _spec(node_id, share, region, data_dir, addresses) for node_id, share in node_ids(shares)}
    urls = tuple(f"http://{spec.host}:{spec.port}" for spec in made.values() if spec.role is Role.REGISTRY)
    return {node_id: replace(spec, registry_urls=urls) for node_id, spec in made.items()}


def _spec(node_id: str, share: Share, region: str, data_dir: str, addresses: Addresses) -> NodeSpec:
    return NodeSpec(
        node_id=node_id,
        role=share.role,
        service=share.service,
        version=share.version,
        zone=share.zone,
        region=region,
        host=addresses.zone_hosts[share.zone],
        port=addresses.ports[node_id],
        data_dir=data_dir,
        public_host=addresses.public_host,
        public_port=addresses.public_port,
        program=share.program,
        revision=share.revision,
        spare=share.spare,
        code=share.edition.code if share.edition else "",
        web=share.edition.web if share.edition else "",
    )
