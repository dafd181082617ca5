"""What this node counts by arm: A/A trials' requests as they end; the region reads it, with whom flags were served.

Gateways count the arms of releases; of trials in which nothing is changed, or a flag, only api nodes
know (`flag_values` counts whom these are served). A request counts for the viewer that its handler
met or that its cookie proves; one without either is nobody's. A stream, which lasts as long as
somebody listens, is not timed. Costs some microseconds a request. Enter at `counted` (around the
routes) and `OUTSIDE`.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Final, cast

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from redqueen.api.services import Services
from redqueen.api.telemetry import SESSIONS, inside_only
from redqueen.api.viewer_cookie import met_viewer
from redqueen.errors import RedQueenError
from redqueen.trials.assignment import Assigner
from redqueen.trials.model import Armed, Subject, Viewer

COUNTS: Final = SESSIONS + "/counts"
"""Below what gateways pass to nobody."""


@get(COUNTS, include_in_schema=False)
async def counts(
    request: Request[Any, Any, State],
    since: Annotated[int, QueryParameter(ge=0)],
    until: Annotated[int, QueryParameter(ge=0)],
) -> Response[bytes]:
    """Return what was counted by arm in the seconds [since, until) as a MessagePack list of FigureBin."""
    bins = inside_only(request).counts.bins(since, until)
    return Response(msgspec.msgpack.encode(bins), media_type="application/msgpack")


class _Nothing:
    """The trials in which nothing is changed, as this node last read them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._seen: tuple[Armed, ...] = ()
        self._assigner: Assigner | None = None

    def assigner(self) -> Assigner | None:
        """Return who draws viewers for them; None where there are none."""
        armed = self._services.armed.armed
        if armed is not self._seen:
            mine = [one for one in armed if one.subject is Subject.NOTHING]
            self._seen, self._assigner = armed, Assigner(mine) if mine else None
        return self._assigner


def counted(app: ASGIApp, services: Services) -> ASGIApp:
    """Return `app` with its viewers' requests counted by the arms of A/A trials when they end."""
    nothing = _Nothing(services)

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        assigner = nothing.assigner() if scope["type"] == "http" else None
        if assigner is None:
            await app(scope, receive, send)
        else:
            await _counted(app, services, assigner, (cast(HTTPScope, scope), receive, send))

    return front


async def _counted(app: ASGIApp, services: Services, assigner: Assigner, call: tuple[HTTPScope, Receive, Send]) -> None:
    scope, receive, send = call
    status, timed, began_s = 500, True, time.perf_counter()

    async def hearing() -> Any:
        nonlocal began_s
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            # As gateways do: how long a viewer takes to send a film is not how long it is answered.
            began_s = time.perf_counter()
        return message

    async def telling(message: Message) -> None:
        nonlocal status, timed
        if message["type"] == "http.response.start":
            status = message["status"]
            timed = not any(value.startswith(b"text/event-stream") for _, value in message.get("headers", ()))
        await send(message)

    try:
        await app(scope, hearing, telling)
    finally:
        took_ms = (time.perf_counter() - began_s) * 1000 if timed else None
        viewer = await _viewer(scope, services)
        if viewer is not None:
            arms = assigner.arms(Viewer(viewer))
            services.counts.requested(arms, status, took_ms, services.clock.now())


async def _viewer(scope: HTTPScope, services: Services) -> int | None:
    try:
        return await met_viewer(scope, services)
    except RedQueenError:  # nobody knows whose it is while the store does not answer
        return None


OUTSIDE: Final[list[HTTPRouteHandler]] = [counts]
"""At an address of its own."""
