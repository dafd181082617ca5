"""Envoy's counters as figures by the second, and as Prometheus' text."""

from __future__ import annotations

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from redqueen.gateway.figures import KEPT_S, Figures, Kept, Place, Total, between, totals_in
from redqueen.gateway.metrics import exposition

SHOP, GROUP = Place("my.shop_1"), Place("my.shop_1--r1-canary")
CANARY = Place("my.shop_1", "shop-r1", "canary")


def answer(counts: dict[str, int], times: dict[str, list[int]] | None = None) -> bytes:
    stats: list[object] = [{"name": name, "value": value} for name, value in counts.items()]
    if times is not None:
        bounds = (1000.0, 5000.0, 1e12)
        histograms = [
            {
                "name": name,
                "buckets": [
                    {"upper_bound": bound, "interval": 0, "cumulative": count}
                    for bound, count in zip(bounds, row, strict=True)
                ],
            }
            for name, row in times.items()
        ]
        stats.append({"histograms": histograms})
    return json.dumps({"stats": stats}).encode()


def looked(completed: int, errors: int, first: int, again: int, time: int) -> bytes:
    """Give what Envoy says of a service, of its canary group, and of that arm of its trial."""
    return answer(
        {
            "cluster.my.shop_1.upstream_rq_completed": completed,
            "cluster.my.shop_1.external.upstream_rq_completed": completed,
            "cluster.my.shop_1--r1-canary.upstream_rq_completed": first + again,
            "cluster.my.shop_1--r1-canary.upstream_rq_5xx": errors,
            "rq.requests.of.//200": completed,
            "rq.requests.of.-/-/404": 1,
            "rq.requests.of.my.shop_1/shop-r1/canary/first/-/200": first,
            "rq.requests.of.my.shop_1/shop-r1/canary/again//404": again - errors - 1,
            "rq.requests.of.my.shop_1/shop-r1/canary/again/-/503": errors,
            "rq.requests.of.my.shop_1/shop-r1/canary/again/-/0": 1,
            # A node that the service lent to the group answered.
            "rq.requests.of.my.shop_1/shop-r1/canary/again/my.shop_1/200": 7,
        },
        {
            "cluster.my.shop_1.upstream_rq_time": [time, 1, 0],
            "cluster.my.shop_1.external.upstream_rq_time": [time, 1, 0],
            "cluster.my.shop_1--r1-canary.upstream_rq_time": [0, time, 0],
            "rq.time.of.my.shop_1/shop-r1/canary/first/-/my.shop_1": [0, first, 0],
            # At a path that another service answers for those who are not in the canary.
            "rq.time.of.my.shop_1/shop-r1/canary/again/-/api": [0, 0, again],
            "rq.time.of.my.shop_1/shop-r1/canary/again/-/-": [9, 9, 9],
            "rq.time.of.my.shop_1/shop-r1/canary/again/my.shop_1/my.shop_1": [9, 9, 9],
            "rq.time.of.-/-/my.shop_1": [9, 9, 9],
        },
    )


FIRST = looked(completed=10, errors=2, first=3, again=5, time=4)


def test_a_service_its_groups_and_each_arm_are_counted_apart():
    totals = totals_in(FIRST)
    assert totals == {
        SHOP: Total(10, 0, 0, (4, 1, 0)),
        GROUP: Total(8, 2, 0, (0, 4, 0)),
        CANARY: Total(8, 2, 3, (0, 3, 5)),
    }


def test_a_second_is_the_difference_of_two_looks_and_a_groups_part_is_its_services():
    later = looked(completed=11, errors=4, first=4, again=8, time=6)
    found = {one.place: one for one in between(totals_in(FIRST), totals_in(later))}
    assert found == {
        SHOP: Figures(SHOP, requests=5, first=0, errors=2, latency=(2, 2, 0)),
        CANARY: Figures(CANARY, requests=4, first=1, errors=2, latency=(0, 1, 3)),
    }
    assert between(totals_in(later), totals_in(later)) == []


def test_another_envoys_counters_are_taken_whole_and_a_group_that_went_takes_nothing_along():
    name = "cluster.my.shop_1.upstream_rq_"
    smaller = answer({f"{name}completed": 4}, {f"{name}time": [1, 2, 0]})
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
    wanted = {**own, "service": "my.shop_1", "trial": "shop-r1", "arm": "canary"}
    assert [one.value for one in requests if one.labels == wanted] == [8]
    errors = families["redqueen_gateway_errors"].samples
    assert [one.value for one in errors if one.labels["service"] == GROUP.service] == [2]
    buckets = [
        (one.labels["le"], one.value)
        for one in families["redqueen_gateway_request_seconds"].samples
        if one.name.endswith("_bucket") and one.labels["service"] == "my.shop_1" and one.labels["trial"] == ""
    ]
    assert buckets == [("0.001", 4), ("0.005", 5), ("+Inf", 5)]
    assert families["redqueen_gateway_serving"].samples[0].value == 1
    assert "le=" not in exposition("g", "a", totals, (1, 2, 3, 5), serving=False), "other bounds are not these"
