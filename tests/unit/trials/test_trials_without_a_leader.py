"""Nobody led for longer than nodes remember: what is lost is said, held against, and never concluded from."""

from __future__ import annotations

import pytest

from redqueen.testing.trials import Rig, release
from redqueen.trials.collecting import KEPT_S
from redqueen.trials.model import Status

pytestmark = pytest.mark.anyio


async def test_seconds_that_no_node_keeps_any_more_are_a_gap_and_the_trial_holds() -> None:
    rig = Rig()
    await rig.trials.start(release(steps=(0.3,), step_s=2000.0, horizon_s=4000.0))
    await rig.run(40)
    before = await rig.trials.get("shop-r1")
    rig.per_second = 1
    away_s = KEPT_S + 160
    for _ in range(away_s):
        await rig.armed.read()
        rig.play()
        rig.clock.advance(1.0)
    rig.trials = rig.leader()
    await rig.second()
    head = await rig.trials.get("shop-r1")
    assert head.life.status is Status.HELD and "any node" in head.life.because
    (gap,) = head.gaps
    assert (gap.node, gap.first) == ("", before.sessions_until)
    assert gap.until == int(rig.clock.now()) - KEPT_S
    await rig.run(12)
    later = await rig.trials.get("shop-r1")
    assert later.life.status is Status.RUNNING and later.gaps == head.gaps
    assert (await rig.trials.replay("shop-r1")).same_life
