"""Which ports a gateway opens, with and without a certificate."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from redqueen.gateway import media_routes
from redqueen.gateway.compiler import compile
from redqueen.gateway.filters import filter_chain
from redqueen.gateway.listeners import listeners
from redqueen.gateway.model import Inputs
from redqueen.gateway.routes import default_routes
from redqueen.gateway.transport import SECRETS, TlsEdge, TlsPair

PLAIN = Inputs("e", "a", "192.0.2.7", 8080, "127.0.0.1", "/data/envoy", "/data/media", (), default_routes())
SECURE = replace(PLAIN, tls=TlsEdge(8443, 443, "films.example"), tls_pair=TlsPair("the certificate", "the key"))


def opened(inputs: Inputs) -> dict[str, tuple[str, int, str]]:
    found: dict[str, tuple[str, int, str]] = {}
    for listener in listeners(inputs, ""):
        at = listener["address"]["socket_address"]
        found[listener["name"]] = (at["address"], at["port_value"], at.get("protocol", "TCP"))
    return found


def test_without_a_certificate_there_is_one_plain_port():
    assert opened(PLAIN) == {"front-door": ("192.0.2.7", 8080, "TCP")}
    assert opened(replace(SECURE, tls_pair=None)) == opened(PLAIN)
    assert SECRETS not in compile(PLAIN).files


def test_with_a_certificate_only_this_machine_is_served_without_it():
    assert opened(SECURE) == {
        "front-door": ("127.0.0.1", 8080, "TCP"),
        "to-https": ("192.0.2.7", 8080, "TCP"),
        "front-door-tls": ("192.0.2.7", 8443, "TCP"),
        "front-door-quic": ("192.0.2.7", 8443, "UDP"),
    }
    assert "to-https" not in opened(replace(SECURE, listen_host="127.0.1.1"))


def test_everybody_else_on_the_plain_port_is_sent_to_the_public_address_and_to_nothing_else():
    (found,) = [listener for listener in listeners(SECURE, "") if listener["name"] == "to-https"]
    connection = found["filter_chains"][0]["filters"][0]["typed_config"]
    assert "rds" not in connection
    (host,) = connection["route_config"]["virtual_hosts"]
    (route,) = host["routes"]
    assert (host["domains"], route["match"]) == (["*"], {"prefix": "/"})
    assert route["redirect"] == {
        "https_redirect": True,
        "host_redirect": "films.example",
        "port_redirect": 443,
        "response_code": "PERMANENT_REDIRECT",
    }


def test_the_key_is_in_one_file_alone_and_a_renewal_rewrites_only_that():
    before, after = (compile(replace(SECURE, tls_pair=TlsPair("c", key))).files for key in ("key one", "key two"))
    assert {name for name in before if before[name] != after[name]} == {SECRETS}
    assert [name for name, content in before.items() if b"key one" in content] == [SECRETS]
    secret = msgspec.json.decode(before[SECRETS])["resources"][0]["tls_certificate"]
    assert secret["private_key"] == {"inline_string": "key one"}


def test_media_and_services_pass_none_of_each_others_filters():
    # One that a route must ask for by name is in nobody's way.
    names = {found["name"] for found in filter_chain("keys") if not found.get("disabled")}
    assert sorted([*media_routes.SERVICES_ONLY, *media_routes.MEDIA_ONLY]) == sorted(names - {"router"})
    opened, *_, nothing = media_routes.media_routes("/data/media", has_keys=True)
    for route in (opened, nothing):
        off = {name for name, how in route["typed_per_filter_config"].items() if how.get("disabled")}
        assert off == set(media_routes.SERVICES_ONLY)
