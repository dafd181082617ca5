"""What a command prints becomes lines, whatever it prints."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueen.events import Event
from redqueen.roles.output import Printed, carry, split


@given(st.lists(st.binary(max_size=40_000), max_size=4))
def test_no_byte_is_lost_but_those_beyond_a_lines_length(pieces: list[bytes]) -> None:
    lines: list[bytes] = []
    rest = b""
    for piece in pieces:
        found, rest = split(rest + piece)
        lines += found
    assert all(len(line) <= 16_384 for line in [*lines, rest])
    text = b"".join(pieces)
    if all(len(line) < 16_384 for line in text.split(b"\n")) and b"\r" not in text:
        assert [*lines, rest] == text.split(b"\n")


@pytest.mark.anyio
async def test_everything_is_carried_until_the_last_writer_is_gone() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.write(writing, b"one\r\ntwo \xff\nthe end")
    os.close(writing)
    seen: list[Event] = []
    await carry(reading, seen.append)
    os.close(reading)
    assert seen == [Printed("one"), Printed("two \ufffd"), Printed("the end")]
