"""What a trial can see, told before its start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from redqueen.stats.model import Harm, Kind, Metric
from redqueen.stats.power import chance_to_see

FAILURES = Metric("failures", Kind.PROPORTION, Harm.MORE, 1.5, 2.0)


def test_doubled_failures_are_seen_sooner_with_more_viewers_and_with_all_others_as_control() -> None:
    equal = chance_to_see(FAILURES, per_minute=60, share=0.5, minutes=60, runs=200)
    against_all = chance_to_see(FAILURES, per_minute=600, share=0.05, minutes=60, runs=200)
    many = chance_to_see(FAILURES, per_minute=600, share=0.5, minutes=60, runs=200)
    assert 0.4 < equal < 0.7
    assert equal + 0.15 < against_all < 0.95
    assert many == 1.0


def test_nothing_is_promised_without_time_or_for_a_spread_nobody_knows() -> None:
    starts = Metric("starts", Kind.COUNT, Harm.LESS, 0.95, 0.9)
    assert chance_to_see(starts, per_minute=20, share=0.5, minutes=5, runs=100) < 0.1
    assert chance_to_see(starts, per_minute=600, share=0.5, minutes=20, runs=100) > 0.9
    with pytest.raises(ValueError, match="spread"):
        chance_to_see(replace(FAILURES, kind=Kind.TAIL), per_minute=60, share=0.5, minutes=5)
