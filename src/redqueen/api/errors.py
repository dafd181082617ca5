"""Every failure of a request as JSON: code, what, why, hint, with the status of the error table.

A few codes refine the status of their kind where HTTP or tus has a more exact word. Litestar's
own refusals get the same form. What is not ours to have raised is logged as an event and answered
with constant words, so that nothing inside shows outside. Enter at `HANDLERS`.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from redqueen.api.services import Services
from redqueen.errors import RedQueenError
from redqueen.events import Event

_STATUS_BY_CODE: Mapping[str, int] = {
    "session.too_many_attempts": 429,
    "tus.version": 412,
    "upload.content_type": 415,
    "upload.too_large": 413,
    "upload.too_long": 413,
    "upload.locked": 423,
    "upload.cut": 408,
    "subtitles.too_large": 413,
}
_RETRY_AFTER_S: Mapping[int, str] = {423: "1", 429: "60", 503: "1"}
_LITESTAR: Mapping[int, tuple[str, str, str]] = {
    404: ("request.not_found", "There is nothing at this address", "Check the address; the API is at /api/v1"),
    405: ("request.method", "This address does not take this method", "The header Allow names those it takes"),
    413: ("request.too_large", "The request is too large", "Send less"),
    415: ("request.content_type", "This content type is not taken here", "Send JSON"),
}


class ErrorBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A failure: a stable code, what happened, why, and what to do."""

    code: str
    what: str
    why: str
    hint: str


@dataclass(frozen=True, slots=True)
class RequestBroke(Event):
    """A request ended in an error that nobody foresaw."""

    method: str
    path: str
    error: str


def status_of(error: RedQueenError) -> int:
    """Return the HTTP status of an error."""
    return _STATUS_BY_CODE.get(error.code, error.http_status)


def _ours(_: Request[Any, Any, State], error: RedQueenError) -> Response[ErrorBody]:
    return _response(status_of(error), ErrorBody(error.code, error.what, error.why, error.hint))


def _litestars(_: Request[Any, Any, State], error: HTTPException) -> Response[ErrorBody]:
    status = error.status_code
    if status >= 500:
        return _response(500, _BROKEN)
    code, what, hint = _LITESTAR.get(
        status, ("request.invalid", "The request cannot be read", "See /api/v1/openapi.json")
    )
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return _response(status, ErrorBody(code, what, _reasons(error) if status == 400 else "", hint), headers)


def _too_deep(_: Request[Any, Any, State], __: RecursionError) -> Response[ErrorBody]:
    # Nothing of ours recurses that far: it is a body of thousands of brackets.
    return _response(
        400, ErrorBody("request.invalid", "The request cannot be read", "it is nested too deep", "Say less")
    )


def _reasons(error: HTTPException) -> str:
    extra: object = error.extra
    if not isinstance(extra, list):
        return error.detail if error.detail and "Validation failed" not in error.detail else ""
    reasons: list[str] = []
    for entry in extra:  # pyright: ignore[reportUnknownVariableType]
        match entry:
            case {"message": str(message), "key": str(key), **rest}:
                path = message.rpartition(" - at `$.")[2].rstrip("`") if " - at `$." in message else ""
                where = key if rest.get("source") != "body" else (path or "body")
                reasons.append(f"{where}: {message.partition(' - at `$')[0]}")
            case _:
                continue
    return "; ".join(reasons)


def _unforeseen(request: Request[Any, Any, State], error: Exception) -> Response[ErrorBody]:
    services = request.app.state.get("services")
    if isinstance(services, Services):
        # Only the kind of the error and its place in the code: its words may hold what a client sent.
        services.emit(RequestBroke(request.method, request.url.path[:200], _described(error)))
    return _response(500, _BROKEN)


def _described(error: BaseException) -> str:
    inner = error
    if isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    frames = traceback.extract_tb(inner.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(inner).__name__}{where}"


_BROKEN = ErrorBody(
    "request.broken", "Something of ours went wrong", "", "Try again; if it repeats, look into: redqueen logs api"
)


def _response(status: int, body: ErrorBody, headers: Mapping[str, str] | None = None) -> Response[ErrorBody]:
    extra = dict(headers or {})
    if status in _RETRY_AFTER_S:
        extra["Retry-After"] = _RETRY_AFTER_S[status]
    if status == 401:
        extra["WWW-Authenticate"] = 'Bearer realm="redqueen"'
    return Response(body, status_code=status, headers=extra, media_type="application/json")


HANDLERS: Mapping[Any, Any] = {
    RedQueenError: _ours,
    HTTPException: _litestars,
    RecursionError: _too_deep,
    Exception: _unforeseen,
}
