"""Which loops of forgetting there are, what a running experiment still needs, and that they tell what went."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from obstore.store import MemoryStore

from redqueen.config import Region, Retention
from redqueen.events import Event
from redqueen.roles.node import Node
from redqueen.roles.retention import Forgotten, events_before, retention_loops
from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.drivers.objects import ObstoreObjects
from redqueen.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio
DAY_S = 86_400.0


def node(tmp_path: Any, kept: Retention, said: list[Event]) -> Node:
    """Give as much of a control node as the loops look at."""
    clock = VirtualClock(1_800_000_000.0)
    stores = SimpleNamespace(
        records=MemoryRecords(clock), objects=ObstoreObjects(MemoryStore(), scratch=tmp_path), scratch=tmp_path
    )
    spec = SimpleNamespace(data_path=tmp_path)
    return cast(
        "Node", SimpleNamespace(clock=clock, stores=stores, region=Region(retention=kept), spec=spec, emit=said.append)
    )


def test_events_stay_as_long_as_is_said_and_longer_where_an_experiment_looks_at_the_week_before_it() -> None:
    now = 200 * DAY_S
    assert events_before(now, 90, []) == 110 * DAY_S
    assert events_before(now, 90, [150 * DAY_S]) == 110 * DAY_S
    assert events_before(now, 90, [150 * DAY_S, 112 * DAY_S]) == 105 * DAY_S


async def test_what_is_kept_for_ever_has_no_loop(tmp_path: Any) -> None:
    assert sorted(retention_loops(node(tmp_path, Retention(), []))) == [
        "retention.artifacts", "retention.events", "retention.trials"
    ]  # fmt: skip
    assert retention_loops(node(tmp_path, Retention(0, 0, 0), [])) == {}


async def test_each_loop_tells_what_went_and_is_silent_when_nothing_did(tmp_path: Any) -> None:
    said: list[Event] = []
    leader = node(tmp_path, Retention(events_days=14, releases=1), said)
    old = "artifacts/" + "0" * 64 + ".tar"
    for key in ("events/date=2020-01-01/hour=03/a.parquet", old):
        await leader.stores.objects.put(key, b"x")
    loops = retention_loops(leader)
    for _ in range(2):
        for _, turn in loops.values():
            await turn()
    told = [(event.what, event.count, event.which) for event in said if isinstance(event, Forgotten)]
    assert told == [("days of events", 1, ("events/date=2020-01-01",)), ("artifacts", 1, ("0" * 64,))]
    assert [key async for key in leader.stores.objects.list("")] == []
