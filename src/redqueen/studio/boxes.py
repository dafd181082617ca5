"""What a fragmented MP4 holds, read from its box headers alone: the picture data is skipped.

Used to prove that an encoder made exactly the frames that were asked for, at exactly the right
media time, and to know where fragments lie so that the kernel can copy them apart. A file that is
still growing gives the fragments that are whole so far. Enter at `read_index`.
Source: ISO/IEC 14496-12 (moof, traf, tfhd, tfdt, trun) and 14496-15 (avcC).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from redqueen.errors import Broken
from redqueen.studio.model import Fragment

_MAX_HEADER_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Index:
    """The initialisation part's size in bytes, its codec string if it is H.264, and the whole fragments."""

    init_bytes: int
    codec: str
    fragments: tuple[Fragment, ...]


def read_index(file: BinaryIO, size_bytes: int, start: int = 0) -> Index:
    """Read a one-track fragmented MP4 of `size_bytes` from the box at `start` on. Raises Broken when malformed."""
    init_bytes, codec = 0, ""
    fragments: list[Fragment] = []
    head: tuple[int, int, int, int] | None = None
    for kind, offset, length in _top_boxes(file, start, size_bytes):
        if kind == b"moov":
            codec = _avc_codec(_body(file, offset, length))
            init_bytes = offset + length
        elif kind == b"moof":
            head = (offset, length, *_timing(_body(file, offset, length)))
        elif kind == b"mdat" and head is not None:
            begin, moof_bytes, ticks, samples = head
            fragments.append(Fragment(begin, moof_bytes + length, ticks, samples))
            head = None
    return Index(init_bytes, codec, tuple(fragments))


def _top_boxes(file: BinaryIO, offset: int, size_bytes: int) -> Iterator[tuple[bytes, int, int]]:
    while offset + 8 <= size_bytes:
        file.seek(offset)
        header = file.read(16)
        length, kind = struct.unpack(">I4s", header[:8])
        if length == 1 and len(header) == 16:
            (length,) = struct.unpack(">Q", header[8:])
        if length < 8:
            raise _malformed(f"a box of {length} bytes at {offset}")
        if offset + length > size_bytes:
            return
        yield kind, offset, length
        offset += length


def _body(file: BinaryIO, offset: int, length: int) -> bytes:
    if length > _MAX_HEADER_BYTES:
        raise _malformed(f"a header of {length} bytes")
    file.seek(offset + 8)
    return file.read(length - 8)


def _children(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(body):
        length, kind = struct.unpack_from(">I4s", body, at)
        if length < 8 or at + length > len(body):
            raise _malformed("a box that is larger than its parent")
        yield kind, body[at + 8 : at + length]
        at += length


def _timing(moof: bytes) -> tuple[int, int]:
    ticks, samples = -1, 0
    for kind, traf in _children(moof):
        if kind != b"traf":
            continue
        for inner, body in _children(traf):
            if inner == b"tfdt" and len(body) >= 8:
                (ticks,) = struct.unpack_from(">Q" if body[0] else ">I", body, 4)
            elif inner == b"trun" and len(body) >= 8:
                samples += struct.unpack_from(">I", body, 4)[0]
    if ticks < 0:
        raise _malformed("a fragment without its time")
    return ticks, samples


def _avc_codec(moov: bytes) -> str:
    at = moov.find(b"avcC")
    if at < 0 or at + 8 > len(moov):
        return ""
    return "avc1." + moov[at + 5 : at + 8].hex()


def _malformed(why: str) -> Broken:
    return Broken("studio.fragments", "The encoder left a file that is not fragmented MP4", why=why, hint="Report it")
