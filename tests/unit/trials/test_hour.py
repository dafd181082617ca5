"""The last hour in sums: folded once, dropped when old, and as telling as the plays themselves."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from redqueen.telemetry.model import LATENCY_BOUNDS_MS, FigureBin, SessionRow
from redqueen.trials.history import history
from redqueen.trials.hour import SLOT_S, SLOTS, Hour, folded, today

START = 1_800_000_000


def play(second: int, delay_ms: int, device: str = "tv", **changes: object) -> SessionRow:
    values: dict[str, object] = {
        "session": second, "seq": 1, "viewer": 1, "second": second, "device": device, "zone": "a", "arms": {},
        "first": (), "failed": delay_ms < 0, "delay_ms": delay_ms, "played_ms": 9000, "stalled_ms": 0, "stalls": 0,
        "errors": 0, "bitrate_bps": 1,
    }  # fmt: skip
    return SessionRow(**{**values, **changes})  # type: ignore[arg-type]


def requests(second: int, count: int, errors: int = 0, arm: str = "") -> FigureBin:
    latency = (0, 0, 0, count, *(0,) * (len(LATENCY_BOUNDS_MS) - 3))
    return FigureBin(second, "g", "a", "shop", "t" if arm else "", arm, count, 0, errors, latency)


def plays(count: int) -> list[SessionRow]:
    chance = random.Random(1)  # noqa: S311 - a test's own dice
    return [
        play(
            START + n // 2,
            -1 if n % 50 == 0 else int(900 * chance.lognormvariate(0, 0.7)),
            chance.choice(["tv", "mobile"]),
        )
        for n in range(count)
    ]


def test_quantiles_and_counts_are_those_of_the_plays_to_two_percent() -> None:
    rows = plays(2000)
    hour = folded(Hour(), rows, START + 2000, [requests(START, 90, 2)], START + 1)
    found, exact = today(hour, "shop"), history(rows, [requests(START, 90, 2)], "shop")
    assert (found.sessions, found.bitrates, found.affected) == (exact.sessions, exact.bitrates, exact.affected)
    assert found.latency == exact.latency and found.seconds == exact.seconds
    for device, delays in exact.delays_ms.items():
        for share in (0.5, 0.75, 0.9, 0.95, 0.97):
            assert np.quantile(found.delays_ms[device], share) == pytest.approx(np.quantile(delays, share), rel=0.05)
    assert today(hour, "other").requests == 0


def test_a_second_that_comes_again_is_not_counted_again() -> None:
    rows = plays(300)
    once = folded(Hour(), rows, START + 150, (), 0)
    assert folded(once, rows, START + 150, (), 0) == once
    parts = folded(folded(Hour(), rows[:100], START + 50, (), 0), rows, START + 150, (), 0)
    assert today(parts).sessions == today(once).sessions == 300


def test_what_is_older_than_an_hour_is_dropped_and_it_stays_small() -> None:
    hour = Hour()
    for slot in range(30):
        second = START + slot * SLOT_S
        hour = folded(hour, [play(second, 500 + slot)], second + 1, [requests(second, 5)], second + 1)
    assert len(hour.slots) == SLOTS
    assert today(hour, "shop").sessions == SLOTS and today(hour, "shop").requests == 5 * SLOTS
    assert len(msgspec.msgpack.encode(hour)) < 20_000
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(hour), type=Hour) == hour


def test_somebodys_treatment_is_no_measure_of_today() -> None:
    rows = [play(START, 400, arms={"shop-r1": "canary"}), play(START, 500, arms={"aa-even": "same"})]
    hour = folded(Hour(), rows, START + 1, [requests(START, 7, arm="canary"), requests(START, 9)], START + 1)
    assert (today(hour, "shop").sessions, today(hour, "shop").requests) == (1, 9)
