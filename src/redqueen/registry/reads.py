"""What readers of Eureka's wire are told: everything, what changed, an application, a name, an instance.

Decides the document of each read and writes it in the form that was asked for (JSON or XML, gzip
or not). Written answers are kept while they are true, and each instance's part of them while its
record stands, so that thousands of readers cost what one costs. Refuses to keep more than a fixed
number of bytes. Enter at `answer` and `encode`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from redqueen.registry import documents, history, xml
from redqueen.registry.documents import Document
from redqueen.registry.history import History
from redqueen.registry.model import Action, Identity, Record, Version
from redqueen.registry.table import Table

_WORTH_GZIP_BYTES = 512
_GZIP = 16 + zlib.MAX_WBITS
_FRESH_S = 5.0
"""Seconds that an unchanged answer is kept: signs of life change it too, though nobody waits for those."""
_MANY = 2_000
_MANY_FRESH_S = 1.0
"""An answer of that many instances takes long to write: one this old is still given, whatever changed since."""
_PART_FRESH_MS = 10_000
"""Milliseconds that an instance's part may be behind its signs of life."""
_MOST_KEPT_BYTES = 64 << 20
_LEVEL = 1
"""Gzip's fastest: registries repeat themselves so much that it leaves a tenth, and nobody else is served meanwhile."""


class Form(Enum):
    """How an answer is written: its content type."""

    JSON = "application/json"
    XML = "application/xml"


@dataclass(frozen=True, slots=True)
class Written:
    """An answer's bytes, gzipped or not, and how many instances they tell of."""

    body: bytes
    zipped: bool
    instances: int
    version: int = -1
    made_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Part:
    version: Version
    beat_ms: int
    text: object


@dataclass(slots=True)
class Shelf:
    """The owner's state: answers by path and form, parts of instances by form, and what names lead to."""

    answers: dict[tuple[tuple[str, ...], Form, bool], Written] = field(
        default_factory=dict[tuple[tuple[str, ...], Form, bool], Written]
    )
    kept_bytes: int = 0
    parts: dict[Form, dict[Identity, _Part]] = field(default_factory=lambda: {form: {} for form in Form})
    index: dict[tuple[str, str], list[Identity]] = field(default_factory=dict[tuple[str, str], list[Identity]])
    indexed: int = -1


def answer(
    shelf: Shelf, table: Table, past: History, segments: tuple[str, ...], form: Form, *, zipped: bool, now_s: float
) -> Written | None:
    """Give the answer to one read (decoded path segments); None where there is nothing of that name."""
    key = (segments, form, zipped)
    version = history.delta_version(past)
    kept = shelf.answers.get(key)
    if kept is not None and _is_true(kept, version, now_s):
        return kept
    found = _look(shelf, table, past, segments, form)
    if found is None:
        return None
    document, count = found
    made = encode(document, form, zipped=zipped, instances=count, version=version, made_s=now_s)
    if len(segments) < 3 and "instances" not in segments[:1]:
        _keep(shelf, key, kept, made)
    return made


def _is_true(kept: Written, version: int, now_s: float) -> bool:
    age_s = now_s - kept.made_s
    return age_s < (_FRESH_S if kept.version == version else _MANY_FRESH_S if kept.instances >= _MANY else 0.0)


def _keep(shelf: Shelf, key: tuple[tuple[str, ...], Form, bool], before: Written | None, made: Written) -> None:
    shelf.kept_bytes += len(made.body) - (0 if before is None else len(before.body))
    if shelf.kept_bytes > _MOST_KEPT_BYTES or len(shelf.answers) > _MANY:
        shelf.answers.clear()
        shelf.kept_bytes = len(made.body)
    shelf.answers[key] = made


def encode(
    document: Document, form: Form, *, zipped: bool, instances: int = 1, version: int = -1, made_s: float = 0.0
) -> Written:
    """Write a document; gzipped if that may be and is worth it."""
    body = msgspec.json.encode(document) if form is Form.JSON else xml.write(document)
    if zipped := zipped and len(body) >= _WORTH_GZIP_BYTES:
        zipper = zlib.compressobj(_LEVEL, wbits=_GZIP)
        body = zipper.compress(body) + zipper.flush()
    return Written(body, zipped, instances, version, made_s)


