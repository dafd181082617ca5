"""Signing in and out: sessions, the password, one-time links, and the cookies that carry them.

The session cookie proves who asks the API; the media cookie (a 12 h JWT, only sent to /media)
lets gateways serve films without asking anybody. The media cookie is renewed by each GET
/session of a browser, since its path keeps it from being seen here.
"""

from __future__ import annotations

from typing import Any, TypeVar

from litestar import Request, Response, delete, get, post, put
from litestar.datastructures import Cookie, State
from litestar.di import NamedDependency
from litestar.params import JSONBody

from redqueen.accounts.model import Identity, Proof, SignedIn
from redqueen.accounts.service import SESSION_S
from redqueen.accounts.tokens import ALL_TITLES
from redqueen.api.guards import SESSION_COOKIE
from redqueen.api.schemas import NewPassword, SessionCard, SignIn, SignInLink, account_card, moment
from redqueen.api.services import Services
from redqueen.api.viewer_cookie import known_viewer
from redqueen.errors import InvalidInput

_T = TypeVar("_T")

MEDIA_COOKIE = "rq_media"
MEDIA_PATH = "/media"
MEDIA_TTL_S = 43_200


@post("/session", status_code=200, opt={"public": True}, operation_id="signIn", tags=["session"])
async def sign_in(
    data: JSONBody[SignIn], request: Request[Any, Any, State], services: NamedDependency[Services]
) -> Response[SessionCard]:
    """Sign in with a one-time link's token, or with name and password."""
    signed_in = await _signed_in(services, data)
    name, how = signed_in.account.name, "with a one-time link" if data.link_token else "with the password"
    await services.audit.note(name, "sign in", f"account {name}", how)
    answer = _with_cookies(Response(account_card(signed_in.account)), await _session_cookies(services, signed_in))
    return await known_viewer(request, services, answer)


@get("/session", operation_id="getSession", tags=["session"])
async def who(
    request: Request[Any, Any, State], identity: NamedDependency[Identity], services: NamedDependency[Services]
) -> Response[SessionCard]:
    """Return who is signed in, and renew the right to films that the browser holds."""
    cookies = [await _media_cookie(services)] if SESSION_COOKIE in request.cookies else []
    answer = _with_cookies(Response(account_card(identity.account)), cookies)
    return await known_viewer(request, services, answer)


@delete("/session", operation_id="signOut", tags=["session"])
async def sign_out(
    request: Request[Any, Any, State], identity: NamedDependency[Identity], services: NamedDependency[Services]
) -> Response[None]:
    """End this session and take back its cookies."""
    token = request.cookies.get(SESSION_COOKIE) or request.headers.get("authorization", "").partition(" ")[2]
    await services.accounts.end_session(token.strip())
    gone = [_cookie(services, SESSION_COOKIE, "", "/", 0), _cookie(services, MEDIA_COOKIE, "", MEDIA_PATH, 0)]
    return _with_cookies(Response(None, status_code=204), gone)


@put("/account/password", status_code=204, operation_id="setPassword", tags=["session"])
async def set_password(
    data: JSONBody[NewPassword],
    request: Request[Any, Any, State],
    identity: NamedDependency[Identity],
    services: NamedDependency[Services],
) -> Response[None]:
    """Set a password; all other sessions of the account end, this one goes on under a new cookie."""
    account = await services.accounts.set_password(identity, data.password, data.current)
    if identity.session is None or SESSION_COOKIE not in request.cookies:
        return Response(None, status_code=204)
    fresh = await services.accounts.begin_session(account, Proof.PASSWORD)
    return _with_cookies(Response(None, status_code=204), await _session_cookies(services, fresh))


@post("/sign-in-links", status_code=200, opt={"owner": True}, operation_id="createSignInLink", tags=["session"])
async def sign_in_link(identity: NamedDependency[Identity], services: NamedDependency[Services]) -> SignInLink:
    """Make an address that signs in once within 15 minutes."""
    link = await services.accounts.mint_link(identity.account.id)
    url = f"{services.public_url.rstrip('/')}/sign-in#token={link.token}"
    return SignInLink(url=url, expires_at=moment(link.expires_at))


async def _signed_in(services: Services, wish: SignIn) -> SignedIn:
    match wish:
        case SignIn(link_token=str(token), name=None, password=None):
            return await services.accounts.sign_in_with_link(token)
        case SignIn(link_token=None, name=str(name), password=str(password)):
            return await services.accounts.sign_in_with_password(name, password)
        case _:
            raise InvalidInput(
                "session.how", "It is not clear how to sign in", hint="Send `link_token`, or `name` and `password`"
            )


async def _session_cookies(services: Services, signed_in: SignedIn) -> list[Cookie]:
    session = _cookie(services, SESSION_COOKIE, signed_in.token, "/", SESSION_S)
    return [session, await _media_cookie(services)]


async def _media_cookie(services: Services) -> Cookie:
    right = await services.accounts.media.sign([ALL_TITLES], MEDIA_TTL_S)
    return _cookie(services, MEDIA_COOKIE, right.token, MEDIA_PATH, MEDIA_TTL_S)


def _cookie(services: Services, name: str, value: str, path: str, max_age_s: int) -> Cookie:
    return Cookie(
        key=name,
        value=value,
        path=path,
        max_age=max_age_s,
        httponly=True,
        secure=services.secure,
        samesite="lax",
    )


def _with_cookies(response: Response[_T], cookies: list[Cookie]) -> Response[_T]:
    for cookie in cookies:
        response.set_cookie(cookie)
    return response


ROUTES = [sign_in, who, sign_out, set_password, sign_in_link]
