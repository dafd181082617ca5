"""Whether this node serves, and the API's own description."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State

from redqueen.api.description import described


class Health(msgspec.Struct, frozen=True):
    """This node serves."""

    status: str


@get("/health", opt={"public": True}, operation_id="getHealth", tags=["service"])
async def health() -> Health:
    """Return that this node serves; it asks nobody else, so it never hangs."""
    return Health("ok")


@get("/openapi.json", opt={"public": True}, include_in_schema=False)
async def openapi(request: Request[Any, Any, State]) -> Response[dict[str, Any]]:
    """Return the description of this API."""
    return Response(described(request.app.openapi_schema.to_schema()), media_type="application/json")


ROUTES = [health, openapi]
