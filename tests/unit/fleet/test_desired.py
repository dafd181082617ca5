"""From settings to nodes: the spread over zones."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.config import Counts, Region
from redqueen.errors import InvalidInput
from redqueen.fleet.desired import Addresses, Share, desired, node_ids, specs
from redqueen.fleet.model import Role

COUNT = st.integers(1, 9)


def counts() -> st.SearchStrategy[Counts]:
    return st.builds(Counts, registry=COUNT, gateway=COUNT, api=COUNT, worker=COUNT, control=COUNT)


def test_by_default_two_of_each_role_stand_in_two_zones() -> None:
    named = [(node_id, share) for node_id, share in node_ids(desired(Region(), "1")) if not share.spare]
    assert len(named) == 10
    for role in (Role.REGISTRY, Role.GATEWAY, Role.API, Role.WORKER, Role.CONTROL):
        assert len({share.zone for _, share in named if share.role is role}) == 2
    assert sorted(Counter(share.zone for _, share in named).values()) == [3, 3, 4]


@given(counts(), st.integers(2, 5))
def test_a_role_is_spread_evenly_and_counted_exactly(wanted: Counts, zones: int) -> None:
    region = Region(counts=wanted, zones=tuple("abcdefgh"[:zones]))
    everything = node_ids(desired(region, "1"))
    assert len({node_id for node_id, _ in everything}) == len(everything)
    named = [(node_id, share) for node_id, share in everything if not share.spare]
    for role in ("registry", "gateway", "api", "worker", "control"):
        by_zone = Counter(share.zone for _, share in named if share.role == role)
        assert sum(by_zone.values()) == getattr(wanted, role)
        assert max(by_zone.values()) - min([by_zone[zone] for zone in region.zones]) <= 1


@given(counts(), COUNT)
def test_a_change_of_one_roles_count_moves_no_node_of_another(wanted: Counts, workers: int) -> None:
    changed = Counts(wanted.registry, wanted.gateway, wanted.api, workers, wanted.control)
    before = {node_id for node_id, share in node_ids(desired(Region(counts=wanted), "1")) if share.role != "worker"}
    after = {node_id for node_id, share in node_ids(desired(Region(counts=changed), "1")) if share.role != "worker"}
    assert before == after


def test_node_ids_name_role_zone_and_number() -> None:
    shares = (Share(Role.API, "api", "1", "b", 2),)
    assert [node_id for node_id, _ in node_ids(shares)] == ["api-b-1", "api-b-2"]


def test_two_shares_of_one_service_in_one_zone_are_refused() -> None:
    shares = (Share(Role.API, "api", "1", "b", 1), Share(Role.API, "api", "2", "b", 1))
    with pytest.raises(InvalidInput):
        node_ids(shares)


def test_every_spec_knows_all_registries_and_its_own_address() -> None:
    shares = desired(Region(), "1.2")
    ports = {node_id: 20_000 + number for number, (node_id, _) in enumerate(node_ids(shares))}
    hosts = {"a": "127.0.1.1", "b": "127.0.2.1", "c": "127.0.3.1"}
    made = specs(shares, "local", "/data", Addresses(hosts, ports, "127.0.0.1", 8080))
    api = made["api-b-1"]
    assert (api.host, api.port, api.version, api.public_port) == ("127.0.2.1", ports["api-b-1"], "1.2", 8080)
    assert api.registry_urls == ("http://127.0.1.1:20000", "http://127.0.2.1:20001")
    assert str(api.folder) == "/data/nodes/api-b-1"
    assert api.digest == made["api-b-1"].digest != made["api-c-1"].digest
