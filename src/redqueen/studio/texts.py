"""Text subtitles that lie inside the film: taken out, cleaned like any stranger's, and offered.

A language that a person handed in already is left as it is. What cannot be read is left out, because a
film without its subtitles is better than no film. Enter at `extract`.
"""

from __future__ import annotations

from redqueen.errors import InvalidInput
from redqueen.studio import publishing, subtitles, untrusted
from redqueen.studio.model import EmbeddedText, Facts, Title
from redqueen.studio.workbench import Workbench

_TIMEOUT_S = 3600


async def extract(bench: Workbench, title: Title, facts: Facts, index: int) -> None:
    """Offer the text stream with this index of the film. Raises Exhausted, Unavailable."""
    track = next((text for text in facts.texts if text.index == index), None)
    if track is None or track.language in {text.lang for text in await bench.ledger.texts(title.title_id)}:
        return
    raw = await _raw(bench, title, track)
    try:
        await publishing.add_text(bench, title.title_id, track.language, track.label or track.language, raw)
    except InvalidInput:
        return  # an empty or broken stream: nothing to show


async def _raw(bench: Workbench, title: Title, track: EmbeddedText) -> bytes:
    with bench.folder() as folder:
        output = folder / "text.vtt"
        async with bench.objects.local(title.source_key) as path:
            film = path.resolve()
            argv = [
                *(str(bench.engines.ffmpeg), "-hide_banner", "-nostdin", "-y", "-v", "error"),
                *untrusted.MAX_ALLOC,
                *untrusted.INPUT_OPTIONS,
                *("-vn", "-an", "-i", f"file:{film}", "-map", f"0:{track.index}", "-f", "webvtt"),
                *("-fs", str(subtitles.MAX_BYTES), str(output)),  # no more than is accepted
            ]
            await bench.engine(argv, read=[film], write=folder, timeout_s=_TIMEOUT_S)
        return output.read_bytes()[: subtitles.MAX_BYTES] if output.exists() else b""
