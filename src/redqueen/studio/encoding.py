"""One chunk of one rung: entered near the cut, proven, and entered earlier when the proof fails.

The proof is the file's own index: exactly the frames asked for, exactly at their media time, in GOPs of
the planned length. Where a film has no pictures any more (it is damaged), the last one is repeated,
and if there is none at all the chunk is black; a film that begins so is refused. Enter at `encode`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from redqueen.errors import InvalidInput
from redqueen.processes import Completed
from redqueen.studio import cuts, keys, recipe
from redqueen.studio.boxes import Index, read_index
from redqueen.studio.fragments import Piece, cut_out
from redqueen.studio.model import Chunk, ChunkDone, Plan, Rung, Title
from redqueen.studio.rates import frame_ticks
from redqueen.studio.recipe import Entry
from redqueen.studio.workbench import Workbench, said

_TIMEOUT_S = 1200
_FIRST_VIEWER_WAITS, _VIEWERS_WAIT, _NOBODY_WAITS = 0, 4, 12  # niceness


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether an encoded chunk is what was asked for, and why not."""

    good: bool
    because: str
    late: bool = False
    """The first frames are missing, so an earlier entry may help."""


def prove(index: Index, chunk: Chunk, plan: Plan) -> Proof:
    """Compare an encoded chunk with what was asked; only the film's last chunk may be short."""
    ticks = frame_ticks(plan.facts.rate.exact)
    frames = sum(fragment.samples for fragment in index.fragments)
    last = chunk.end == plan.facts.frames
    if not index.codec or frames == 0:
        return Proof(False, "no frames were encoded", late=True)
    if index.fragments[0].start != chunk.start * ticks:
        return Proof(False, f"it begins at tick {index.fragments[0].start}", late=True)
    if frames != chunk.frames and not (last and frames < chunk.frames):
        return Proof(False, f"it has {frames} of {chunk.frames} frames")
    if [fragment.samples for fragment in index.fragments] != cuts.gops(frames, plan.gop):
        return Proof(False, "its GOPs have other lengths than planned")
    return Proof(True, f"{frames} frames at frame {chunk.start}")


async def encode(bench: Workbench, title: Title, plan: Plan, rung: Rung, chunk: Chunk) -> ChunkDone:
    """Encode, prove and store one chunk. Raises InvalidInput (`film.undecodable`), Exhausted, Unavailable."""
    with bench.folder() as folder:
        async with bench.objects.local(title.source_key) as film:
            output, index, how = await _proven(bench, plan, rung, chunk, film.resolve(), folder)
        size_bytes = output.stat().st_size
        await bench.check_wanted(title.title_id)
        if rung == plan.instant:
            await _store_instant(bench, title, plan, chunk, output, index, folder)
        await bench.objects.put_file(keys.chunk(title.title_id, plan.build, rung.name, chunk.index), output)
    frames = sum(fragment.samples for fragment in index.fragments)
    return ChunkDone(frames, size_bytes, index.init_bytes, index.codec, how)


async def _proven(
    bench: Workbench, plan: Plan, rung: Rung, chunk: Chunk, film: Path, folder: Path
) -> tuple[Path, Index, str]:
    proof = Proof(False, "not tried", late=True)
    told = ""
    for entry in Entry:
        if entry is Entry.START and not proof.late:
            continue  # its beginning was right; what is missing is missing in the film
        output = folder / f"{entry}.mp4"
        argv = recipe.video(bench.engines.ffmpeg, plan, rung, chunk, film, output, entry)
        done = await _run(bench, plan, rung, chunk, argv, film, folder)
        index = _index(output)
        proof, told = prove(index, chunk, plan), said(done)
        if proof.good:
            return output, index, str(entry)
        output.unlink(missing_ok=True)
    if chunk.index == 0:
        raise InvalidInput(
            "film.undecodable",
            "The film's pictures cannot be decoded",
            why=f"{proof.because}; {told}",
            hint="Check that the film plays elsewhere, convert it, and upload it again",
        )
    return await _blank(bench, plan, rung, chunk, film, folder)


async def _blank(
    bench: Workbench, plan: Plan, rung: Rung, chunk: Chunk, film: Path, folder: Path
) -> tuple[Path, Index, str]:
    output = folder / "blank.mp4"
    argv = recipe.blank(bench.engines.ffmpeg, plan, rung, chunk, output)
    done = await _run(bench, plan, rung, chunk, argv, film, folder)
    index = _index(output)
    proof = prove(index, chunk, plan)
    if not proof.good:
        raise InvalidInput(
            "film.undecodable", "A part of the film cannot be encoded", why=said(done), hint="Convert it"
        )
    return output, index, "blank"


async def _run(
    bench: Workbench, plan: Plan, rung: Rung, chunk: Chunk, argv: list[str], film: Path, folder: Path
) -> Completed:
    niceness = _NOBODY_WAITS
    if rung == plan.instant:
        niceness = _VIEWERS_WAIT if chunk.index else _FIRST_VIEWER_WAITS
    return await bench.engine(argv, read=[film], write=folder, timeout_s=_TIMEOUT_S, niceness=niceness)


def _index(output: Path) -> Index:
    if not output.exists():
        return Index(0, "", ())
    with output.open("rb") as file:
        return read_index(file, output.stat().st_size)


async def _store_instant(
    bench: Workbench, title: Title, plan: Plan, chunk: Chunk, output: Path, index: Index, folder: Path
) -> None:
    pieces = [
        (keys.video_segment(plan.build, chunk.index, number), index.fragments[first:past])
        for number, (first, past) in enumerate(cuts.grouped(len(index.fragments)))
    ]
    for path, group in pieces:
        size_bytes = sum(fragment.size_bytes for fragment in group)
        await _store(bench, title, path, Piece(output, group[0].offset, size_bytes), folder)
    if chunk.index == 0:
        init = keys.instant_init(plan.build, "video")
        await _store(bench, title, init, Piece(output, 0, index.init_bytes), folder)


async def _store(bench: Workbench, title: Title, path: str, piece: Piece, folder: Path) -> None:
    part = folder / "part"
    await anyio.to_thread.run_sync(cut_out, [piece], part)
    await bench.objects.put_file(keys.media(title.title_id, path), part)
