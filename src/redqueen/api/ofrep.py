"""Flags for any OpenFeature client: the Remote Evaluation Protocol at /ofrep/v1.

Decides who asks: a program by its token (Bearer or X-API-Key), who may name anybody; or a viewer's
browser by its cookie, which speaks for that viewer alone, whatever targeting key it sends, and
reads only the flags that are meant for browsers. Refuses everybody else. Errors have the
protocol's form, not the API's. Enter at `ROUTES`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from litestar import Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.params import FromPath
from litestar.response import Stream

from redqueen import viewers
from redqueen.api import flag_values
from redqueen.api.services import Services
from redqueen.api.viewer_context import viewer_context
from redqueen.api.viewer_cookie import verified_viewer
from redqueen.errors import RedQueenError
from redqueen.experiments import ofrep
from redqueen.experiments.evaluation import TARGETING_KEY, Evaluation, Evaluator, hashed_key, viewer_in
from redqueen.experiments.ofrep import BulkAnswer, Code, EventStream, Failure, Refusal
from redqueen.trials.model import Viewer

PREFIX: Final = "/ofrep/v1"
API_KEY: Final = "x-api-key"
_STREAM_RETRY_S: Final = 10
_AppRequest = Request[Any, Any, State]


@dataclass(frozen=True, slots=True)
class Asker:
    """Whoever evaluates: what is known of the one that flags are for, and who may be told."""

    holder: str
    """Who is counted against limits: `client <name>` or `viewer <hex>`."""
    context: Mapping[str, Any]
    viewer: Viewer | None
    browser: bool
    """Whether it is a viewer's browser, which reads only what browsers may."""


@post("/evaluate/flags/{key:str}", status_code=200)
async def single(request: _AppRequest, key: FromPath[str]) -> Response[Any]:
    """Return what one flag is for somebody."""
    services = _services(request)
    asker = await _asker(request, services)
    found = _readable(await services.flags.values.current(), key, asker)
    if found is None:
        return _failure(404, Failure(f"there is no flag {key[:80]}", Code.FLAG_NOT_FOUND, key[:80]))
    answer = Response(ofrep.answer(found), status_code=200, media_type="application/json", headers=_PRIVATE)
    return _felt(answer, request, asker, [found])


@post("/evaluate/flags", status_code=200)
async def bulk(request: _AppRequest) -> Response[Any]:
    """Return what all flags are for somebody, or 304 when that is what the client has."""
    services = _services(request)
    asker = await _asker(request, services)
    known = ofrep.query_limit("flagConfigEtag", request.query_params.get("flagConfigEtag", ""))
    evaluator = await services.flags.values.current(at_least=known)
    keys = evaluator.keys(browser=asker.browser)
    found = [one for key in keys if (one := evaluator.evaluate(key, asker.context, asker.viewer)) is not None]
    answers = [ofrep.answer(one) for one in found]
    version = await services.flags.values.version()
    tag = ofrep.etag(answers, version)
    headers = {**_PRIVATE, "ETag": tag}
    if ofrep.unchanged(request.headers.get("if-none-match", ""), tag):
        return _felt(Response(None, status_code=304, headers=headers), request, asker, found)
    body = BulkAnswer(answers, {"version": version}, [await _stream(request, services, asker, version)])
    return _felt(Response(body, status_code=200, media_type="application/json", headers=headers), request, asker, found)


@get("/events")
async def events(request: _AppRequest) -> Response[Any]:
    """Say when to evaluate again, by server-sent events; the ticket in the address is the right to it."""
    services = _services(request)
    asked = {name: ofrep.query_limit(name, request.query_params.get(name, "")) for name in ("ticket", "known")}
    holder = await services.flags.access.ticket_holder(asked["ticket"])
    if holder is None:
        raise _Unauthorized
    streams = services.flags.streams
    if streams.full(holder):
        return _later(f"{holder} has too many event streams open", _STREAM_RETRY_S)
    told = streams.opened(holder, asked["known"])
    return Stream(told, status_code=200, media_type="text/event-stream", headers=_PRIVATE)


_PRIVATE: Final = {"Cache-Control": "private, no-cache", "Vary": "Cookie, Authorization, X-API-Key"}
"""No cache may hand one viewer's flags to another."""


def _felt(
    answer: Response[Any], request: _AppRequest, asker: Asker, evaluations: Iterable[Evaluation]
) -> Response[Any]:
    """Note what a viewer's browser feels by reading flags; a program's viewers are not the region's to follow."""
    if not asker.browser or asker.viewer is None:
        return answer
    felt = flag_values.felt_by_reading(evaluations)
    return flag_values.noted(answer, request, _services(request), asker.viewer.key, felt)


def _readable(evaluator: Evaluator, key: str, asker: Asker) -> Evaluation | None:
    flag = evaluator.flag(key)
    if flag is None or (asker.browser and not flag.browser):
        return None
    return evaluator.evaluate(key, asker.context, asker.viewer)


