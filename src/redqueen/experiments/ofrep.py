"""The OpenFeature Remote Evaluation Protocol 0.3.0 as values: requests read, answers written. Pure.

Refuses what the protocol has words for: no JSON (PARSE_ERROR), a context that is no object or too
large (INVALID_CONTEXT), an empty targeting key (TARGETING_KEY_MISSING). Every answer has a
variant and a reason, every error its details: clients in use fail without. Enter at `read_context`
and `answer`. (open-feature/protocol, service/openapi.yaml.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, cast

import msgspec

from redqueen.experiments.evaluation import TARGETING_KEY, Evaluation

MAX_BODY_BYTES: Final = 64 << 10
MAX_ATTRIBUTES: Final = 100
MAX_QUERY_CHARS: Final = 400
MAX_KEY_CHARS: Final = 1024
INACTIVITY_S: Final = 120
"""Seconds after which a hidden page may let go of its event stream."""


class Code(StrEnum):
    """What was wrong with an evaluation."""

    PARSE_ERROR = "PARSE_ERROR"
    TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    GENERAL = "GENERAL"


class Refusal(Exception):
    """A request that the protocol refuses: its code and what to tell the client."""

    def __init__(self, code: Code, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """The protocol's error answer; without a key for bulk evaluation, without a code where there is no evaluation."""

    errorDetails: str
    errorCode: str = ""
    key: str = ""


class FlagAnswer(msgspec.Struct, frozen=True):
    """One flag's value for somebody."""

    key: str
    value: Any
    reason: str
    variant: str
    metadata: dict[str, str | bool]


class EventStream(msgspec.Struct, frozen=True):
    """A stream that says when to evaluate again."""

    type: str
    url: str
    inactivityDelaySec: int = INACTIVITY_S


class BulkAnswer(msgspec.Struct, frozen=True):
    """All flags for somebody."""

    flags: Sequence[FlagAnswer]
    metadata: dict[str, str]
    eventStreams: Sequence[EventStream]


class Refetch(msgspec.Struct, frozen=True):
    """What a stream says when something changed."""

    etag: str
    lastModified: int
    """Epoch seconds at which the node saw it."""
    type: str = "refetchEvaluation"


def query_limit(name: str, text: str) -> str:
    """Return a query's value. Raises Refusal when it is longer than any of ours."""
    if len(text) > MAX_QUERY_CHARS:
        raise Refusal(Code.PARSE_ERROR, f"`{name}` has more than {MAX_QUERY_CHARS} characters")
    return text


def read_context(body: bytes) -> dict[str, Any]:
    """Return the evaluation context of a request's body; none is an empty one. Raises Refusal."""
    if len(body) > MAX_BODY_BYTES:
        raise Refusal(Code.INVALID_CONTEXT, f"the request has more than {MAX_BODY_BYTES} bytes")
    try:
        read: object = msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refusal(Code.PARSE_ERROR, f"the request is no JSON: {error}") from error
    if not isinstance(read, dict):
        raise Refusal(Code.PARSE_ERROR, "the request is no JSON object")
    context = cast("dict[str, object]", read).get("context", {})
    if not isinstance(context, dict):
        raise Refusal(Code.INVALID_CONTEXT, "`context` must be an object")
    return _checked(cast("dict[str, Any]", context))


def _checked(context: dict[str, Any]) -> dict[str, Any]:
    if len(context) > MAX_ATTRIBUTES:
        raise Refusal(Code.INVALID_CONTEXT, f"`context` has more than {MAX_ATTRIBUTES} attributes")
    key = context.get(TARGETING_KEY)
    if key is None and TARGETING_KEY not in context:
        return context
    if not isinstance(key, str):
        raise Refusal(Code.INVALID_CONTEXT, "`targetingKey` must be a text")
    if not key:
        raise Refusal(Code.TARGETING_KEY_MISSING, "`targetingKey` is empty: say who it is, or leave it out")
    if len(key) > MAX_KEY_CHARS:
        raise Refusal(Code.INVALID_CONTEXT, f"`targetingKey` has more than {MAX_KEY_CHARS} characters")
    return context


def answer(evaluation: Evaluation) -> FlagAnswer:
    """Return what the protocol says of an evaluation; the metadata name the trial and its arm."""
    metadata: dict[str, str | bool] = {"because": evaluation.because}
    if evaluation.trial:
        metadata |= {"trial": evaluation.trial, "arm": evaluation.arm}
    return FlagAnswer(evaluation.key, evaluation.value, evaluation.reason.value, evaluation.variant, metadata)


def etag(flags: Sequence[FlagAnswer], version: str) -> str:
    """Return the entity tag of somebody's flags: it changes when the flags do, or what they are for this context."""
    return f'"{hashlib.sha256(version.encode() + msgspec.json.encode(flags)).hexdigest()[:32]}"'


def unchanged(if_none_match: str, tag: str) -> bool:
    """Tell whether a client that sends this header has what `tag` names (RFC 9110, 13.1.2)."""
    known = [part.strip().removeprefix("W/") for part in if_none_match.split(",")]
    return tag in known or "*" in known
