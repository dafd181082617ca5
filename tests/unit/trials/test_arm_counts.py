"""What an api node counts by arm: each viewer once, no address without bound, nothing for ever."""

from __future__ import annotations

import pytest

from redqueen.telemetry.limits import Limits, Rate
from redqueen.telemetry.model import LATENCY_BOUNDS_MS
from redqueen.trials.arm_counts import KEPT_S, MOST_PLACES, ArmCounts, Exposure

NOW = 1_000_000
PLACE = ("home.row_order", "rows", "new-first")
FEW = Limits(address_judged=Rate(3, 1), most_keys=50)


def page(viewer: int = 1, address: str = "192.0.2.1", *, again: bool = False) -> Exposure:
    return Exposure(PLACE, viewer, address, again)


def firsts(counts: ArmCounts) -> tuple[int, int]:
    """Return pages served and viewers exposed."""
    bins = counts.bins(0, 1 << 40)
    return sum(one.requests for one in bins), sum(one.first for one in bins)


def test_a_viewer_is_exposed_once_whether_its_cookie_says_so_or_is_left_out() -> None:
    counts = ArmCounts("api-1", "a")
    counts.exposed(page(), NOW + 0.2, 0.0)
    counts.exposed(page(), NOW + 0.4, 0.2)
    counts.exposed(page(again=True), NOW + 1, 0.8)
    counts.exposed(page(viewer=2, again=True), NOW + 1, 0.8)
    assert firsts(counts) == (4, 1)
    one = counts.bins(NOW, NOW + 1)[0]
    assert (one.second, one.gateway, one.zone, one.service, one.trial, one.arm) == (NOW, "api-1", "a", *PLACE)


def test_forged_viewers_of_one_address_stay_within_its_share_and_take_nobody_elses() -> None:
    counts = ArmCounts(limits=FEW)
    for viewer in range(1000):
        counts.exposed(page(viewer, "2001:db8::1"), NOW, 0.0)
    assert firsts(counts) == (1000, 3)
    counts.exposed(page(5000, "2001:db8:1::1"), NOW, 0.0)
    assert firsts(counts)[1] == 4
    assert len(counts._viewers) <= 50 and len(counts._addresses) <= 50


def test_what_is_kept_is_ten_minutes_and_a_bounded_number_of_arms_a_second() -> None:
    counts = ArmCounts()
    for number in range(MOST_PLACES + 100):
        counts.requested({f"t{number}": "same"}, 200, 1.0, NOW)
    assert len(counts.bins(NOW, NOW + 1)) == MOST_PLACES
    counts.requested({"t0": "same"}, 200, 1.0, NOW + KEPT_S)
    assert {one.second for one in counts.bins(0, 1 << 40)} == {NOW + KEPT_S}


@pytest.mark.parametrize(("took_ms", "bucket"), [(0.1, 0), (0.5, 0), (0.6, 1), (10_000.0, 23), (10_001.0, 24)])
def test_a_request_is_timed_by_the_gateways_bounds_and_a_stream_is_not(took_ms: float, bucket: int) -> None:
    counts = ArmCounts()
    counts.requested({"aa-even": "same", "aa-slice": "control"}, 503, took_ms, NOW)
    counts.requested({"aa-even": "same"}, 200, None, NOW)
    even, slice_ = counts.bins(NOW, NOW + 1)
    assert (even.trial, even.arm, even.requests, even.errors) == ("aa-even", "same", 2, 1)
    assert (slice_.trial, slice_.arm, slice_.requests, slice_.errors) == ("aa-slice", "control", 1, 1)
    assert len(even.latency) == len(LATENCY_BOUNDS_MS) + 1
    assert [at for at, some in enumerate(even.latency) if some] == [bucket]
