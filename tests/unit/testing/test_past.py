"""Trials that are over, made for others to show: really judged, and replayed to the same bits where they are put."""

from __future__ import annotations

import pytest

from redqueen.store.drivers.memory import MemoryRecords
from redqueen.testing.clock import VirtualClock
from redqueen.testing.past import past
from redqueen.testing.trials import harmed, release
from redqueen.trials.service import Trials

pytestmark = pytest.mark.anyio


async def test_a_past_trial_is_shown_and_replayed_like_every_other() -> None:
    clock = VirtualClock()
    records = MemoryRecords(clock)
    states = await past(records, [release("shop-r3")], harmed("canary", 0.3), clock.now())
    assert states == {"shop-r3": "rolled back"}
    trials = Trials(records, clock)
    assert [one.trial.id for one in await trials.records()] == ["shop-r3"]
    found = await trials.course("shop-r3")
    assert found.record.ended_s < clock.now() and len(found.trace.points) > 2
    replay = await trials.replay("shop-r3")
    assert replay.same_life and replay.same_evidence
