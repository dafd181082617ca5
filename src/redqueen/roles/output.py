"""What a declared service's command prints, line by line in its node's log.

Lines get the time and the node's name like everything else there. A line that is too long is cut,
bytes that are no text are replaced, and a command that prints without end is only ever held up by
its own pipe. Enter at `carry`.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import anyio

from redqueen.events import Emit, Event

_PIECE_BYTES = 65_536
_LINE_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Printed(Event):
    """The command printed a line."""

    line: str


async def carry(output: int, emit: Emit) -> None:
    """Emit what comes out of the pipe `output` (not blocking) until its writers are gone."""
    rest = b""
    while True:
        await anyio.wait_readable(output)
        try:
            piece = os.read(output, _PIECE_BYTES)
        except BlockingIOError:
            continue
        lines, rest = split(rest + piece)
        for line in lines if piece else [*lines, rest] if rest else lines:
            with contextlib.suppress(OSError):  # a full disk costs lines, not the service
                emit(Printed(line.decode(errors="replace")))
        if not piece:
            return


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Cut bytes into whole lines and a rest shorter than the longest line (16 KiB)."""
    *lines, rest = data.split(b"\n")
    cut = [line[:_LINE_BYTES].rstrip(b"\r") for line in lines]
    while len(rest) >= _LINE_BYTES:
        cut.append(rest[:_LINE_BYTES])
        rest = rest[_LINE_BYTES:]
    return cut, rest
