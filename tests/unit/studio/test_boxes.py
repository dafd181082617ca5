"""Boxes: an index of fragments from headers alone, also of a file that grows."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueen.errors import Broken
from redqueen.studio.boxes import read_index


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _fragment(ticks: int, samples: int, payload: int) -> bytes:
    tfdt = _box(b"tfdt", b"\x01\0\0\0" + struct.pack(">Q", ticks))
    trun = _box(b"trun", b"\0\0\0\0" + struct.pack(">I", samples))
    return _box(b"moof", _box(b"mfhd", b"\0" * 8) + _box(b"traf", tfdt + trun)) + _box(b"mdat", b"\0" * payload)


_INIT = _box(b"ftyp", b"iso6") + _box(b"moov", _box(b"avcC", b"\x01\x64\x00\x1e"))


def test_fragments_are_found_with_their_time_and_samples() -> None:
    data = _INIT + _fragment(0, 48, 100) + _fragment(48_000, 12, 7)
    index = read_index(io.BytesIO(data), len(data))
    assert (index.init_bytes, index.codec) == (len(_INIT), "avc1.64001e")
    assert [(f.start, f.samples) for f in index.fragments] == [(0, 48), (48_000, 12)]
    assert index.fragments[-1].offset + index.fragments[-1].size_bytes == len(data)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 600))
def test_a_growing_file_gives_whole_fragments_only_and_goes_on_where_it_stopped(cut: int) -> None:
    data = _INIT + _fragment(0, 48, 100) + _fragment(48_000, 12, 70)
    cut = min(cut, len(data))
    first = read_index(io.BytesIO(data[:cut]), cut)
    assert all(f.offset + f.size_bytes <= cut for f in first.fragments)
    seen = first.fragments[-1].offset + first.fragments[-1].size_bytes if first.fragments else 0
    rest = read_index(io.BytesIO(data), len(data), seen)
    assert [f.start for f in first.fragments + rest.fragments] == [0, 48_000]


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_that_are_no_boxes_are_refused_or_empty(data: bytes) -> None:
    try:
        read_index(io.BytesIO(data), len(data))
    except Broken:
        return


def test_a_fragment_without_its_time_is_refused() -> None:
    data = _INIT + _box(b"moof", _box(b"traf", b"")) + _box(b"mdat", b"")
    with pytest.raises(Broken):
        read_index(io.BytesIO(data), len(data))
