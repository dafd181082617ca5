"""The poster: a typical picture from a tenth into the film.

A black or empty picture makes a very small JPEG, so places are tried until one is rich enough, and the
richest wins. A film without any usable picture has no poster, and that is no failure. Enter at `make_poster`.
"""

from __future__ import annotations

from pathlib import Path

from redqueen.studio import keys, recipe
from redqueen.studio.model import Facts, Title
from redqueen.studio.workbench import Workbench

_PLACES = (0.1, 0.25, 0.5, 0.0)
_RICH_BYTES_PER_PIXEL = 0.02
_MAX_WIDTH = 1280
_TIMEOUT_S = 120


async def make_poster(bench: Workbench, title: Title, facts: Facts) -> str | None:
    """Make and store the poster; return its path relative to `media/<title>/`, or None."""
    with bench.folder() as folder:
        best: Path | None = None
        async with bench.objects.local(title.source_key) as film:
            for number, place in enumerate(_PLACES):
                output = folder / f"{number}.jpg"
                at_s = place * facts.duration_s
                argv = recipe.poster(bench.engines.ffmpeg, facts, film.resolve(), output, at_s)
                await bench.engine(argv, read=[film.resolve()], write=folder, timeout_s=_TIMEOUT_S)
                if output.exists() and (best is None or _bytes(output) > _bytes(best)):
                    best = output
                if best is not None and _bytes(best) >= _enough(facts):
                    break
        if best is None or _bytes(best) == 0:
            return None
        await bench.objects.put_file(keys.media(title.title_id, keys.POSTER), best)
    return keys.POSTER


def _bytes(path: Path) -> int:
    return path.stat().st_size


def _enough(facts: Facts) -> float:
    width = min(facts.width, _MAX_WIDTH)
    return width * (facts.height * width / facts.width) * _RICH_BYTES_PER_PIXEL