async def _asker(request: _AppRequest, services: Services) -> Asker:
    # Who asks is found out before what they sent is read.
    client = await _client(request, services)
    viewer = None if client or _foreign(request) else await verified_viewer(request, services)
    if client is None and viewer is None:
        raise _Unauthorized
    wait_s = services.flags.rates.wait_s(f"client {client}" if client else f"viewer {viewer:016x}")
    if wait_s:
        raise _TooManyError(wait_s)
    context = ofrep.read_context(await request.body())
    if viewer is not None:
        own = viewer_context(request, services, viewer, context)
        return Asker(f"viewer {viewer:016x}", own, viewer_in(own, viewer), browser=True)
    return await _told(services, f"client {client}", context)


def _foreign(request: _AppRequest) -> bool:
    """Tell whether another site's page asks: it must not make this region's viewer feel anything."""
    return request.headers.get("sec-fetch-site", "same-origin") in ("cross-site", "same-site")


async def _told(services: Services, holder: str, context: Mapping[str, Any]) -> Asker:
    key = context.get(TARGETING_KEY)
    if not isinstance(key, str):
        return Asker(holder, context, None, browser=False)
    # A program that serves a viewer of the region may say so by that viewer's own cookie.
    known = viewers.verified(await services.accounts.viewers.secret(), key)
    drawn = viewer_in(context, hashed_key(key) if known is None else known)
    return Asker(holder, context, drawn, browser=False)


async def _client(request: _AppRequest, services: Services) -> str | None:
    """Return whose token was sent; None without one. Raises Unauthorized when it is not valid."""
    header, token = request.headers.get("authorization"), request.headers.get(API_KEY)
    if header is None and token is None:
        return None
    if token is None:
        scheme, _, rest = (header or "").partition(" ")
        token = rest.strip() if scheme.lower() == "bearer" else ""
    holder = await services.flags.access.holder(token)
    if holder is None:
        raise _Unauthorized
    return holder


async def _stream(request: _AppRequest, services: Services, asker: Asker, version: str) -> EventStream:
    ticket = await services.flags.access.ticket(asker.holder)
    told = request.headers.get("x-forwarded-proto", "")
    # The address that the client itself asked by: another one might not be reachable for it, or not be its own site.
    origin = f"{told if told in ('http', 'https') else request.url.scheme}://{request.url.netloc}"
    return EventStream("sse", f"{origin}{PREFIX}/events?{urlencode({'ticket': ticket, 'known': version})}")


class _NobodyError(Exception):
    """Neither a valid token nor a viewer's cookie was sent."""


_Unauthorized: Final = _NobodyError()


class _TooManyError(Exception):
    """More evaluations were asked for than one program or one viewer may."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s


def _too_many(_: _AppRequest, error: _TooManyError) -> Response[Failure]:
    return _later("more evaluations were asked for than one reader may", math.ceil(error.wait_s))


def _refused(request: _AppRequest, error: Refusal) -> Response[Failure]:
    return _failure(400, Failure(error.details, error.code, _key(request)))


def _nobody(_: _AppRequest, error: _NobodyError) -> Response[Failure]:
    return _failure(401, Failure("send a flag token as Bearer or X-API-Key, or come with the region's own web app"))


def _litestars(request: _AppRequest, error: HTTPException) -> Response[Failure]:
    status = error.status_code
    if status == 413:
        return _failure(400, Failure("the request is too large", Code.INVALID_CONTEXT, _key(request)))
    return _failure(status, Failure(error.detail or "the request cannot be read", Code.GENERAL))


def _ours(_: _AppRequest, error: RedQueenError) -> Response[Failure]:
    return _failure(error.http_status, Failure(str(error), Code.GENERAL))


def _later(details: str, wait_s: int) -> Response[Failure]:
    return _failure(429, Failure(details), {"Retry-After": str(wait_s)})


def _key(request: _AppRequest) -> str:
    return str(request.path_params.get("key", ""))[:80]


def _failure(status: int, failure: Failure, headers: Mapping[str, str] | None = None) -> Response[Failure]:
    extra = dict(headers or {})
    if status == 401:
        extra["WWW-Authenticate"] = 'Bearer realm="redqueen flags"'
    return Response(failure, status_code=status, media_type="application/json", headers=extra)


def _services(request: _AppRequest) -> Services:
    services: Services = request.app.state["services"]
    return services


_HANDLERS: Final[Mapping[Any, Any]] = {
    Refusal: _refused,
    _NobodyError: _nobody,
    _TooManyError: _too_many,
    RedQueenError: _ours,
    HTTPException: _litestars,
}

ROUTES: Final = [
    Router(
        PREFIX,
        route_handlers=[single, bulk, events],
        exception_handlers=dict(_HANDLERS),
        request_max_body_size=ofrep.MAX_BODY_BYTES,
        include_in_schema=False,
    )
]
