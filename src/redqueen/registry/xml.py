"""Eureka's documents as XML, as XStream writes and reads them.

Decides how documents map to elements (`@name` is an attribute, `$` the text beside attributes, a
list repeats its element), and how metadata's keys are spelt where XML does not allow them as they
are. Refuses document types (so entities too) and deep nesting while it reads, before anything is
built of them. Enter at `read` and `write`.
"""

from __future__ import annotations

import re
from typing import cast
from xml.parsers import expat

from redqueen.errors import InvalidInput
from redqueen.registry.documents import Document

_DEEPEST = 8
_SPELLING = {"overriddenStatus": "overriddenstatus"}
_KEYS_OF = "metadata"
"""The element whose children are named by people."""
_UNFIT_TEXT = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL = re.compile("[^\t\n\r !#-%(-;=?-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UNFIT_KEY = re.compile(r"[^A-Za-z0-9_.-]|_(?=[^A-Za-z0-9])")
_SPELT_KEY = re.compile(r"__|_-|(?:_\.[0-9a-f]{4})+")


class Fragment(str):
    """A part of a document that is XML already."""

    __slots__ = ()


def read(body: bytes) -> Document:
    """Read a body as `{root: …}`. Raises InvalidInput."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise _refused(str(error)[:200], "Correct it") from error
    return reader.document


def _refused(why: str, hint: str) -> InvalidInput:
    return InvalidInput("registry.xml", "The body is not acceptable XML", why=why, hint=hint)


class _Element:
    """One open element: what is known of it so far."""

    __slots__ = ("fields", "name", "plain", "text")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.fields: Document = {f"@{key}": value for key, value in attributes.items()}
        self.text: list[str] = []
        self.plain = True
        """Whether it has no elements in it so far: then its text counts."""

    def value(self) -> object:
        if not self.plain:
            return self.fields
        text = "".join(self.text).strip()
        return {**self.fields, "$": text} if self.fields else text


class _Reader:
    """Builds a document as the parser goes."""

    def __init__(self) -> None:
        self.document: Document = {}
        self._open: list[_Element] = []

    def doctype(self, *_: object) -> None:
        raise _refused("It declares a document type", "Leave that out")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) > _DEEPEST:
            raise _refused("It is nested too deeply", f"Use at most {_DEEPEST} levels")
        self._open.append(_Element(name, attributes))

    def text(self, text: str) -> None:
        if self._open[-1].plain:
            self._open[-1].text.append(text)

    def end(self, _: str) -> None:
        element = self._open.pop()
        if not self._open:
            self.document = {element.name: element.value()}
            return
        outer = self._open[-1]
        outer.plain = False
        name = _read_key(element.name) if outer.name == _KEYS_OF else element.name
        _put(outer.fields, name, element.value())


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


def fragment(name: str, value: object) -> Fragment:
    """Write one element, to be put into a document in place of its value."""
    return Fragment(_element(name, value))


def _element(name: str, value: object) -> str:
    if isinstance(value, Fragment):
        return value
    if isinstance(value, list):
        return "".join([_element(name, item) for item in cast("list[object]", value)])
    tag = _SPELLING.get(name, name)
    if not isinstance(value, dict):
        return f"<{tag}>{_text(value)}</{tag}>"
    fields = cast(Document, value)
    if name == _KEYS_OF:
        fields = {_write_key(key): inner for key, inner in fields.items()}
    attributes = "".join([f' {key[1:]}="{_text(inner)}"' for key, inner in fields.items() if key[0] == "@"])
    parts = [_text(inner) if key == "$" else _element(key, inner) for key, inner in fields.items() if key[0] != "@"]
    return f"<{tag}{attributes}>{''.join(parts)}</{tag}>"


def _text(value: object) -> str:
    text = str(value)
    if _SPECIAL.search(text) is None:
        return text
    text = _UNFIT_TEXT.sub("", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("'", "&#x27;")


def _write_key(key: str) -> str:
    """Spell a key so that XML allows it and XStream's name coder reads it back."""
    spelt = _UNFIT_KEY.sub(lambda found: "__" if found[0] == "_" else _spelt(found[0]), key) or "_"
    return spelt if re.match(r"[A-Za-z_]", spelt) else _spelt(spelt[0]) + spelt[1:]


def _spelt(character: str) -> str:
    units = character.encode("utf-16-be", "replace").hex()
    return "".join(f"_.{units[n : n + 4]}" for n in range(0, len(units), 4))


def _read_key(name: str) -> str:
    def plain(found: re.Match[str]) -> str:
        match found[0]:
            case "__":
                return "_"
            case "_-":
                return "$"
            case spelt:
                return bytes.fromhex(spelt.replace("_.", "")).decode("utf-16-be", "replace")

    return _SPELT_KEY.sub(plain, name)
