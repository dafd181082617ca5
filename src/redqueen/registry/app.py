"""The registry's HTTP face: Eureka's wire, the push stream, the peers' exchange, health.

Decides who may call what: exchanges and exit reports come from this machine only, and a page in
a browser may change nothing. Everything else is handed to `wire`, `stream` and `peering`. Enter
at `build`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import parse_qsl, unquote

import anyio
import msgspec
from litestar import Litestar, Request, asgi, get, post, route
from litestar.datastructures import State
from litestar.response import Response
from litestar.types import Receive, Scope, Send

from redqueen.errors import Forbidden, InvalidInput, RedQueenError
from redqueen.registry import calls, peering, stream, wire
from redqueen.registry.ledger import Ledger
from redqueen.registry.messages import ExitReport, SyncRequest, encode
from redqueen.registry.model import Identity, Moment
from redqueen.registry.rights import Caller, Gate

_SYNC_BYTES = 16 << 20
_SEND_LIMIT_S = 5.0
"""Seconds that a subscriber may leave one message unread (the server buffers some 64): then it is let go."""

_Asked = Request[None, None, State]
_T = TypeVar("_T")


def build(ledger: Ledger, gate: Gate, moment: Callable[[], Moment], closing: anyio.Event) -> Litestar:
    """Make the app around one registry's state; streams end when `closing` is set."""

    @route(["/eureka", "/eureka/{rest:path}"], http_method=["GET", "POST", "PUT", "DELETE"])
    async def eureka(request: _Asked) -> Response[bytes]:
        _refuse_browsers(request)
        answer = wire.answer(ledger, await _eureka_request(request, _caller(gate, request)), moment())
        kind = answer.headers.get("content-type", "text/plain")
        return Response(answer.body, status_code=answer.status, headers=dict(answer.headers), media_type=kind)

    @post("/registry/v1/sync", request_max_body_size=_SYNC_BYTES, status_code=200)
    async def sync(request: _Asked) -> Response[bytes]:
        _refuse_strangers(gate, request)
        asked = _decoded(await request.body(), SyncRequest)
        return _json(encode(peering.reply(ledger, asked, moment())))

    @post("/registry/v1/exits", status_code=200)
    async def exits(request: _Asked) -> Response[bytes]:
        _refuse_strangers(gate, request)
        report = _decoded(await request.body(), ExitReport)
        identity = Identity(report.app.upper(), report.instance_id)
        outcome = ledger.apply(calls.Exited(identity, report.because, report.at_ms), moment())
        return _json(encode({"reply": outcome.reply, "because": outcome.because}))

    @get("/registry/v1/health")
    async def health() -> Response[bytes]:
        living = len(ledger.living())
        return _json(encode({"epoch": ledger.epoch, "version": ledger.version, "instances": living}))

    @asgi("/registry/v1/stream", copy_scope=False)
    async def push(scope: Scope, receive: Receive, send: Send) -> None:
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        version = query.get("version", "")
        known = int(version) if version.isdecimal() and len(version) < 20 else 0
        await _push(ledger, closing, query.get("epoch", ""), known, receive, send)

    return Litestar(
        [eureka, sync, exits, health, push],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=wire.MOST_BODY_BYTES,
        exception_handlers={RedQueenError: _refusal},
    )


async def _push(ledger: Ledger, closing: anyio.Event, epoch: str, version: int, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async with anyio.create_task_group() as group:

        async def until_gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(until_gone)
        if await _feed(ledger, closing, epoch, version, send):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        group.cancel_scope.cancel()


async def _feed(ledger: Ledger, closing: anyio.Event, epoch: str, version: int, send: Send) -> bool:
    """Tell one subscriber what it needs to know until closing; False if it does not read."""
    while not closing.is_set():
        changed = ledger.changed
        message = stream.tell(ledger, epoch, version)
        epoch, version = message.epoch, message.version
        with anyio.move_on_after(_SEND_LIMIT_S) as limit:
            await send({"type": "http.response.body", "body": encode(message) + b"\n", "more_body": True})
        if limit.cancelled_caught:
            return False
        with anyio.move_on_after(stream.BEAT_S):
            await changed.wait()
    return True


async def _eureka_request(request: _Asked, caller: Caller) -> wire.Request:
    raw = request.scope["raw_path"]
    parts = raw.split(b"?", 1)[0].decode("latin-1").split("/")
    segments = tuple(unquote(part) for part in parts if part)[1:]
    return wire.Request(
        method=str(request.method),
        segments=segments[1:] if segments[:1] == ("v2",) else segments,
        query=dict(parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await request.body(),
        caller=caller,
    )


def _decoded(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            "registry.body", "The body cannot be read", why=str(error), hint="Send what this release sends"
        ) from error


def _caller(gate: Gate, request: _Asked) -> Caller:
    client = request.client
    try:
        here = client is not None and ipaddress.ip_address(client.host).is_loopback
    except ValueError:
        here = False
    return gate.caller(request.headers.get("authorization", ""), here=here)


def _refuse_strangers(gate: Gate, request: _Asked) -> None:
    _refuse_browsers(request)
    if not _caller(gate, request).commands:
        raise Forbidden("registry.stranger", "Only this machine may say that", hint="Ask the registry's own region")


def _refuse_browsers(request: _Asked) -> None:
    """Refuse changes from web pages: a page anywhere can reach loopback addresses of its reader."""
    if request.method != "GET" and "origin" in request.headers:
        raise Forbidden("registry.browser", "Web pages may not change the registry", hint="Use a Eureka client")


def _json(body: bytes, status: int = 200) -> Response[bytes]:
    return Response(body, status_code=status, media_type="application/json")


def _refusal(_: _Asked, error: RedQueenError) -> Response[bytes]:
    body = {"code": error.code, "what": error.what, "why": error.why, "hint": error.hint}
    return _json(encode(body), error.http_status)
