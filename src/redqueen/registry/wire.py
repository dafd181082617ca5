"""Eureka v2's calls over HTTP, without the HTTP: a request in, a response out.

Decides paths, statuses, bodies and negotiation exactly as real clients need them (an empty body
on a heartbeat's 404, 204 on registration, XML unless JSON is asked for). Refuses bodies that
cannot be read with a 400 that says why. Enter at `answer`. Facts: Netflix's resources and clients.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

import msgspec

from redqueen.errors import InvalidInput
from redqueen.registry import calls, documents, history, xml
from redqueen.registry.calls import Reply
from redqueen.registry.documents import Document
from redqueen.registry.ledger import Ledger
from redqueen.registry.model import Action, Identity, Instance, Moment, Record
from redqueen.registry.rights import LOCAL, Caller

MOST_BODY_BYTES = 1 << 20
_WORTH_GZIP_BYTES = 512
_STATUS = {Reply.DONE: 200, Reply.UNKNOWN: 404, Reply.OUTDATED: 409, Reply.REFUSED: 403}


@dataclass(frozen=True, slots=True)
class Request:
    """A call below the base path: decoded segments (no empty ones), lower-case header names."""

    method: str
    segments: tuple[str, ...]
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    caller: Caller = LOCAL

    @property
    def replicated(self) -> bool:
        """Tell whether a peer of Eureka's hands this on."""
        return self.headers.get("x-netflix-discovery-replication", "").lower() == "true"


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def answer(ledger: Ledger, request: Request, now: Moment) -> Response:
    """Answer one call; never raises for anything that a client can send."""
    try:
        return _route(ledger, request, now)
    except InvalidInput as error:
        body = {"code": error.code, "what": error.what, "why": error.why, "hint": error.hint}
        return Response(400, msgspec.json.encode(body), {"content-type": "application/json"})


def _route(ledger: Ledger, request: Request, now: Moment) -> Response:
    match request.method, request.segments:
        case "GET", _:
            return _read(ledger, request)
        case "POST", ("apps", app):
            return _register(ledger, app, request, now)
        case "PUT", ("apps", app, instance_id):
            return _heartbeat(ledger, Identity(app.upper(), instance_id), request, now)
        case "DELETE", ("apps", app, instance_id):
            return _done(ledger, calls.Cancel(Identity(app.upper(), instance_id)), request, now)
        case "PUT" | "DELETE", ("apps", app, instance_id, "status"):
            return _override(ledger, Identity(app.upper(), instance_id), request, now)
        case "PUT", ("apps", app, instance_id, "metadata"):
            event = calls.SetMetadata(Identity(app.upper(), instance_id), request.query)
            return _done(ledger, event, request, now)
        case "POST", ("peerreplication", "batch"):
            return _batch(ledger, request, now)
        case _:
            return Response(404)


def read_body(request: Request) -> object:
    """Read a JSON or XML body, gzipped or not. Raises InvalidInput."""
    body = _unzipped(request)
    kind = request.headers.get("content-type", "")
    if "xml" in kind or ("json" not in kind and body.lstrip()[:1] == b"<"):
        return xml.read(body)
    try:
        return cast(object, msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            "registry.json", "The body is not acceptable JSON", why=str(error)[:200], hint="Correct it"
        ) from error


def _unzipped(request: Request) -> bytes:
    if request.headers.get("content-encoding", "").lower() != "gzip":
        return request.body
    unzip = zlib.decompressobj(wbits=31)
    try:
        body = unzip.decompress(request.body, MOST_BODY_BYTES)
    except zlib.error as error:
        raise InvalidInput("registry.gzip", "The body is not gzip", why=str(error), hint="Correct it") from error
    if unzip.unconsumed_tail or not unzip.eof:
        raise InvalidInput("registry.gzip", "The body is cut off or too large", hint="Send at most 1 MiB")
    return body


def _register(ledger: Ledger, app: str, request: Request, now: Moment) -> Response:
    instance = documents.read_instance(read_body(request), now.wall_ms)
    if instance.app != app.upper():
        raise InvalidInput(
            "registry.app", f"The instance says {instance.app[:80]!r}, the path {app[:80]!r}", hint="Use one name"
        )
    outcome = ledger.apply(calls.Register(instance), now, request.caller)
    return _refused(outcome) if outcome.reply is Reply.REFUSED else Response(204)


def _done(ledger: Ledger, event: calls.Event, request: Request, now: Moment) -> Response:
    outcome = ledger.apply(event, now, request.caller)
    return _refused(outcome) if outcome.reply is Reply.REFUSED else Response(_STATUS[outcome.reply])


def _refused(outcome: calls.Outcome) -> Response:
    """Say why: nobody but a person reads this (a heartbeat's refusal has no body, see `_heartbeat`)."""
    hint = "Register under a name of your own, or send its owner's token"
    body = {"code": "registry.right", "what": "You may not do that", "why": outcome.because, "hint": hint}
    return Response(403, msgspec.json.encode(body), {"content-type": "application/json"})


def _heartbeat(ledger: Ledger, identity: Identity, request: Request, now: Moment) -> Response:
    dirty_at_ms = _stamp(request.query.get("lastDirtyTimestamp", ""))
    event = calls.Renew(identity, dirty_at_ms, replicated=request.replicated)
    reply = ledger.renew(event, now, request.caller)
    if reply is not Reply.OUTDATED:
        return Response(_STATUS[reply])
    record = ledger.find(identity)
    if record is not None:
        return _write(request, {"instance": documents.write_instance(record, Action.ADDED)}, status=409)
    return Response(_STATUS[reply])


