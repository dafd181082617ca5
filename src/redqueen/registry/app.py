"""The registry's HTTP face: Eureka's wire, the push stream, the peers' exchange, evidence, health.

Decides who speaks (`rights.Gate`) and what only the region may say: exchanges, replication,
exits, suspicions. Nobody off this machine may even read without a token, and a page in a browser
may change nothing. Everything else is handed to `wire`, `stream` and `peering`. Enter at `App`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar, cast
from urllib.parse import parse_qsl, unquote

import anyio
import msgspec

from redqueen.errors import Forbidden, InvalidInput, NotFound, RedQueenError
from redqueen.registry import calls, peering, stream, wire
from redqueen.registry.calls import Reply
from redqueen.registry.drivers.http import Answer, Head, Outlet, Stream
from redqueen.registry.ledger import Ledger
from redqueen.registry.messages import ExitReport, Suspect, SyncRequest, encode
from redqueen.registry.model import Identity, Instance, Moment
from redqueen.registry.rights import ITSELF, Caller, Gate

_SYNC_BYTES = 16 << 20
_SUSPECTS = 256

_T = TypeVar("_T")

# Not those with escapes, nor those that a peer hands on.
_BEAT = re.compile(r"/eureka/(?:v2/)?apps/([^/%]+)/([^/%]+)")
_TOLD = re.compile(r"status=(?:UP|STARTING|DOWN|OUT_OF_SERVICE)&lastDirtyTimestamp=([0-9]{1,19})")
_BEAT_ANSWERS = {Reply.DONE: Answer(200), Reply.UNKNOWN: Answer(404), Reply.REFUSED: Answer(403)}

Ask = Callable[[Instance, str], None]
"""Has one suspect asked, and says what made it one."""


class App:
    """Answers the calls to one registry; streams end when `closing` is set."""

    def __init__(
        self, ledger: Ledger, gate: Gate, moment: Callable[[], Moment], closing: anyio.Event, ask: Ask
    ) -> None:
        self._ledger = ledger
        self._gate = gate
        self._moment = moment
        self._closing = closing
        self._ask = ask
        self._told = stream.Told()

    def admit(self, head: Head) -> int | Answer:
        """Refuse strangers before their bodies are read."""
        try:
            head.caller = caller = self._caller(head)
            if not head.here and not caller.owner and head.path != "/registry/v1/health":
                raise _stranger("Off the registry's own machine nothing is said without a token")
            if _only_the_region(head) and not caller.commands:
                raise _stranger("Only the region itself may say that")
        except RedQueenError as error:
            return _refusal(error)
        return _SYNC_BYTES if head.path.startswith("/registry/v1/sync") else wire.MOST_BODY_BYTES

    def handle(self, head: Head, body: bytes) -> Answer | Stream:
        """Answer one call."""
        try:
            if head.path.startswith("/eureka"):
                return self._eureka(head, body)
            return self._own(head, body)
        except RedQueenError as error:
            return _refusal(error)

    def _caller(self, head: Head) -> Caller:
        if head.method != "GET" and "origin" in head.headers:
            # A page anywhere can reach loopback addresses of its reader.
            raise Forbidden("registry.browser", "Web pages may not change the registry", hint="Use a Eureka client")
        return self._gate.caller(head.headers.get("authorization", ""), here=head.here)

    def _eureka(self, head: Head, body: bytes) -> Answer:
        caller = cast(Caller, head.caller)
        if (
            head.method == "PUT"
            and not _handed_on(head)
            and (beat := _BEAT.fullmatch(head.path))
            and (told := _TOLD.fullmatch(head.query))
        ):
            return self._heartbeat(beat, told, caller)
        request = _eureka_request(head, body, caller)
        if request is None:
            return Answer(404)
        return _given(wire.answer(self._ledger, request, self._moment()))

    def _heartbeat(self, beat: re.Match[str], told: re.Match[str], caller: Caller) -> Answer:
        """Answer what clients say most, in the words that they all use; `wire` answers the rest alike."""
        event = calls.Renew(Identity(beat[1].upper(), beat[2]), int(told[1]))
        return _BEAT_ANSWERS[self._ledger.renew(event, self._moment(), caller)]

    def _own(self, head: Head, body: bytes) -> Answer | Stream:
        match head.method, head.path:
            case "GET", "/registry/v1/stream":
                return self._stream(head.query)
            case "GET", "/registry/v1/health":
                living = len(self._ledger.table) - len(self._ledger.table.ended)
                return _json({"epoch": self._ledger.epoch, "version": self._ledger.version, "instances": living})
            case "POST", "/registry/v1/sync":
                return _json(peering.reply(self._ledger, _decoded(body, SyncRequest), self._moment()))
            case "POST", "/registry/v1/exits":
                return self._exit(_decoded(body, ExitReport))
            case "POST", "/registry/v1/suspects":
                return self._suspects(_decoded(body, list[Suspect]))
            case _:
                raise NotFound("registry.path", "There is nothing here", hint="See the page on discovery")

    def _exit(self, report: ExitReport) -> Answer:
        identity = Identity(report.app.upper(), report.instance_id)
        outcome = self._ledger.apply(calls.Exited(identity, report.because, report.at_ms), self._moment())
        return _json({"reply": outcome.reply, "because": outcome.because})

    def _suspects(self, suspects: list[Suspect]) -> Answer:
        """Have suspects asked; the answer says what is done about each, in order."""
        replies: list[dict[str, str]] = []
        for suspect in suspects[:_SUSPECTS]:
            identity = Identity(suspect.app.upper(), suspect.instance_id)
            event = calls.Suspected(identity, suspect.host, suspect.port, suspect.because)
            outcome = self._ledger.apply(event, self._moment())
            for instance in outcome.probes:
                self._ask(instance, suspect.because)
            replies.append({"reply": outcome.reply, "because": outcome.because})
        return _json(replies)

    def _stream(self, query: str) -> Stream:
        asked = dict(parse_qsl(query))
        version = asked.get("version", "")
        known = int(version) if version.isdecimal() and len(version) < 20 else 0

        async def feed(outlet: Outlet) -> None:
            epoch, version = asked.get("epoch", ""), known
            while not self._closing.is_set():
                changed = self._ledger.changed
                line, version = self._told.line(self._ledger, epoch, version)
                epoch = self._ledger.epoch
                if not await outlet.send(line):
                    return
                with anyio.move_on_after(stream.BEAT_S):
                    await changed.wait()

        return Stream(feed, "application/x-ndjson")


def _only_the_region(head: Head) -> bool:
    if head.path.startswith("/registry/v1/"):
        return head.method != "GET"
    return "peerreplication" in unquote(head.path) or _handed_on(head)


def _handed_on(head: Head) -> bool:
    return head.headers.get("x-netflix-discovery-replication", "").lower() == "true"


def _eureka_request(head: Head, body: bytes, caller: Caller) -> wire.Request | None:
    path = head.path
    segments = [part for part in path.split("/") if part]
    if segments[0] != "eureka":
        return None
    del segments[: 2 if segments[1:2] == ["v2"] else 1]
    if "%" in path:
        segments = [unquote(part) for part in segments]
    return wire.Request(
        method=head.method,
        segments=tuple(segments),
        query=_query(head.query) if head.query else {},
        headers=head.headers,
        body=body,
        # What a peer of Eureka's hands on is nobody's: only who brings it has a right to.
        caller=replace(ITSELF, here=head.here) if _only_the_region(head) else caller,
    )


def _query(text: str) -> dict[str, str]:
    if "%" in text or "+" in text or ";" in text:
        return dict(parse_qsl(text, keep_blank_values=True))
    return {name: value for name, _, value in (pair.partition("=") for pair in text.split("&")) if name}


def _decoded(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            "registry.body", "The body cannot be read", why=str(error), hint="Send what this release sends"
        ) from error


def _stranger(what: str) -> Forbidden:
    return Forbidden("registry.stranger", what, hint="Send a token of the region's")


def _given(response: wire.Response) -> Answer:
    return Answer(response.status, response.body, response.headers)


def _json(value: object, status: int = 200, **headers: str) -> Answer:
    return Answer(status, encode(value), {"content-type": "application/json", **headers})


def _refusal(error: RedQueenError) -> Answer:
    body = {"code": error.code, "what": error.what, "why": error.why, "hint": error.hint}
    if error.http_status == 401:
        return _json(body, 401, **{"www-authenticate": 'Basic realm="registry"'})
    return _json(body, error.http_status)
