"""What a gateway is told: HTTPS from the region's settings, endpoints from the registries' stream."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.config import Region, Tls
from redqueen.gateway.transport import TlsEdge
from redqueen.registry.model import Instance
from redqueen.roles.gateway import Translation, tls_edge

TLS = Tls("certificate.pem", "key.pem", 8443)


@pytest.mark.parametrize(
    ("public_url", "edge"),
    [
        ("", TlsEdge(8443, 8443)),
        ("https://tv.example", TlsEdge(8443, 443, "tv.example")),
        ("https://tv.example:9443/", TlsEdge(8443, 9443, "tv.example")),
        ("https://[2001:db8::1]:9443", TlsEdge(8443, 9443, "[2001:db8::1]")),
    ],
)
def test_browsers_are_told_the_public_address(public_url: str, edge: TlsEdge) -> None:
    assert tls_edge(Region(public_url=public_url, tls=TLS)) == edge


def test_without_a_certificate_there_is_no_https_whatever_the_region_is_called() -> None:
    assert tls_edge(Region(public_url="https://tv.example")) is None


INSTANCES = [Instance("SHOP", f"shop-{at}", "127.0.0.1", 4000 + at if at % 7 else 0) for at in range(20)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sets(st.integers(0, 19)), max_size=6))
def test_endpoints_are_the_callable_instances_and_stay_the_same_objects(turns: list[set[int]]) -> None:
    translation, before = Translation(), dict[str, object]()
    for turn in turns:
        there = tuple(one for at, one in enumerate(INSTANCES) if at in turn)
        found = translation.endpoints(there)
        assert [one.node_id for one in found] == [one.instance_id for one in there if one.port]
        assert all(one is before[one.node_id] for one in found if one.node_id in before)
        assert translation.apps() == {("shop", one.node_id): "SHOP" for one in found}
        before = {one.node_id: one for one in found}
