"""A small HTTP service of one file, started in a tenth of a second: `HOST` and `PORT` say where (0: any, printed).

Answers every request with 200 after a millisecond. Only for benchmarks.
"""

import asyncio
import os

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nwell\n"


class Connection(asyncio.Protocol):
    """Counts ends of heads; there are no bodies."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = transport
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        """Answer each request a millisecond later."""
        heads = (self.rest + data).split(b"\r\n\r\n")
        self.rest = heads[-1]
        asyncio.get_running_loop().call_later(0.001, self.transport.write, _ANSWER * (len(heads) - 1))


async def main() -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "0")))
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
