"""Envoy's counters as figures by the second, and as Prometheus' text."""

from __future__ import annotations

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from redqueen.gateway.figures import KEPT_S, Figures, Kept, Place, between, totals_in
from redqueen.gateway.metrics import exposition

SHOP, CANARY = Place("my.shop_1"), Place("my.shop_1", "shop-r1", "canary")


def answer(counts: dict[str, int], times: dict[str, list[int]] | None = None) -> bytes:
    stats: list[object] = [{"name": f"rq.requests.of.{name}", "value": value} for name, value in counts.items()]
    if times is not None:
        bounds = (1000.0, 5000.0, 1e12)
        histograms = [
            {
                "name": f"rq.time.of.{name}",
                "buckets": [
                    {"upper_bound": bound, "interval": 0, "cumulative": count}
                    for bound, count in zip(bounds, row, strict=True)
                ],
            }
            for name, row in times.items()
        ]
        stats.append({"histograms": histograms})
    return json.dumps({"stats": stats}).encode()


FIRST = answer(
    {
        "my.shop_1//200": 4,
        "my.shop_1//404": 2,
        "my.shop_1/-/200": 4,
        "my.shop_1/shop-r1/canary/first/200": 3,
        "my.shop_1/shop-r1/canary/again/503": 2,
        "my.shop_1/shop-r1/canary/again/0": 1,
        "-/-/404": 7,
        "//404": 1,
    },
    {"my.shop_1/-": [4, 6, 0], "my.shop_1/shop-r1/canary/first": [1, 1, 1], "-/-": [7, 0, 0]},
)


def test_a_service_has_everything_and_each_arm_its_part():
    totals = totals_in(FIRST)
    assert totals.keys() == {SHOP, CANARY}
    assert totals[SHOP].codes == {200: 11, 404: 2, 503: 2, 0: 1}
    assert totals[SHOP].latency == (5, 7, 1)
    assert totals[CANARY].codes == {200: 3, 503: 2, 0: 1}
    assert (totals[CANARY].first, totals[CANARY].latency) == (3, (1, 1, 1))


def test_a_second_is_the_difference_of_two_looks():
    later = answer(
        {
            "my.shop_1/-/200": 8,
            "my.shop_1//404": 2,
            "my.shop_1/shop-r1/canary/first/200": 5,
            "my.shop_1/shop-r1/canary/again/503": 6,
            "my.shop_1/shop-r1/canary/again/504": 1,
            "my.shop_1/shop-r1/canary/again/0": 1,
        },
        {"my.shop_1/-": [4, 6, 0], "my.shop_1/shop-r1/canary/first": [1, 3, 1]},
    )
    found = {one.place: one for one in between(totals_in(FIRST), totals_in(later))}
    assert found[CANARY] == Figures(CANARY, requests=7, first=2, errors=5, latency=(0, 2, 0))
    assert found[SHOP].requests == 7
    assert between(totals_in(later), totals_in(later)) == []


def test_another_envoys_counters_are_taken_whole_and_never_below_nothing():
    smaller = answer({"my.shop_1/-/200": 4}, {"my.shop_1/-": [1, 2, 0]})
    [one] = between(totals_in(FIRST), totals_in(smaller))
    assert one == Figures(SHOP, 4, 0, 0, (1, 2, 0))
    [born] = between({}, totals_in(smaller))
    assert born == one


def test_ten_minutes_are_kept_and_a_clock_that_is_set_back_loses_nothing():
    kept, one = Kept(), Figures(SHOP, 1, 0, 0, (1,))
    for second in range(1000, 1000 + KEPT_S + 50):
        kept.add(second, [one], {})
    assert len(kept.since(0)) == KEPT_S
    assert [second for second, _ in kept.since(1640)] == list(range(1640, 1650))
    kept.add(1640, [one], {})
    assert len(kept.since(1640)) == 11
    kept.add(2000, (), {})
    assert (kept.until, len(kept.since(1990))) == (2000, 0)


def test_what_is_not_the_admins_answer_is_refused():
    with pytest.raises(ValueError, match="malformed"):
        totals_in(b"no stats")


def test_metrics_are_what_prometheus_reads():
    totals = totals_in(FIRST)
    text = exposition("gateway-a-1", 'a"\\', totals, (1, 5), serving=True)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    requests = families["redqueen_gateway_requests"].samples
    own = {"gateway": "gateway-a-1", "zone": 'a"\\'}
    wanted = {**own, "service": "my.shop_1", "trial": "shop-r1", "arm": "canary", "code": "503"}
    assert [one.value for one in requests if one.labels == wanted] == [2]
    buckets = [
        (one.labels["le"], one.value)
        for one in families["redqueen_gateway_request_seconds"].samples
        if one.name.endswith("_bucket") and one.labels["trial"] == ""
    ]
    assert buckets == [("0.001", 5), ("0.005", 12), ("+Inf", 13)]
    assert families["redqueen_gateway_serving"].samples[0].value == 1
    assert "le=" not in exposition("g", "a", totals, (1, 2, 3, 5), serving=False), "other bounds are not these"
