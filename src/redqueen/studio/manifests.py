"""Subtitles in a DASH manifest: one whole WebVTT file for each language. Pure text.

The packager's manifest is ours and well-formed, so adaptation sets are put before the period's end.
Enter at `with_subtitles`.
Source: DASH-IF IOP, side-loaded text/vtt with BaseURL.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from redqueen.studio.model import SubtitleText

_END = "  </Period>"
_FIRST_ID = 100


def with_subtitles(manifest: str, texts: Sequence[SubtitleText]) -> str:
    """Add text adaptation sets to a manifest that has none."""
    if not texts or _END not in manifest:
        return manifest
    before, end, after = manifest.rpartition(_END)
    return before + "".join(_set(_FIRST_ID + number, text) for number, text in enumerate(texts)) + end + after


def _set(number: int, text: SubtitleText) -> str:
    return (
        f'    <AdaptationSet id="{number}" contentType="text" lang={quoteattr(text.lang)}>\n'
        '      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="subtitle"/>\n'
        f"      <Label>{escape(text.label)}</Label>\n"
        f'      <Representation id="text-{number}" bandwidth="256" mimeType="text/vtt">\n'
        f"        <BaseURL>{escape(text.path)}</BaseURL>\n"
        "      </Representation>\n"
        "    </AdaptationSet>\n"
    )
