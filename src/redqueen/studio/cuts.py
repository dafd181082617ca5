"""Where a film is cut: GOPs, chunks (one job each) and segments. Pure, by output frame index.

GOPs are 2 s and closed, so that chunks join without a seam. The first chunks are one GOP, because
the first viewer waits for them; later ones are longer, because each costs a start of the encoder.
Enter at `chunks`.
"""

from __future__ import annotations

from fractions import Fraction

from redqueen.studio.model import Chunk

GOP_S = 2
HEAD_GOPS = (1, 1, 1, 2, 3, 4)
BODY_GOPS = 6
SEGMENT_GOPS = 2


def gop_frames(rate: Fraction) -> int:
    """Return the frames of a 2 s GOP."""
    return max(1, round(GOP_S * rate))


def chunks(frames: int, gop: int) -> tuple[Chunk, ...]:
    """Cut `frames` output frames into chunks that cover them exactly, in order."""
    made: list[Chunk] = []
    start = 0
    while start < frames:
        index = len(made)
        gops = HEAD_GOPS[index] if index < len(HEAD_GOPS) else BODY_GOPS
        end = min(frames, start + gops * gop)
        made.append(Chunk(index, start, end))
        start = end
    return tuple(made)


def gops(frames: int, gop: int) -> list[int]:
    """Return the frame counts of a chunk's GOPs; only the last may be short."""
    whole, rest = divmod(frames, gop)
    return [gop] * whole + ([rest] if rest else [])


def grouped(count: int, head: int = 0) -> list[tuple[int, int]]:
    """Group fragments 0..count into segments (first, past last): the first `head` alone, then by two."""
    groups: list[tuple[int, int]] = [(index, index + 1) for index in range(min(head, count))]
    at = len(groups)
    while at < count:
        groups.append((at, min(count, at + SEGMENT_GOPS)))
        at = groups[-1][1]
    return groups
