"""What players tell over HTTP: sessions' grants, beacons, CMCD; and what the region's own nodes may read of it.

A grant needs an identity like every call; a beacon needs only its token, so that it can be sent by
a page that is already gone. Beacons skip the framework's machinery: they are the most frequent
requests of all. What other nodes read (`/telemetry/v1/sessions`) is never answered to a request
that came through a gateway. Enter at `ROUTES`, `OUTSIDE` and
`take_beacon`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

import msgspec
from litestar import Request, Response, asgi, get, post
from litestar.datastructures import Cookie, State
from litestar.di import NamedDependency
from litestar.handlers import ASGIRouteHandler, HTTPRouteHandler
from litestar.params import JSONBody, QueryParameter
from litestar.types import HTTPScope, Receive, Scope, Send

from redqueen.api import flag_values
from redqueen.api.services import Services
from redqueen.api.viewer_context import ZONE_HEADER, address_of, country_of, device_of
from redqueen.api.viewer_cookie import keep_viewer, viewer_of
from redqueen.catalogue.model import Title
from redqueen.errors import NotFound, RedQueenError, Unauthorized
from redqueen.telemetry import cmcd
from redqueen.telemetry.intake import MAX_BODY_BYTES, Granted, Intake, Taken, Wish
from redqueen.telemetry.model import Device

EVENTS: Final = "/telemetry/v1/events"
CMCD: Final = "/telemetry/v1/cmcd"
SESSIONS: Final = "/telemetry/v1/sessions"
ARMS_HEADER: Final = "x-rq-arms"
"""Set by gateways: `<trial>=<arm>[;…]`; what a client sends under this name never arrives."""
COUNTED_COOKIE: Final = "rq_counted"
_COUNTED_AGE_S: Final = 30 * 86_400
_MOST_COUNTED: Final = 64
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_ARM: Final = re.compile(r"([a-z0-9][a-z0-9-]{0,39})=([a-z0-9][a-z0-9._-]{0,39})")
_DRAIN_BYTES: Final = 1 << 20


class SessionWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The wish to play a title now. `known` are trials that a player without cookies remembers to have been in."""

    device: Device | None = None
    known: tuple[Annotated[str, msgspec.Meta(max_length=40)], ...] = ()
    returning: bool = False


class SessionGrant(msgspec.Struct, frozen=True, kw_only=True):
    """A session: its token goes with every event; `window_s` is how long its outcome is judged."""

    token: str
    session: str
    window_s: int
    beacon: str
    arms: Mapping[str, str]
    flags: Mapping[str, Any]


@post(
    "/titles/{title_id:str}/sessions",
    opt={"unaudited": "a play is the viewer's own"},
    operation_id="createSession",
    tags=["telemetry"],
)
async def create_session(
    request: Request[Any, Any, State],
    title: NamedDependency[Title],
    services: NamedDependency[Services],
    data: JSONBody[SessionWish],
) -> Response[Any]:
    """Allow a play: fix its session, its window and its arms before any of its data exists."""
    viewer, cookie = await viewer_of(request, services)
    device = (data.device or device_of(request.headers.get("user-agent", ""))).value
    flags = await flag_values.for_play(request, services, viewer, device, returning=data.returning)
    counted = counted_before(request)
    wish = Wish(
        viewer=viewer,
        title=title.id,
        device=device,
        zone=request.headers.get(ZONE_HEADER, "") or services.place.zone,
        address=address_of(request.scope),
        told_arms={**flags.arms, **told_arms(request.headers.get(ARMS_HEADER, ""))},
        seen=(*counted, *data.known),
        release=services.place.release,
        country=country_of(request, services),
        returning=data.returning,
    )
    granted = await services.telemetry.intake.grant(wish)
    if granted.grant is None:
        return _wait(granted)
    answer = SessionGrant(
        token=granted.token,
        session=f"{granted.grant.session:016x}",
        window_s=granted.grant.window_s,
        beacon=EVENTS,
        arms=granted.grant.arms,
        flags=flags.values,
    )
    response = keep_viewer(Response(answer, status_code=201), services, cookie)
    return _keep_counted(response, services, counted, granted.grant.arms)


def told_arms(header: str) -> dict[str, str]:
    """Read which arms the gateway decided."""
    return dict(_ARM.findall(header[:4000]))


def counted_before(request: Request[Any, Any, State]) -> tuple[str, ...]:
    """Return the trials in which this viewer had a session before; the cookie can only say less or more of itself."""
    names = request.cookies.get(COUNTED_COOKIE, "")[:4000].split(".")
    return tuple(name for name in names if _NAME.fullmatch(name))[:_MOST_COUNTED]


def _keep_counted(
    response: Response[Any], services: Services, before: tuple[str, ...], arms: Mapping[str, str]
) -> Response[Any]:
    new = [trial for trial in arms if trial not in before]
    if new:
        value = ".".join((*before, *new)[-_MOST_COUNTED:])
        cookie = Cookie(
            key=COUNTED_COOKIE,
            value=value,
            path="/api/v1/titles",
            max_age=_COUNTED_AGE_S,
            httponly=True,
            secure=services.secure,
            samesite="lax",
        )
        response.set_cookie(cookie)
    return response


def _wait(granted: Granted) -> Response[Any]:
    body = {
        "code": "telemetry.limit",
        "what": "This play is not counted",
        "why": granted.because,
        "hint": "Play without a session; ask again for the next play",
    }
    return Response(body, status_code=429, headers={"Retry-After": str(math.ceil(granted.wait_s))})


