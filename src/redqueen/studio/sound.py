"""The sound: encoded once and whole, and heard while it is being made.

One engine writes a fragmented MP4 that grows; as soon as fragments are whole they become instant segments.
The same file is the final track. Started again after a death it makes the same bytes and the same
segments. A sound that cannot be decoded leaves a film without sound, not no film. Enter at `make_sound`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.to_thread

from redqueen.processes import Completed
from redqueen.studio import cuts, keys, recipe
from redqueen.studio.boxes import read_index
from redqueen.studio.fragments import Piece, cut_out
from redqueen.studio.model import AudioDone, AudioTrack, Fragment, Plan, Title
from redqueen.studio.workbench import Workbench, said

HEAD = 2
_TIMEOUT_S = 4 * 3600
_NICENESS = 8  # sound runs far ahead of the picture that viewers wait for, and gives way to it
_FIRST_LOOK_S, _LOOK_S = 0.05, 0.5
Told = Callable[[], Awaitable[None]]


async def make_sound(bench: Workbench, title: Title, plan: Plan, track: AudioTrack, told: Told) -> AudioDone:
    """Encode and store the sound; `told` is awaited whenever viewers can hear more. Raises Exhausted, Unavailable."""
    with bench.folder() as folder:
        output = folder / "sound.mp4"
        ran = Completed(-1, b"", b"")
        growth = _Growth(bench, title, plan, output, folder)
        async with bench.objects.local(title.source_key) as film:
            argv = recipe.audio(bench.engines.ffmpeg, plan.facts, track, film.resolve(), output)
            async with anyio.create_task_group() as group:
                group.start_soon(_watch, growth, told)
                ran = await bench.engine(
                    argv, read=[film.resolve()], write=folder, timeout_s=_TIMEOUT_S, niceness=_NICENESS
                )
                group.cancel_scope.cancel()
        await growth.take(whole=True)
        done = growth.done(whole=True, because="" if growth.fragments else said(ran))
        if growth.fragments:
            await bench.objects.put_file(keys.sound(title.title_id, plan.build), output)
    await bench.ledger.keep_audio(title.title_id, done)
    return done


async def _watch(growth: _Growth, told: Told) -> None:
    while True:
        await anyio.sleep(_LOOK_S if growth.segments else _FIRST_LOOK_S)
        if await growth.take(whole=False):
            await growth.bench.ledger.keep_audio(growth.title.title_id, growth.done(whole=False))
            await told()


class _Growth:
    """A file that grows, and how much of it has become segments."""

    def __init__(self, bench: Workbench, title: Title, plan: Plan, output: Path, folder: Path) -> None:
        self.bench, self.title, self._plan = bench, title, plan
        self._output, self._folder = output, folder
        self.fragments: list[Fragment] = []
        self.segments = 0
        self._seen_bytes = 0

    def done(self, *, whole: bool, because: str = "") -> AudioDone:
        """Say how far the sound is, counting only what can be played."""
        groups = cuts.grouped(len(self.fragments), HEAD)[: self.segments]
        count = groups[-1][1] if groups else 0
        if not count:
            return AudioDone(whole=whole, because=because)
        first, last = self.fragments[0].samples, self.fragments[count - 1].samples
        return AudioDone(count, first * recipe.AUDIO_FRAME, last * recipe.AUDIO_FRAME, whole, because)

    async def take(self, *, whole: bool) -> bool:
        """Make segments of the fragments that are new; tell whether there are more than before."""
        if not self._output.exists():
            return False
        init_bytes = self._look()
        if init_bytes:
            await self._store(keys.instant_init(self._plan.build, "audio"), 0, init_bytes)
        await self.bench.check_wanted(self.title.title_id)
        groups = cuts.grouped(len(self.fragments), HEAD)
        if not whole and groups and groups[-1][1] - groups[-1][0] < cuts.SEGMENT_GOPS and len(groups) > HEAD:
            groups.pop()  # its second fragment is yet to come
        before = self.segments
        for number in range(before, len(groups)):
            pieces = self.fragments[slice(*groups[number])]
            size_bytes = sum(piece.size_bytes for piece in pieces)
            await self._store(keys.audio_segment(self._plan.build, number), pieces[0].offset, size_bytes)
            self.segments = number + 1
        return self.segments > before

    def _look(self) -> int:
        size_bytes = self._output.stat().st_size
        with self._output.open("rb") as file:
            index = read_index(file, size_bytes, self._seen_bytes)
        self.fragments += index.fragments
        if self.fragments:
            self._seen_bytes = self.fragments[-1].offset + self.fragments[-1].size_bytes
        return index.init_bytes if index.fragments else 0

    async def _store(self, path: str, offset: int, size_bytes: int) -> None:
        part = self._folder / "part"
        with anyio.CancelScope(shield=True):  # a segment is stored whole or not begun
            await anyio.to_thread.run_sync(cut_out, [Piece(self._output, offset, size_bytes)], part)
            await self.bench.objects.put_file(keys.media(self.title.title_id, path), part)