def single(record: Record) -> Document:
    """Give the document of one instance."""
    return {"instance": documents.write_instance(record, Action.ADDED)}


def _look(
    shelf: Shelf, table: Table, past: History, segments: tuple[str, ...], form: Form
) -> tuple[Document, int] | None:
    match segments:
        case ("apps",):
            return _all(shelf, table, form)
        case ("apps", "delta"):
            return _delta(table, past)
        case ("apps", app):
            return _application(shelf, table, app.upper(), form)
        case ("apps", app, instance_id):
            entry = table.get(app.upper(), instance_id)
            return (single(entry.record), 1) if entry is not None and entry.living else None
        case ("instances", instance_id):
            found = _named(shelf, table, past, ("instances", instance_id))
            return (single(found[0]), 1) if found else None
        case ("vips" | "svips", name):
            return _address(shelf, _named(shelf, table, past, (segments[0], name.lower())), form)
        case _:
            return None


def _all(shelf: Shelf, table: Table, form: Form) -> tuple[Document, int]:
    """Write everything: it carries version 1, and the hash of exactly what it holds."""
    records = table.living()
    parts = _parts(shelf, records, form)
    return documents.write_applications(parts, delta_version=1, of_registry=records), len(records)


def _address(shelf: Shelf, records: list[Record], form: Form) -> tuple[Document, int]:
    """Write who serves under a name, as Eureka does: nobody is an empty answer; no delta follows on version -1."""
    parts = _parts(shelf, records, form)
    return documents.write_applications(parts, delta_version=-1, of_registry=records), len(records)


def _delta(table: Table, past: History) -> tuple[Document, int]:
    changes = history.delta(past)
    written = [(c.record.instance.app, documents.write_instance(c.record, c.action)) for c in changes]
    version = history.delta_version(past)
    return documents.write_applications(written, delta_version=version, of_registry=table.living()), len(changes)


def _application(shelf: Shelf, table: Table, app: str, form: Form) -> tuple[Document, int] | None:
    records = [entry.record for _, entry in sorted(table.apps.get(app, {}).items()) if entry.living]
    if not records:
        return None
    return documents.write_application(app, [part for _, part in _parts(shelf, records, form)]), len(records)


def _named(shelf: Shelf, table: Table, past: History, name: tuple[str, str]) -> list[Record]:
    """List the living of a name, from an index that is made once for each visible state."""
    version = history.delta_version(past)
    if shelf.indexed != version:
        shelf.index = _index(table.living())
        shelf.indexed = version
    entries = (table.find(identity) for identity in shelf.index.get(name, ()))
    return [entry.record for entry in entries if entry is not None and entry.living]


def _index(records: Iterable[Record]) -> dict[tuple[str, str], list[Identity]]:
    index: dict[tuple[str, str], list[Identity]] = {}
    for record in records:
        instance = record.instance
        names = {("instances", instance.instance_id)}
        names.update(("vips", name.strip().lower()) for name in instance.vip.split(","))
        names.update(("svips", name.strip().lower()) for name in instance.secure_vip.split(","))
        for name in names:
            index.setdefault(name, []).append(record.identity)
    return index


def _parts(shelf: Shelf, records: list[Record], form: Form) -> list[tuple[str, object]]:
    """Give each record's application and its part, written before where its record still stands."""
    kept = shelf.parts[form]
    write = _WRITE[form]
    parts: list[tuple[str, object]] = []
    for record in records:
        identity = record.identity
        part = kept.get(identity)
        if part is None or part.version != record.version or record.beat_ms - part.beat_ms > _PART_FRESH_MS:
            part = _Part(record.version, record.beat_ms, write(documents.write_instance(record, Action.ADDED)))
            kept[identity] = part
        parts.append((identity.app, part.text))
    if len(kept) > 2 * len(records) + _MANY:
        kept.clear()
    return parts


def _raw_json(document: Document) -> object:
    return msgspec.Raw(msgspec.json.encode(document))


def _raw_xml(document: Document) -> object:
    return xml.fragment("instance", document)


_WRITE: dict[Form, Callable[[Document], object]] = {Form.JSON: _raw_json, Form.XML: _raw_xml}
