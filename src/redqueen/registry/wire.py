"""Eureka v2's calls over HTTP, without the HTTP: a request in, a response out.

Decides paths, statuses, bodies and negotiation exactly as real clients need them (an empty body
on a heartbeat's 404, 204 on registration, XML unless JSON is asked for). Refuses bodies that
cannot be read with a 400 that says why. Enter at `answer`. Facts: Netflix's resources and clients.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import msgspec

from redqueen.errors import InvalidInput
from redqueen.registry import calls, documents, reads, xml
from redqueen.registry.calls import Reply
from redqueen.registry.documents import Document
from redqueen.registry.ledger import Ledger
from redqueen.registry.model import Action, Identity, Instance, Moment, Status
from redqueen.registry.reads import Form, Written
from redqueen.registry.rights import LOCAL, Caller

MOST_BODY_BYTES = 1 << 20
_MOST_METADATA_BYTES = 64 << 10
"""Bytes of metadata that an instance may have gathered before single values are refused."""
_NO_GZIP = re.compile(r"gzip\s*;\s*q=0(?:\.0*)?\s*(?:,|$)")
_HEADERS = {
    (form, zipped): {
        "content-type": form.value,
        "vary": "accept, accept-encoding",
        **({"content-encoding": "gzip"} if zipped else {}),
    }
    for form in Form
    for zipped in (False, True)
}
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
        case "GET" | "HEAD", _:
            return _read(ledger, request, now)
        case "POST", ("apps", app):
            return _register(ledger, app, request, now)
        case "PUT", ("apps", app, instance_id):
            return _heartbeat(ledger, Identity(app.upper(), instance_id), request, now)
        case "DELETE", ("apps", app, instance_id):
            return _done(ledger, calls.Cancel(Identity(app.upper(), instance_id)), request, now)
        case "PUT" | "DELETE", ("apps", app, instance_id, "status"):
            return _override(ledger, Identity(app.upper(), instance_id), request, now)
        case "PUT", ("apps", app, instance_id, "metadata"):
            return _metadata(ledger, Identity(app.upper(), instance_id), request, now)
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
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding in ("", "identity"):
        return request.body
    if coding not in ("gzip", "x-gzip"):
        raise InvalidInput("registry.coding", f"{coding[:40]!r} is not a coding known here", hint="Send gzip or none")
    unzip = zlib.decompressobj(wbits=31)
    try:
        body = unzip.decompress(request.body, MOST_BODY_BYTES)
    except zlib.error as error:
        raise InvalidInput("registry.gzip", "The body is not gzip", why=str(error), hint="Correct it") from error
    if unzip.unconsumed_tail or unzip.unused_data or not unzip.eof:
        raise InvalidInput("registry.gzip", "The body is cut off or too large", hint="Send at most 1 MiB")
    return body


def _register(ledger: Ledger, app: str, request: Request, now: Moment) -> Response:
    instance = _instance(request, now.wall_ms)
    if instance.app != app.upper():
        raise InvalidInput(
            "registry.app", f"The instance says {instance.app[:80]!r}, the path {app[:80]!r}", hint="Use one name"
        )
    outcome = ledger.apply(calls.Register(instance), now, request.caller)
    return _refused(outcome) if outcome.reply is Reply.REFUSED else Response(204)


def _instance(request: Request, now_ms: int) -> Instance:
    headers = request.headers
    if "json" in headers.get("content-type", "") and "content-encoding" not in headers:
        common = documents.read_common(request.body, now_ms)
        if common is not None:
            return common
    return documents.read_instance(read_body(request), now_ms)


def _done(ledger: Ledger, event: calls.Event, request: Request, now: Moment) -> Response:
    outcome = ledger.apply(event, now, request.caller)
    return _refused(outcome) if outcome.reply is Reply.REFUSED else Response(_STATUS[outcome.reply])


def _refused(outcome: calls.Outcome) -> Response:
    """Say why: nobody but a person reads this (a heartbeat's refusal has no body, see `_heartbeat`)."""
    hint = "Register under a name of your own, or send its owner's token"
    body = {"code": "registry.right", "what": "You may not do that", "why": outcome.because, "hint": hint}
    return Response(403, msgspec.json.encode(body), {"content-type": "application/json"})


def _heartbeat(ledger: Ledger, identity: Identity, request: Request, now: Moment) -> Response:
    query = request.query
    event = calls.Renew(identity, _stamp(query.get("lastDirtyTimestamp", "")), replicated=request.replicated)
    reply = _renew(ledger, event, query.get("overriddenstatus", ""), now, request.caller)
    if reply is Reply.OUTDATED and (record := ledger.find(identity)) is not None:
        form = _form(request)
        return _written(reads.encode(reads.single(record), form, zipped=_takes_gzip(request)), form, 409)
    return Response(_STATUS[reply])


def _renew(ledger: Ledger, event: calls.Renew, overridden: str, now: Moment, by: Caller) -> Reply:
    """Take a heartbeat. A peer that knows a newer instance than we do also knows its override better."""
    reply = ledger.renew(event, now, by)
    if event.replicated and reply is Reply.UNKNOWN and overridden not in ("", Status.UNKNOWN):
        ledger.apply(calls.Override(event.identity, documents.read_status(overridden)), now, by)
    return reply


def _stamp(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 20 else None


def _metadata(ledger: Ledger, identity: Identity, request: Request, now: Moment) -> Response:
    """Lay the query over the metadata. Attributes are left out: they would name classes to readers."""
    values = {key: value for key, value in request.query.items() if key[:1] != "@"}
    record = ledger.find(identity)
    if record is not None:
        merged = {**record.instance.metadata, **values}
        if sum(len(key) + len(value) for key, value in merged.items()) > _MOST_METADATA_BYTES:
            raise InvalidInput("registry.metadata", "The instance has too much metadata", hint="Use at most 64 KiB")
    return _done(ledger, calls.SetMetadata(identity, values), request, now)


def _override(ledger: Ledger, identity: Identity, request: Request, now: Moment) -> Response:
    value = request.query.get("value", "")
    if request.method == "PUT":
        return _done(ledger, calls.Override(identity, documents.read_status(value)), request, now)
    fallback = documents.read_status(value) if value else None
    return _done(ledger, calls.ClearOverride(identity, fallback), request, now)


def _read(ledger: Ledger, request: Request, now: Moment) -> Response:
    form, zipped = _form(request), _takes_gzip(request)
    found = reads.answer(
        ledger.shelf, ledger.table, ledger.history, request.segments, form, zipped=zipped, now_s=now.mono_s
    )
    return Response(404) if found is None else _written(found, form)


def _form(request: Request) -> Form:
    """Decide the form: XML unless the client names JSON."""
    return Form.JSON if "json" in request.headers.get("accept", "").lower() else Form.XML


def _takes_gzip(request: Request) -> bool:
    """Tell whether the client takes gzip (a quality of 0 says that it does not)."""
    accepted = request.headers.get("accept-encoding", "")
    if "gzip" not in accepted:
        return False
    return _NO_GZIP.search(accepted) is None


def _written(written: Written, form: Form, status: int = 200) -> Response:
    return Response(status, written.body, _HEADERS[form, written.zipped])


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
    if reply is Reply.OUTDATED and (record := ledger.find(identity)) is not None:
        document["responseEntity"] = documents.write_instance(record, Action.ADDED)
    return document


def _apply_handed(ledger: Ledger, identity: Identity, entry: _Handed, now: Moment, by: Caller) -> Reply:
    match entry.action:
        case "Register":
            instance: Instance = documents.read_instance(entry.instance_info, now.wall_ms)
            if instance.identity != identity:
                raise InvalidInput("registry.batch", "The entry names another instance", hint="Use one name")
            return ledger.apply(calls.Register(instance), now, by).reply
        case "Heartbeat":
            event = calls.Renew(identity, _stamp(str(entry.last_dirty_timestamp or "")), replicated=True)
            return _renew(ledger, event, entry.overridden_status or "", now, by)
        case "Cancel":
            return ledger.apply(calls.Cancel(identity), now, by).reply
        case "StatusUpdate":
            status = documents.read_status(entry.status)
            return ledger.apply(calls.Override(identity, status), now, by).reply
        case "DeleteStatusOverride":
            return ledger.apply(calls.ClearOverride(identity), now, by).reply
        case _:
            raise InvalidInput("registry.batch", f"{entry.action[:40]!r} is not an action", hint="Correct it")
