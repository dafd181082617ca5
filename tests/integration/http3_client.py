"""A small HTTP/3 client for tests, on aioquic: one connection, one request after the other."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent


@dataclass
class Answer:
    """What one request got."""

    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    ended: anyio.Event = field(default_factory=anyio.Event)

    @property
    def status_code(self) -> int:
        return int(self.headers[":status"])


class Client(QuicConnectionProtocol):
    """One connection to a gateway."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._http = H3Connection(self._quic)
        self._answers: dict[int, Answer] = {}
        self.was_reset = False

    def datagram_received(self, data: bytes | str, addr: object) -> None:
        """Look for a stateless reset, which aioquic does not (RFC 9000, 10.3)."""
        token = self._quic._peer_cid.stateless_reset_token
        self.was_reset |= bool(token) and bytes(data[-16:]) == token  # type: ignore[arg-type]
        super().datagram_received(data, addr)  # type: ignore[arg-type]

    async def get(self, path: str, *, within_s: float = 30, **headers: str) -> Answer:
        """Ask for `path`; TimeoutError where no whole answer comes."""
        stream = self._quic.get_next_available_stream_id()
        answer = self._answers[stream] = Answer()
        lines = {":method": "GET", ":scheme": "https", ":authority": "localhost", ":path": path, **headers}
        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in lines.items()]
        self._http.send_headers(stream, pairs, end_stream=True)
        self.transmit()
        with anyio.fail_after(within_s):
            await answer.ended.wait()
        return answer

    def quic_event_received(self, event: QuicEvent) -> None:
        for happened in self._http.handle_event(event):
            self._take(happened)

    def _take(self, event: H3Event) -> None:
        if not isinstance(event, HeadersReceived | DataReceived) or event.stream_id not in self._answers:
            return
        answer = self._answers[event.stream_id]
        if isinstance(event, HeadersReceived):
            answer.headers = {name.decode(): value.decode() for name, value in event.headers}
        else:
            answer.content += event.data
        if event.stream_ended:
            answer.ended.set()


@asynccontextmanager
async def http3(port: int, certificate: Path) -> AsyncIterator[Client]:
    """Connect over QUIC, trusting exactly this certificate."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="localhost")
    configuration.load_verify_locations(cafile=str(certificate))
    configuration.verify_mode = ssl.CERT_REQUIRED
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Client) as client:
        yield client  # type: ignore[misc]
