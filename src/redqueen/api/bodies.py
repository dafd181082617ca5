"""Request bodies as streams, straight from the server: nothing is gathered before it is wanted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
from litestar import Request
from litestar.datastructures import State

from redqueen.api.intake import ConnectionCut
from redqueen.errors import InvalidInput

_DRAIN_BYTES = 16 << 20
_DRAIN_S = 2.0


async def pieces(request: Request[Any, Any, State]) -> AsyncIterator[bytes]:
    """Give the body piece by piece. Raises ConnectionCut when the client goes away."""
    more = True
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ConnectionCut
        piece = message.get("body", b"")
        if piece:
            yield piece
        more = message.get("more_body", False)


async def drain(request: Request[Any, Any, State]) -> None:
    """Read away the rest of a refused body (up to 16 MiB, 2 s), so that the answer is not cut off."""
    size = 0
    with anyio.move_on_after(_DRAIN_S):
        try:
            async for piece in pieces(request):
                size += len(piece)
                if size > _DRAIN_BYTES:
                    return
        except ConnectionCut:
            return


async def text(request: Request[Any, Any, State], *, max_bytes: int, code: str) -> str:
    """Return a small body as text: UTF-8, UTF-16 with its mark, or else Windows-1252. Raises InvalidInput."""
    body = bytearray()
    async for piece in pieces(request):
        body += piece
        if len(body) > max_bytes:
            raise InvalidInput(code, "The text is too long", why=f"the limit is {max_bytes} bytes", hint="Send less")
    return decoded(bytes(body))


def decoded(body: bytes) -> str:
    """Return `body` as text by its byte order mark, as UTF-8, or as Windows-1252."""
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return body.decode("utf-16", "replace")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")
