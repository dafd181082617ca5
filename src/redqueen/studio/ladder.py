"""Which qualities a film gets. Pure.

Rungs fit into the 16:9 boxes of 360, 540, 720, 1080, 1440 and 2160 lines (turned for portrait), keep
the film's shape with even sizes, never enlarge, and end with the source's own size. Peak rates
follow Apple's authoring specification by area and frame rate. Enter at `rungs`.
Source: HLS Authoring Specification for Apple Devices, video average bit rates.
"""

from __future__ import annotations

from fractions import Fraction

from redqueen.studio.model import Rung

LINES = (360, 540, 720, 1080, 1440, 2160)
_FULL_HD = 1920 * 1080
_FULL_HD_BPS = 5_500_000
_TOO_NEAR = Fraction(9, 10)  # a box this close to the source adds nothing to it
_SKIPPED_UNLESS_SOURCE = 1440


def rungs(width: int, height: int, rate: Fraction) -> tuple[Rung, ...]:
    """Decide the rungs, small to large, for a picture of `width` x `height` square pixels."""
    sizes: list[tuple[int, int]] = []
    for lines in LINES:
        factor = _factor(width, height, lines)
        if lines != _SKIPPED_UNLESS_SOURCE and factor < _TOO_NEAR:
            sizes.append(_scaled(width, height, factor))
    top = _factor(width, height, LINES[-1])
    full = _scaled(width, height, top) if top < 1 else (max(2, width // 2 * 2), max(2, height // 2 * 2))
    if full not in sizes:
        sizes.append(full)
    return tuple(_rung(w, h, rate) for w, h in sizes)


def _factor(width: int, height: int, lines: int) -> Fraction:
    long, short = max(width, height), min(width, height)
    return min(Fraction(_box_width(lines), long), Fraction(lines, short))


def _box_width(lines: int) -> int:
    return lines * 16 // 9


def _scaled(width: int, height: int, factor: Fraction) -> tuple[int, int]:
    return max(2, round(width * factor / 2) * 2), max(2, round(height * factor / 2) * 2)


def name(width: int, height: int) -> str:
    """Name a rung by the lines of the smallest 16:9 box that holds it, as viewers know them."""
    long, short = max(width, height), min(width, height)
    lines = max(short, round(long * 9 / 16))
    near = min(LINES, key=lambda known: abs(known - lines))
    return f"{near if abs(near - lines) <= 4 else lines}p"


def bitrate_bps(width: int, height: int, rate: Fraction) -> int:
    """Return the peak bit rate: area to the power 0.75, frame rate (against 30) to 0.6."""
    by_area = (width * height / _FULL_HD) ** 0.75
    by_rate = max(0.5, float(rate) / 30) ** 0.6
    return max(64_000, round(_FULL_HD_BPS * by_area * by_rate / 1000) * 1000)


def _rung(width: int, height: int, rate: Fraction) -> Rung:
    preset = "veryfast" if width * height <= _FULL_HD else "superfast"
    return Rung(name(width, height), width, height, bitrate_bps(width, height, rate), 23, preset)
