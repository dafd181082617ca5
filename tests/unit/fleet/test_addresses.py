"""Which ports are chosen, by really binding."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from redqueen.config import Region, Tls
from redqueen.errors import Exhausted, InvalidInput
from redqueen.fleet.addresses import (
    bind_error,
    check_tls_port,
    choose_public_port,
    is_free,
    node_port,
    public_url,
    region_url,
    tools_url,
    zone_hosts,
)


@contextmanager
def listening(*, shared: bool = False) -> Generator[int, None, None]:
    with socket.socket() as server:
        if shared:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def nobody(port: int) -> bool:
    return False


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_that_somebody_listens_on_is_not_free(shared: bool) -> None:
    with listening(shared=shared) as port:
        assert not is_free("127.0.0.1", port)
        assert not is_free("0.0.0.0", port)  # noqa: S104 - probed only
    assert is_free("127.0.0.1", port)


def test_a_taken_public_port_is_no_obstacle_and_is_said() -> None:
    with listening() as port:
        chosen = choose_public_port("127.0.0.1", [port], nobody)
        assert chosen.port > port
        assert chosen.because == f"port {port} is taken"


def test_the_first_free_candidate_is_chosen_silently() -> None:
    with listening() as taken, listening() as other:
        pass
    with socket.create_server(("127.0.0.1", taken)):
        assert choose_public_port("127.0.0.1", [taken, other], nobody).port == other
        assert choose_public_port("127.0.0.1", [taken, other], nobody).because == ""


def test_a_port_that_our_own_gateways_hold_is_kept() -> None:
    with listening(shared=True) as port:
        assert choose_public_port("127.0.0.1", [port], lambda number: number == port).port == port


def test_a_host_of_another_machine_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not an address of this machine"):
        choose_public_port("192.0.2.1", [18_080], nobody)


def test_a_nodes_port_is_the_same_while_it_is_free() -> None:
    first = node_port("127.0.0.1", "seed", set())
    assert first < 65_536
    assert node_port("127.0.0.1", "seed", {("127.0.0.1", first)}) != first
    with socket.create_server(("127.0.0.1", first)):
        assert node_port("127.0.0.1", "seed", set()) != first


def test_zones_have_loopback_hosts_of_their_own() -> None:
    hosts = zone_hosts(("a", "b", "c"))
    assert set(hosts.values()) in ({"127.0.1.1", "127.0.2.1", "127.0.3.1"}, {"127.0.0.1"})
    assert all(bind_error(host, 0) is None for host in hosts.values())


def test_the_shown_address_is_one_that_can_be_opened() -> None:
    assert public_url("127.0.0.1", 8080) == "http://127.0.0.1:8080"
    assert public_url("0.0.0.0", 8080) == "http://127.0.0.1:8080"  # noqa: S104
    assert public_url("::", 80) == "http://[::1]:80"


def test_viewers_and_tools_are_told_where_the_region_is_for_each_of_them():
    tls = Tls("certificate.pem", "key.pem", 8443)
    everywhere, house = "0.0.0.0", "192.0.2.7"  # noqa: S104 - not bound
    expected = [
        (Region(), "http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        (Region(host=everywhere), "http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        (Region(host=house), "http://192.0.2.7:8080", "http://192.0.2.7:8080"),
        (Region(host=house, public_url="https://tv.example/"), "https://tv.example", "http://192.0.2.7:8080"),
        (Region(tls=tls), "https://127.0.0.1:8443", "http://127.0.0.1:8080"),
        (Region(host="127.0.2.1", tls=tls), "https://127.0.2.1:8443", "http://127.0.2.1:8080"),
        (Region(host=house, tls=tls), "https://192.0.2.7:8443", "http://127.0.0.1:8080"),
        (
            Region(host=everywhere, tls=tls, public_url="https://tv.example"),
            "https://tv.example",
            "http://127.0.0.1:8080",
        ),
    ]
    for region, viewers, tools in expected:
        assert (region_url(region, 8080), tools_url(region, 8080)) == (viewers, tools)


def test_the_port_of_https_is_not_chosen_anew():
    with socket.create_server(("127.0.0.1", 0)) as other:
        with pytest.raises(Exhausted, match=r"tls\.port|taken"):
            check_tls_port("127.0.0.1", other.getsockname()[1])