@get(SESSIONS, include_in_schema=False)
async def sessions(
    request: Request[Any, Any, State],
    since: Annotated[int, QueryParameter(ge=0)],
    until: Annotated[int, QueryParameter(ge=0)],
) -> Response[bytes]:
    """Return the sessions granted in [since, until) as a MessagePack list of SessionRow, once all have closed."""
    services = inside_only(request)
    return Response(services.telemetry.rows(since, until), media_type="application/msgpack")


def inside_only(request: Request[Any, Any, State]) -> Services:
    """Return the services to one of the region's own nodes. Raises NotFound, Unauthorized."""
    services: Services = request.app.state["services"]
    client = request.scope["client"]
    speak_inside(services, dict(request.headers), client[0] if client else "")
    return services


def speak_inside(services: Services, headers: Mapping[str, str], peer: str, *, machine: bool = False) -> None:
    """Let the region's own nodes speak; with `machine` whoever is on this machine, too. Raises NotFound, Unauthorized.

    `headers` have lower-case names. What came through a gateway is from outside, whatever it carries.
    """
    if "x-forwarded-for" in headers:
        raise NotFound("request.not_found", "There is nothing at this address", hint="Begin at /")
    here = peer in ("127.0.0.1", "::1")
    caller = services.gate.caller(headers.get("authorization", ""), here=here)
    if not caller.commands and not (machine and here and not caller.owner):
        raise Unauthorized("telemetry.inside", "This is for the region's own nodes", hint="Send the region's token")


async def take_beacon(services: Services, scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Take a beacon: 204 once it is on disk, 400 with what is wrong, 429 with how long to wait."""
    if scope["method"] != "POST":
        await _answer(send, 405, _said("request.method", "Beacons are sent with POST"), allow="POST")
        return
    body = await _body(receive)
    if body is None:
        await _answer(send, 413, _said("telemetry.too_large", f"A beacon has at most {MAX_BODY_BYTES} bytes"))
        return
    try:
        taken = await services.telemetry.intake.take(body, address_of(scope))
    except RedQueenError as error:
        await _answer(send, 503, _said(error.code, error.what, error.why), retry_after="1")
        return
    await _told(send, taken)


@asgi(EVENTS, copy_scope=False, is_mount=False)
async def events(scope: Scope, receive: Receive, send: Send) -> None:
    """Take a beacon that did not come by the short way."""
    await take_beacon(scope["litestar_app"].state["services"], cast(HTTPScope, scope), receive, send)


@asgi(CMCD, copy_scope=False, is_mount=False)
async def reports(scope: Scope, receive: Receive, send: Send) -> None:
    """Take CMCD of a session (`?token=…`): event mode's lines in the body, or one report in query or headers."""
    body = await _body(receive)
    if body is None:
        await _answer(send, 413, _said("telemetry.too_large", f"A body has at most {MAX_BODY_BYTES} bytes"))
        return
    services: Services = scope["litestar_app"].state["services"]
    try:
        taken = await _taken(services.telemetry.intake, scope, body)
    except RedQueenError as error:
        await _answer(send, 503, _said(error.code, error.what, error.why), retry_after="1")
        return
    await _told(send, taken)


async def _taken(intake: Intake, scope: Scope, body: bytes) -> Taken:
    address = address_of(scope)
    query = _query(scope["query_string"].decode("latin-1"))
    try:
        found = _reports(query, scope, body)
    except ValueError as error:
        return intake.unreadable(str(error), address)
    return await intake.reports(query.get("token", ""), found, address) if found else Taken()


def _query(text: str) -> dict[str, str]:
    """Return the parameters of an address, still percent-encoded."""
    found: dict[str, str] = {}
    for part in text.split("&"):
        name, _, value = part.partition("=")
        found[name] = value
    return found


def _reports(query: Mapping[str, str], scope: Scope, body: bytes) -> list[cmcd.Report]:
    found = cmcd.from_body(body.decode("utf-8")) if body.strip() else []
    if query.get("CMCD"):
        found.append(cmcd.from_query(query["CMCD"]))
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    told = cmcd.from_headers(headers)
    return found if told is None else [*found, told]


async def _told(send: Send, taken: Taken) -> None:
    if taken.wait_s:
        body = _said("telemetry.limit", "Too much was sent", taken.because)
        await _answer(send, 429, body, retry_after=str(math.ceil(taken.wait_s)))
    elif taken.because:
        kept = f"; {taken.kept} events of the same request were kept" if taken.kept else ""
        await _answer(send, 400, _said("telemetry.refused", "The beacon is not taken", taken.because + kept))
    else:
        await _answer(send, 204, b"")


async def _body(receive: Receive) -> bytes | None:
    """Return a request's body, or None when it is larger than a beacon may be (the rest is read away)."""
    message: Any = await receive()
    body = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= MAX_BODY_BYTES:
        return bytes(body)
    size, pieces = len(body), [body]
    while message.get("more_body", False) and size <= _DRAIN_BYTES:
        message = await receive()
        size += len(message.get("body", b""))
        if size <= MAX_BODY_BYTES:
            pieces.append(message.get("body", b""))
    return b"".join(pieces) if size <= MAX_BODY_BYTES else None


def _said(code: str, what: str, why: str = "") -> bytes:
    hint = "Send it again later" if code == "telemetry.limit" else "See docs/telemetry.md"
    return msgspec.json.encode({"code": code, "what": what, "why": why[:500], "hint": hint})


async def _answer(send: Send, status: int, body: bytes, **headers: str) -> None:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    if body:
        pairs += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": False})


ROUTES: list[HTTPRouteHandler] = [create_session]
"""Below /api/v1."""
OUTSIDE: list[HTTPRouteHandler | ASGIRouteHandler] = [sessions, events, reports]
"""At addresses of their own."""
