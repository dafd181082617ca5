"""Takes fragmented MP4 files apart and puts them together, by the kernel: no film byte comes through here.

Because every chunk has the same initialisation part and its fragments carry their place in the film,
a rung is one initialisation part followed by all fragments. Enter at `cut_out`.
Source: copy_file_range(2), sendfile(2).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redqueen.errors import Broken, Exhausted


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of bytes of a file."""

    path: Path
    offset: int
    size_bytes: int


def cut_out(pieces: Sequence[Piece], goal: Path, append: bool = False) -> None:
    """Write the pieces one after the other into a file, new or longer. Raises Exhausted on a full disk."""
    try:
        with goal.open("r+b" if append else "wb") as output:
            output.seek(0, os.SEEK_END)
            for piece in pieces:
                with piece.path.open("rb") as source:
                    _copy(source.fileno(), piece.offset, piece.size_bytes, output.fileno())
    except OSError as error:
        raise full_or(error) from error


def full_or(error: OSError) -> Exception:
    """Turn a full disk into Exhausted (`studio.disk_full`); leave other errors as they are."""
    return disk_full() if error.errno in (errno.ENOSPC, errno.EDQUOT) else error


def disk_full() -> Exhausted:
    """Say that the disk is full."""
    return Exhausted(
        "studio.disk_full",
        "The disk is full",
        why="the encode needs room for its pieces",
        hint="Free some space; the encode goes on by itself",
    )


def _copy(source: int, offset: int, size_bytes: int, output: int) -> None:
    while size_bytes > 0:
        try:
            copied = os.copy_file_range(source, output, size_bytes, offset_src=offset)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            copied = os.sendfile(output, source, offset, size_bytes)
        if copied == 0:
            raise Broken("studio.fragments", "A piece of the film ended early", hint="Report it")
        offset += copied
        size_bytes -= copied
