"""What a gateway is told about HTTPS, from the region's settings."""

from __future__ import annotations

import pytest

from redqueen.config import Region, Tls
from redqueen.gateway.transport import TlsEdge
from redqueen.roles.gateway import tls_edge

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
