"""Flags for any OpenFeature client: the Remote Evaluation Protocol at /ofrep/v1.

Decides who asks: a program by its token (Bearer or X-API-Key), who may name anybody; or a viewer's
browser by its cookie, which speaks for that viewer alone, whatever targeting key it sends, and
reads only the flags that are meant for browsers. Refuses everybody else. Errors have the
protocol's form, not the API's. Enter at `ROUTES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from litestar import Request, Response, Router, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.params import FromPath, QueryParameter

from redqueen import viewers
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
_ETAG_CHARS: Final = 100
_AppRequest = Request[Any, Any, State]


@dataclass(frozen=True, slots=True)
class Asker:
    """Whoever evaluates: what is known of the one that flags are for, and who may be told."""

    holder: str
    """Who is counted against limits: `client <name>` or `viewer <hex>`."""
    context: Mapping[str, Any]
    viewer: Viewer | None
    browser: bool
    region_viewer: bool
    """Whether it is a viewer of the region, whose plays can be judged."""


@post("/evaluate/flags/{key:str}", status_code=200)
async def single(request: _AppRequest, key: FromPath[str]) -> Response[Any]:
    """Return what one flag is for somebody."""
    services = _services(request)
    asker = await _asker(request, services)
    found = _readable(await services.flags.values.current(), key, asker)
    if found is None:
        failure = Failure(f"there is no flag {key[:80]}", Code.FLAG_NOT_FOUND, key)
        return Response(failure, status_code=404, media_type="application/json")
    return Response(ofrep.answer(found), status_code=200, media_type="application/json", headers=_PRIVATE)


@post("/evaluate/flags", status_code=200)
async def bulk(
    request: _AppRequest,
    known: Annotated[str, QueryParameter(name="flagConfigEtag", max_length=_ETAG_CHARS)] = "",
) -> Response[Any]:
    """Return what all flags are for somebody, or 304 when that is what the client has."""
    services = _services(request)
    asker = await _asker(request, services)
    evaluator = await services.flags.values.current(at_least=known)
    keys = evaluator.keys(browser=asker.browser)
    found = [one for key in keys if (one := evaluator.evaluate(key, asker.context, asker.viewer)) is not None]
    answers = [ofrep.answer(one) for one in found]
    version = await services.flags.values.version()
    tag = ofrep.etag(answers, version)
    headers = {**_PRIVATE, "ETag": tag}
    if ofrep.unchanged(request.headers.get("if-none-match", ""), tag):
        return Response(None, status_code=304, headers=headers)
    body = BulkAnswer(answers, {"version": version}, await _streams(request, services, asker))
    return Response(body, status_code=200, media_type="application/json", headers=headers)


_PRIVATE: Final = {"Cache-Control": "private, no-cache", "Vary": "Cookie, Authorization, X-API-Key"}
"""No cache may hand one viewer's flags to another."""


def _readable(evaluator: Evaluator, key: str, asker: Asker) -> Evaluation | None:
    flag = evaluator.flag(key)
    if flag is None or (asker.browser and not flag.browser):
        return None
    return evaluator.evaluate(key, asker.context, asker.viewer)


async def _asker(request: _AppRequest, services: Services) -> Asker:
    # Who asks is found out before what they sent is read.
    client = await _client(request, services)
    viewer = None if client else await verified_viewer(request, services)
    if client is None and viewer is None:
        raise _Unauthorized
    context = ofrep.read_context(await request.body())
    if viewer is not None:
        own = viewer_context(request, viewer, context)
        return Asker(f"viewer {viewer:016x}", own, viewer_in(own, viewer), browser=True, region_viewer=True)
    return await _told(services, f"client {client}", context)


async def _told(services: Services, holder: str, context: Mapping[str, Any]) -> Asker:
    key = context.get(TARGETING_KEY)
    if not isinstance(key, str):
        return Asker(holder, context, None, browser=False, region_viewer=False)
    # A program that serves a viewer of the region may say so by that viewer's own cookie.
    known = viewers.verified(await services.accounts.viewers.secret(), key)
    drawn = viewer_in(context, hashed_key(key) if known is None else known)
    return Asker(holder, context, drawn, browser=False, region_viewer=known is not None)


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


async def _streams(request: _AppRequest, services: Services, asker: Asker) -> list[EventStream]:
    return []


class _NobodyError(Exception):
    """Neither a valid token nor a viewer's cookie was sent."""


_Unauthorized: Final = _NobodyError()


def _refused(_: _AppRequest, error: Refusal) -> Response[Failure]:
    return _failure(400, Failure(error.details, error.code))


def _nobody(_: _AppRequest, error: _NobodyError) -> Response[Failure]:
    return _failure(401, Failure("send a flag token as Bearer or X-API-Key, or come with the region's own web app"))


def _litestars(_: _AppRequest, error: HTTPException) -> Response[Failure]:
    status = error.status_code
    if status == 413:
        return _failure(400, Failure("the request is too large", Code.INVALID_CONTEXT))
    return _failure(status, Failure(error.detail or "the request cannot be read", Code.GENERAL))


def _ours(_: _AppRequest, error: RedQueenError) -> Response[Failure]:
    return _failure(error.http_status, Failure(str(error), Code.GENERAL))


def _failure(status: int, failure: Failure) -> Response[Failure]:
    headers = {"WWW-Authenticate": 'Bearer realm="redqueen flags"'} if status == 401 else {}
    return Response(failure, status_code=status, media_type="application/json", headers=headers)


def _services(request: _AppRequest) -> Services:
    services: Services = request.app.state["services"]
    return services


_HANDLERS: Final[Mapping[Any, Any]] = {
    Refusal: _refused,
    _NobodyError: _nobody,
    RedQueenError: _ours,
    HTTPException: _litestars,
}

ROUTES: Final = [
    Router(
        PREFIX,
        route_handlers=[single, bulk],
        exception_handlers=dict(_HANDLERS),
        request_max_body_size=ofrep.MAX_BODY_BYTES,
        include_in_schema=False,
    )
]
