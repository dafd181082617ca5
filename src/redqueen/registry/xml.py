"""Eureka's documents as XML, as XStream writes and reads them.

Decides how documents map to elements (`@name` is an attribute, `$` the text beside attributes,
a list repeats its element) and how names that XML does not allow are spelt. Refuses DTDs,
entities and deep nesting. Enter at `read` and `write`.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, cast
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from redqueen.errors import InvalidInput
from redqueen.registry.documents import Document

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_DEEPEST = 8
_SPELLING = {"overriddenStatus": "overriddenstatus"}
_UNFIT_TEXT = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UNFIT_NAME = re.compile(r"[^A-Za-z0-9_.-]")
_SPELT = re.compile(r"(?:_\.[0-9a-f]{4})+")


def read(body: bytes) -> Document:
    """Read a body as `{root: …}`. Raises InvalidInput."""
    try:
        root = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise InvalidInput(
            "registry.xml", "The body is not acceptable XML", why=str(error)[:200], hint="Correct it"
        ) from error
    return {root.tag: _value(root, 0)}


def _value(element: Element, depth: int) -> object:
    if depth > _DEEPEST:
        raise InvalidInput("registry.xml", "The XML is nested too deeply", hint=f"Use at most {_DEEPEST} levels")
    attributes: Document = {f"@{name}": text for name, text in element.attrib.items()}
    text = (element.text or "").strip()
    if len(element) == 0:
        return {**attributes, "$": text} if attributes else text
    fields: Document = attributes
    for child in element:
        _put(fields, _read_name(child.tag), _value(child, depth + 1))
    return fields


def _put(fields: Document, name: str, value: object) -> None:
    known = fields.get(name)
    if known is None:
        fields[name] = value
    elif isinstance(known, list):
        cast("list[object]", known).append(value)
    else:
        fields[name] = [known, value]


def write(document: Document) -> bytes:
    """Write a document with one root."""
    return "".join(_element(name, value) for name, value in document.items()).encode()


def _element(name: str, value: object) -> str:
    if isinstance(value, list):
        return "".join(_element(name, item) for item in cast("list[object]", value))
    tag = _write_name(_SPELLING.get(name, name))
    if not isinstance(value, dict):
        return f"<{tag}>{_text(value)}</{tag}>"
    fields = cast(Document, value)
    attributes = "".join(f' {_write_name(k[1:])}="{_text(v)}"' for k, v in fields.items() if k.startswith("@"))
    inner = "".join(_text(v) if k == "$" else _element(k, v) for k, v in fields.items() if not k.startswith("@"))
    return f"<{tag}{attributes}>{inner}</{tag}>"


def _text(value: object) -> str:
    return escape(_UNFIT_TEXT.sub("", str(value)))


def _write_name(name: str) -> str:
    """Spell a name so that XML allows it, as XStream's friendly coder does: `_.` and four hex digits."""
    spelt = _UNFIT_NAME.sub(lambda found: _spelt(found[0]), name) or "_"
    return spelt if re.match(r"[A-Za-z_]", spelt) else _spelt(spelt[0]) + spelt[1:]


def _spelt(character: str) -> str:
    units = character.encode("utf-16-be", "replace").hex()
    return "".join(f"_.{units[n : n + 4]}" for n in range(0, len(units), 4))


def _read_name(name: str) -> str:
    def plain(found: re.Match[str]) -> str:
        return bytes.fromhex(found[0].replace("_.", "")).decode("utf-16-be", "replace")

    return _SPELT.sub(plain, name)