def _stamp(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 20 else None


def _override(ledger: Ledger, identity: Identity, request: Request, now: Moment) -> Response:
    value = request.query.get("value", "")
    if request.method == "PUT":
        return _done(ledger, calls.Override(identity, documents.read_status(value)), request, now)
    fallback = documents.read_status(value) if value else None
    return _done(ledger, calls.ClearOverride(identity, fallback), request, now)


def _read(ledger: Ledger, request: Request) -> Response:
    match request.segments:
        case ("apps",):
            return _write(request, _applications(ledger, ledger.living()))
        case ("apps", "delta"):
            return _write(request, _delta(ledger))
        case ("apps", app):
            found = [r for r in ledger.living() if r.instance.app == app.upper()]
            return _found(request, found, lambda: documents.write_application(app.upper(), _added(found)))
        case ("apps", app, instance_id):
            record = ledger.find(Identity(app.upper(), instance_id))
            return _found(request, [record] if record else [], lambda: _single(record))
        case ("instances", instance_id):
            found = [r for r in ledger.living() if r.instance.instance_id == instance_id]
            return _found(request, found, lambda: _single(found[0]))
        case ("vips", vip):
            found = [r for r in ledger.living() if _named(r.instance.vip, vip)]
            return _found(request, found, lambda: _applications(ledger, found))
        case ("svips", vip):
            found = [r for r in ledger.living() if _named(r.instance.secure_vip, vip)]
            return _found(request, found, lambda: _applications(ledger, found))
        case _:
            return Response(404)


def _named(addresses: str, wanted: str) -> bool:
    return wanted.lower() in (a.strip().lower() for a in addresses.split(","))


def _added(records: Iterable[Record]) -> list[tuple[Record, Action]]:
    return [(record, Action.ADDED) for record in records]


def _single(record: Record | None) -> Document:
    return {} if record is None else {"instance": documents.write_instance(record, Action.ADDED)}


def _applications(ledger: Ledger, records: list[Record]) -> Document:
    """Write a full answer: it carries version 1, and the hash of exactly what it holds."""
    return documents.write_applications(_added(records), delta_version=1, of_registry=records)


def _delta(ledger: Ledger) -> Document:
    changes = history.delta(ledger.history)
    return documents.write_applications(
        [(change.record, change.action) for change in changes],
        delta_version=history.delta_version(ledger.history),
        of_registry=ledger.living(),
    )


def _found(request: Request, records: list[Record], document: Callable[[], Document]) -> Response:
    return _write(request, document()) if records else Response(404)


def _write(request: Request, document: Document, *, status: int = 200) -> Response:
    """Encode a document as the client asked: XML unless it names JSON; gzip if it takes it."""
    json = "json" in request.headers.get("accept", "")
    body = msgspec.json.encode(document) if json else xml.write(document)
    headers = {"content-type": "application/json" if json else "application/xml", "vary": "accept, accept-encoding"}
    if len(body) >= _WORTH_GZIP_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(status, gzip.compress(body, 5), {**headers, "content-encoding": "gzip"})
    return Response(status, body, headers)


class _Handed(msgspec.Struct, rename="camel"):
    """One entry of Eureka's replication list; unknown fields of other versions are let pass."""

    app_name: str
    id: str
    action: str
    last_dirty_timestamp: int | str | None = None
    status: str | None = None
    overridden_status: str | None = None
    instance_info: object = None


class _Batch(msgspec.Struct, rename="camel"):
    replication_list: list[_Handed]


def _batch(ledger: Ledger, request: Request, now: Moment) -> Response:
    try:
        batch = msgspec.convert(read_body(request), _Batch)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            "registry.batch", "The replication list cannot be read", why=str(error), hint="Correct it"
        ) from error
    answers = [_handed(ledger, entry, now, request.caller) for entry in batch.replication_list]
    document: Document = {"responseList": answers}
    return Response(200, msgspec.json.encode(document), {"content-type": "application/json"})


def _handed(ledger: Ledger, entry: _Handed, now: Moment, by: Caller) -> Document:
    identity = Identity(entry.app_name.upper(), entry.id)
    try:
        reply = _apply_handed(ledger, identity, entry, now, by)
    except InvalidInput:
        return {"statusCode": 400}
    document: Document = {"statusCode": _STATUS[reply]}
    record = ledger.find(identity)
    if reply is Reply.OUTDATED and record is not None:
        document["responseEntity"] = documents.write_instance(record, Action.ADDED)
    return document


def _apply_handed(ledger: Ledger, identity: Identity, entry: _Handed, now: Moment, by: Caller) -> Reply:
    match entry.action:
        case "Register":
            instance: Instance = documents.read_instance(entry.instance_info, now.wall_ms)
            return ledger.apply(calls.Register(instance), now, by).reply
        case "Heartbeat":
            event = calls.Renew(identity, _stamp(str(entry.last_dirty_timestamp or "")), replicated=True)
            return ledger.apply(event, now, by).reply
        case "Cancel":
            return ledger.apply(calls.Cancel(identity), now, by).reply
        case "StatusUpdate":
            status = documents.read_status(entry.status)
            return ledger.apply(calls.Override(identity, status), now, by).reply
        case "DeleteStatusOverride":
            return ledger.apply(calls.ClearOverride(identity), now, by).reply
        case _:
            raise InvalidInput("registry.batch", f"{entry.action[:40]!r} is not an action", hint="Correct it")
