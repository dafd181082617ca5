"""Which frame rate a film comes out with. Pure.

A constant rate up to 60 is kept exactly; a higher one is divided until it fits; a variable one
becomes the nearest standard rate. Enter at `output_rate`.
"""

from __future__ import annotations

from fractions import Fraction

STANDARD = tuple(
    Fraction(*pair)
    for pair in (
        (10, 1),
        (12, 1),
        (15, 1),
        (20, 1),
        (24000, 1001),
        (24, 1),
        (25, 1),
        (30000, 1001),
        (30, 1),
        (48, 1),
        (50, 1),
        (60000, 1001),
        (60, 1),
    )
)
_SLOWEST, _FASTEST = Fraction(5), Fraction(60)
_SNAP = Fraction(1, 2000)  # containers with millisecond clocks are off by less than this
_SIMPLE = 100_000  # larger numerators make clocks that 32-bit media times cannot hold for hours


def output_rate(nominal: Fraction | None, average: Fraction | None) -> tuple[Fraction, bool]:
    """Choose frames per second from the stream's nominal and average rate; also tell if it varies."""
    known = [rate for rate in (average, nominal) if rate is not None and 0 < rate <= 1000]
    if not known:
        return Fraction(25), True
    varies = len(known) == 2 and abs(known[0] - known[1]) > known[1] * _SNAP * 2
    rate = known[0]
    if varies:
        return _nearest(_fitted(rate)), True
    rate = _fitted(rate)
    near = _nearest(rate)
    if abs(near - rate) <= near * _SNAP:
        return near, False
    if rate < _SLOWEST or max(rate.numerator, rate.denominator) > _SIMPLE:
        return near, True
    return rate, False


def _nearest(rate: Fraction) -> Fraction:
    return min(STANDARD, key=lambda standard: abs(standard - rate))


def _fitted(rate: Fraction) -> Fraction:
    divisor = 1
    while rate / divisor > _FASTEST * (1 + _SNAP):
        divisor += 1
    return rate / divisor


def timescale(rate: Fraction) -> int:
    """Return ticks per second in which a frame is a whole number of ticks; 10,000 to about 120,000."""
    return rate.numerator * -(-10_000 // rate.numerator)


def frame_ticks(rate: Fraction) -> int:
    """Return the ticks of one frame."""
    return timescale(rate) * rate.denominator // rate.numerator
