"""A trial that moves while it is read: whoever reads it sees one moment of it, never parts of two."""

from __future__ import annotations

import pytest

from redqueen.store.drivers.memory import MemoryRecords
from redqueen.store.ports import Record
from redqueen.testing.clock import VirtualClock
from redqueen.testing.trials import Rig, release

pytestmark = pytest.mark.anyio


class Moving(MemoryRecords):
    """Records in which the leader takes a turn just before somebody reads a trial's evidence."""

    rig: Rig | None = None

    async def get(self, partition: str, clustering: str) -> Record | None:
        if self.rig is not None and clustering == "evidence":
            rig, self.rig = self.rig, None
            await rig.run(2)
        return await super().get(partition, clustering)


async def test_a_replay_of_a_running_trial_does_not_take_the_next_looks_evidence_for_a_difference() -> None:
    clock = VirtualClock()
    records = Moving(clock)
    rig = Rig(records, clock)
    await rig.trials.start(release())
    await rig.run(45)
    before = await rig.trials.get("shop-r1")
    records.rig = rig
    found = await rig.leader().replay("shop-r1")
    assert found.entries > before.number, "it did move meanwhile"
    assert found.same_life and found.same_evidence
