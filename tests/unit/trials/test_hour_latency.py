"""The last hour's latencies where seconds tell none, or what was kept has other bounds."""

from __future__ import annotations

from redqueen.telemetry.model import LATENCY_BOUNDS_MS, FigureBin
from redqueen.trials.hour import Hour, Served, Slot, folded, today

TIMES = (1,) * (len(LATENCY_BOUNDS_MS) + 1)


def figure(second: int, latency: tuple[int, ...]) -> FigureBin:
    return FigureBin(second, "gateway-a-1", "a", "shop", "", "", requests=3, first=0, errors=1, latency=latency)


def test_seconds_in_which_nobody_answered_do_not_stop_the_hour() -> None:
    hour = Hour()
    for second, latency in enumerate([(), TIMES, (), TIMES, ()]):
        hour = folded(hour, [], second + 1, [figure(second, latency)], second + 1)
    shop = today(hour, "shop")
    assert shop.affected["request_errors"] == (5, 15)
    assert shop.latency == tuple(2 * count for count in TIMES)


def test_what_was_kept_with_other_bounds_gives_way_to_what_is_told_now() -> None:
    kept = Hour(1, 1, (Slot(0, first=0, until=1, services={"shop": Served(2, 0, (0,))}),))
    shop = today(folded(kept, [], 2, [figure(1, TIMES)], 2), "shop")
    assert shop.latency == TIMES and shop.affected["request_errors"] == (1, 5)
