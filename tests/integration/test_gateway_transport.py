"""HTTPS, HTTP/2 and HTTP/3 through a real Envoy: one certificate, renewed without a lost connection."""

from __future__ import annotations

import signal
import socket
import ssl
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import anyio
import httpx
import pytest
from gateway_rig import (
    Endpoints,
    Gateway,
    Routes,
    backends,
    envoy_of,
    free_port,
    gateway,
    jwks,
    put_media,
    token,
)
from http3_client import Client, http3

from certificates import put_certificate
from redqueen import processes
from redqueen.gateway import envoy_process
from redqueen.gateway.model import EnvoyHandoverFailed, MediaKeys, RouteInputs
from redqueen.gateway.routes import default_routes
from redqueen.gateway.tls import read_pair
from redqueen.gateway.transport import TlsEdge, TlsPair

pytestmark = pytest.mark.anyio

SEGMENT = bytes(range(256)) * 40
LINK = f"/v/{token('t1')}/t1/v/1.m4s"


def routes(folder: Path) -> Routes:
    pair = read_pair(folder / "certificate.pem", folder / "key.pem")
    return Routes(RouteInputs(default_routes(), MediaKeys(jwks()), tls_pair=pair))


def both_free_port() -> int:
    """Find a port that is free for TCP and UDP."""
    while True:
        port = free_port()
        with suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", port))
            return port


@pytest.fixture
async def running(tmp_path: Path):
    put_media(tmp_path)
    put_certificate(tmp_path)
    port = both_free_port()
    with backends("api-a-1") as (one,):
        source = routes(tmp_path)
        edge = TlsEdge(port, port)
        async with gateway(tmp_path, Endpoints(one.endpoint()), source, tls=edge) as running:
            await running.until_state(lambda state: state.serving)
            yield running, source, port


def trusting(folder: Path, *, http2: bool = False) -> httpx.AsyncClient:
    trust = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
    return httpx.AsyncClient(verify=trust, http2=http2, timeout=30, trust_env=False)


Running = tuple[Gateway, Routes, int]


async def test_every_version_of_http_serves_the_same_film(running: Running, tmp_path: Path):
    _, _, port = running
    offer = f'h3=":{port}"; ma=86400'
    for http2, version in ((False, "HTTP/1.1"), (True, "HTTP/2")):
        async with trusting(tmp_path, http2=http2) as client:
            answer = await client.get(f"https://localhost:{port}{LINK}", headers={"range": "bytes=-300"})
            assert (answer.http_version, answer.status_code, answer.content) == (version, 206, SEGMENT[-300:])
            assert answer.headers["alt-svc"] == offer
            page = await client.get(f"https://localhost:{port}/api/v1/titles")
            assert "x-forwarded-proto: https" in page.text
    async with http3(port, tmp_path / "certificate.pem") as client:
        whole = await client.get(LINK)
        assert (whole.status_code, whole.content, whole.headers["alt-svc"]) == (200, SEGMENT, offer)
        part = await client.get(LINK, range="bytes=-300")
        assert (part.status_code, part.content) == (206, SEGMENT[-300:])
        assert (await client.get(LINK, if_none_match=whole.headers["etag"])).status_code == 304
        assert (await client.get("/media/t1/master.m3u8")).status_code == 401
        assert (await client.get("/media/t1/master.m3u8", cookie=f"rq_media={token('t1')}")).status_code == 200
        assert b"x-forwarded-proto: https" in (await client.get("/api/v1/titles")).content


async def test_old_versions_of_tls_are_refused(running: Running, tmp_path: Path):
    _, _, port = running
    trust = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
    for version, works in ((ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_2, True)):
        trust.minimum_version = trust.maximum_version = version
        assert await anyio.to_thread.run_sync(_handshake, port, trust) == works
    trust.set_ciphers("ALL:@SECLEVEL=0")
    trust.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning):
        trust.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError, match=r"(?i)version|reset|alert|protocol"):
        await anyio.to_thread.run_sync(_handshake, port, trust)


def _handshake(port: int, trust: ssl.SSLContext) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
        with trust.wrap_socket(plain, server_hostname="localhost") as secure:
            return secure.version() is not None


async def test_the_plain_port_serves_tools_and_sends_browsers_to_https(running: Running):
    gateway, _, port = running
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        tool = await client.get(f"{gateway.url}/api/v1/titles")
        assert (tool.status_code, "alt-svc" in tool.headers) == (200, False)
        plain_port = gateway.settings.listen_port
        for host, expected in (
            (f"localhost:{plain_port}", "localhost"),
            ("films.example", "films.example"),
            ("[::1]:80", "[::1]"),
        ):
            page = await client.get(f"{gateway.url}/title/t1?a=b", headers={"sec-fetch-mode": "navigate", "host": host})
            assert (page.status_code, page.headers["location"]) == (308, f"https://{expected}:{port}/title/t1?a=b")
            assert page.headers["cache-control"] == "no-store"


async def shown(port: int) -> str:
    return await anyio.to_thread.run_sync(ssl.get_server_certificate, ("127.0.0.1", port))


