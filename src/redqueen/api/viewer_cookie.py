"""Who a request's viewer is to trials, and the cookie that keeps it so.

The cookie decides; where there is none that this region made, the gateway's word (it has just made
one, and sends the cookie itself); else a new viewer is made here. Two cookies of the name are none:
nobody shall lay another beside a viewer's own. Enter at `viewer_of`, `keep_viewer`, `known_viewer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from litestar import Request, Response
from litestar.datastructures import Cookie, State
from litestar.types import HTTPScope

from redqueen import viewers
from redqueen.api.services import Services

VIEWER_HEADER = "x-rq-viewer"
"""Set by gateways for services under trial; what a client sends under this name never arrives."""
_HEADER = VIEWER_HEADER.encode()
_MET = "rq_viewer"
"""Where a request's scope says which viewer its handler has just made."""
_HEX = re.compile(r"[0-9a-f]{16}")
_T = TypeVar("_T")


async def viewer_of(request: Request[Any, Any, State], services: Services) -> tuple[int, str | None]:
    """Return whose request it is, in [0, 2^64), and the value of the cookie to send if there is need of one."""
    known = await verified_viewer(request, services)
    if known is not None:
        return known, None
    viewer = viewers.new_viewer()
    cast(dict[str, Any], request.scope)[_MET] = viewer
    return viewer, viewers.mint(await services.accounts.viewers.secret(), viewer)


async def met_viewer(scope: HTTPScope, services: Services) -> int | None:
    """Return whose request it was that has been answered: one who was new to its handler, or by its cookie."""
    met: int | None = cast(dict[str, Any], scope).get(_MET)
    if met is not None:
        return met
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]
    told = next((value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER), "")
    return _proven(await services.accounts.viewers.kept(), lines, told) if lines or told else None


async def verified_viewer(request: Request[Any, Any, State], services: Services) -> int | None:
    """Return whose request it is, or None where it comes without a cookie of this region."""
    lines, told = request.headers.getall("cookie", []), request.headers.get(VIEWER_HEADER, "")
    return _proven(await services.accounts.viewers.secret(), lines, told)


def keep_viewer(response: Response[_T], services: Services, cookie: str | None) -> Response[_T]:
    """Send a viewer's cookie with an answer; None sends nothing."""
    if cookie is not None:
        response.set_cookie(
            Cookie(
                key=viewers.COOKIE,
                value=cookie,
                path="/",
                max_age=viewers.COOKIE_AGE_S,
                httponly=True,
                secure=services.secure,
                samesite="lax",
            )
        )
    return response


async def known_viewer(request: Request[Any, Any, State], services: Services, response: Response[_T]) -> Response[_T]:
    """See to it that whoever gets this answer is known again."""
    _, cookie = await viewer_of(request, services)
    return keep_viewer(response, services, cookie)


def _proven(secret: bytes, lines: Iterable[str], told: str) -> int | None:
    known = viewers.verified(secret, _sent(lines)) if secret else None
    if known is not None:
        return known
    return int(told, 16) if _HEX.fullmatch(told) else None


def _sent(lines: Iterable[str]) -> str:
    pairs = (part.strip().partition("=") for line in lines for part in line.split(";"))
    found = [value for name, _, value in pairs if name == viewers.COOKIE]
    return found[0] if len(found) == 1 else ""
