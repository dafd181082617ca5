"""What the gateway itself says when it refuses or fails: the same small JSON as the API's errors.

One row a status; `why` is Envoy's own detail (never a path, a token or an address). Enter at
`local_reply_config`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redqueen.gateway.envoy_json import header


@dataclass(frozen=True, slots=True)
class Reply:
    """The words for one status that the gateway answers by itself."""

    status: int
    code: str
    what: str
    hint: str
    why: str = "%RESPONSE_CODE_DETAILS%"


REPLIES: tuple[Reply, ...] = (
    Reply(400, "gateway.bad_request", "The request is not acceptable HTTP", "Correct the path and headers"),
    Reply(
        401,
        "gateway.token",
        "No valid media token came with the request",
        "Sign in again, or ask for a new play link",
        why="%LOCAL_REPLY_BODY%",
    ),
    Reply(
        403,
        "gateway.title",
        "The media token gives no right to this title",
        "Ask for a play link for this title",
        why="%LOCAL_REPLY_BODY%",
    ),
    Reply(404, "gateway.not_found", "There is nothing at this address", "Check the address"),
    Reply(405, "gateway.method", "Media can only be read", "Use GET or HEAD"),
    Reply(408, "gateway.too_slow", "The request came too slowly", "Try again on a better connection"),
    Reply(412, "gateway.precondition", "The file has changed meanwhile", "Ask again", why="%LOCAL_REPLY_BODY%"),
    Reply(413, "gateway.too_large", "The request's body is too large", "Send films through /api/v1/uploads"),
    Reply(416, "gateway.range", "The range is not in the file", "Ask for less", why="%LOCAL_REPLY_BODY%"),
    Reply(431, "gateway.headers", "The request's headers are too large", "Clear this site's cookies"),
    Reply(503, "gateway.unavailable", "No node can answer this now", "Try again in a moment"),
    Reply(504, "gateway.timeout", "The node did not answer in time", "Try again in a moment"),
)
OTHER = Reply(0, "gateway.failed", "The gateway could not answer", "Try again in a moment")


# A node is back, or the load shed, within a second or two.
_AGAIN = {503: {"retry-after": "1"}}


def local_reply_config() -> dict[str, Any]:
    """Give Envoy's `local_reply_config`; only statuses from 400 up are worded, 204 stays empty."""
    rows = [_mapper(reply, "EQ", reply.status) for reply in REPLIES]
    return {"mappers": [*rows, _mapper(OTHER, "GE", 400)]}


def _mapper(reply: Reply, operator: str, status: int) -> dict[str, Any]:
    return {
        "filter": {
            "status_code_filter": {
                "comparison": {"op": operator, "value": {"default_value": status, "runtime_key": "redqueen.unset"}}
            }
        },
        "body_format_override": {
            "json_format": {"code": reply.code, "what": reply.what, "why": reply.why, "hint": reply.hint}
        },
        "headers_to_add": [header(*pair) for pair in {"cache-control": "no-store", **_AGAIN.get(status, {})}.items()],
    }