async def test_a_renewed_certificate_is_shown_without_a_lost_connection(running: Running, tmp_path: Path):
    gateway, source, port = running
    before = await shown(port)
    envoy = envoy_of(gateway.settings.folder)
    async with trusting(tmp_path) as old, http3(port, tmp_path / "certificate.pem") as old_quic:
        assert (await old.get(f"https://localhost:{port}{LINK}")).status_code == 200
        assert (await old_quic.get(LINK)).status_code == 200
        put_certificate(tmp_path)
        source.now = routes(tmp_path).now
        with anyio.fail_after(30):
            while await shown(port) == before:
                await anyio.sleep(0.05)
        # Neither connection knows the new certificate: they are the old ones.
        assert (await old.get(f"https://localhost:{port}{LINK}")).status_code == 200
        assert (await old_quic.get(LINK)).status_code == 200
    async with trusting(tmp_path) as new, http3(port, tmp_path / "certificate.pem") as new_quic:
        assert (await new.get(f"https://localhost:{port}{LINK}")).status_code == 200
        assert (await new_quic.get(LINK)).status_code == 200
    assert envoy_of(gateway.settings.folder) == envoy


async def test_a_certificate_that_envoy_refuses_leaves_the_old_one(running: Running, tmp_path: Path):
    gateway, source, port = running
    before = await shown(port)
    source.now = RouteInputs(default_routes(), MediaKeys(jwks()), tls_pair=TlsPair("no certificate", "no key"))
    refused = await gateway.until_state(lambda state: state.rejected, within_s=30)
    assert refused.because
    assert await shown(port) == before
    async with trusting(tmp_path) as client:
        assert (await client.get(f"https://localhost:{port}{LINK}")).status_code == 200
    files = gateway.settings.folder / "envoy"
    assert "no key" not in (files / "sds.json").read_text()
    assert (files.stat().st_mode & 0o077) == 0


async def test_the_region_without_a_certificate_opens_when_one_comes(tmp_path: Path):
    put_media(tmp_path)
    port = both_free_port()
    source = Routes()
    async with gateway(tmp_path, Endpoints(), source, tls=TlsEdge(port, port)) as running:
        await running.until_state(lambda state: state.serving)
        with pytest.raises(OSError, match="refused"):
            await shown(port)
        put_certificate(tmp_path)
        source.now = routes(tmp_path).now
        with anyio.fail_after(30):
            while True:
                with suppress(OSError):
                    await shown(port)
                    break
                await anyio.sleep(0.05)


async def test_when_one_of_two_gateways_dies_quic_goes_on(tmp_path: Path):
    put_media(tmp_path)
    put_certificate(tmp_path)
    plain, port = free_port(), both_free_port()
    source, edge = routes(tmp_path), TlsEdge(port, port)
    certificate = tmp_path / "certificate.pem"
    async with (
        gateway(tmp_path, Endpoints(), source, port=plain, tls=edge, number=1) as one,
        gateway(tmp_path, Endpoints(), source, port=plain, tls=edge, number=2) as two,
    ):
        for each in (one, two):
            await each.until_state(lambda state: state.serving)
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(http3(port, certificate)) for _ in range(16)]
            for _ in range(3):
                # Every packet of a connection reaches the Envoy that it began with.
                assert {(await client.get(LINK)).content for client in clients} == {SEGMENT}
            processes.send_signal(envoy_of(two.settings.folder), signal.SIGKILL)
            served: list[Client] = []

            async def ask(client: Client) -> None:
                with suppress(TimeoutError):
                    assert (await client.get(LINK, within_s=10)).content == SEGMENT
                    served.append(client)

            async with anyio.create_task_group() as group:
                for client in clients:
                    group.start_soon(ask, client)
            # One Envoy's connections go on; those of the dead are told at once, in a way that they can believe.
            assert served
            assert all(client in served or client.was_reset for client in clients)
        async with http3(port, certificate) as client:
            assert (await client.get(LINK)).content == SEGMENT


async def test_an_envoy_is_replaced_under_load_with_tls_and_quic(running: Running, tmp_path: Path, monkeypatch):
    gateway, _, port = running
    certificate = tmp_path / "certificate.pem"
    old = envoy_of(gateway.settings.folder)
    asked = {"tcp": 0, "quic": 0}
    done = False

    async def by_tcp() -> None:
        while not done:
            async with trusting(tmp_path) as client:
                assert (await client.get(f"https://localhost:{port}{LINK}")).content == SEGMENT
            asked["tcp"] += 1

    async def by_quic() -> None:
        while not done:
            async with http3(port, certificate) as client:
                assert (await client.get(LINK)).content == SEGMENT
            asked["quic"] += 1

    async with anyio.create_task_group() as group:
        group.start_soon(by_tcp)
        group.start_soon(by_quic)
        await anyio.sleep(0.5)
        monkeypatch.setattr(envoy_process.EnvoyHouse, "_drain_time_s", lambda self: 2)
        with anyio.fail_after(30):
            while envoy_of(gateway.settings.folder) == old or processes.is_alive(old):
                await anyio.sleep(0.05)
        await anyio.sleep(0.5)
        done = True
    assert min(asked.values()) > 5
    assert not [event for event in gateway.events if isinstance(event, EnvoyHandoverFailed)]
