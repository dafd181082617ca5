"""Sample films: drawn by our own code, with sound, and with subtitles that are clean."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from studio_rig import ENGINES

from redqueen.studio import inspection, subtitles
from redqueen.studio.engines import versions
from redqueen.studio.samples import SAMPLES, make_sample

pytestmark = pytest.mark.anyio


async def test_a_sample_is_a_film_with_sound_of_the_promised_length(tmp_path: Path) -> None:
    sample = SAMPLES[-1]
    began = time.process_time()
    film, raw = await make_sample(sample, tmp_path, ENGINES)
    facts = await inspection.inspect(ENGINES, film)
    assert (facts.width, facts.height) == (960, 540)
    assert abs(facts.duration_s - sample.duration_s) < 0.1
    assert facts.audio is not None
    assert facts.audio.language == "en"
    assert subtitles.clean(raw).count(b"-->") == len(sample.lines)
    assert time.process_time() - began < 2  # the work is the engine's


def test_samples_differ_and_their_words_lie_within_the_film() -> None:
    assert len(SAMPLES) >= 4
    for part in ("key", "title", "description", "picture"):
        assert len({getattr(sample, part) for sample in SAMPLES}) == len(SAMPLES)
    for sample in SAMPLES:
        assert 20 <= sample.duration_s <= 40
        assert all(0 <= line.start_s < line.end_s <= sample.duration_s for line in sample.lines)


async def test_every_engine_says_its_version() -> None:
    said = await versions(ENGINES)
    assert "ffmpeg version" in said["ffmpeg"]
    assert "ffprobe version" in said["ffprobe"]
    assert "packager version" in said["packager"]
