"""Trials that are over, for whoever must show some without waiting for viewers: really judged, on doubles.

`past` lets emulated viewers live through trials on a virtual clock, in memory, and copies what the product
kept of them (plan, life, evidence, log) into a region's own records, so that they are shown, and replayed,
like every other. Refuses nothing; an id that is known there is written over. Enter at `past`.
"""

from __future__ import annotations

from collections.abc import Iterable

from redqueen.store.ports import Put, Records
from redqueen.testing.clock import VirtualClock
from redqueen.testing.trials import Harm, Rig
from redqueen.trials.ledger import ALL
from redqueen.trials.model import Trial

WITHIN_S = 600


async def past(records: Records, trials: Iterable[Trial], fails: Harm, now: float, *, seed: int = 1) -> dict[str, str]:
    """Try `trials` in the ten minutes before `now` (Unix seconds), and keep them in `records`; return their states.

    Plays fail with the chance that `fails` gives for their arms. Takes a second of a core for each four minutes tried.
    """
    rig = Rig(clock=VirtualClock(now - WITHIN_S), seed=seed)
    rig.fails, rig.per_second = fails, 20
    names = [(await rig.trials.start(trial)).trial.id for trial in trials]
    states: dict[str, str] = {}
    for _ in range(WITHIN_S):
        await rig.second()
        running = await rig.trials.all()
        states = {head.trial.id: head.life.status.value for head in running if head.trial.id in names}
        if not any(head.trial.id in names and not head.life.status.ended for head in running):
            break
    await _copy(rig.records, records, names)
    return states


async def _copy(source: Records, target: Records, names: list[str]) -> None:
    for name in names:
        rows = await source.scan(f"trial/{name}", limit=2 * WITHIN_S)
        await target.batch(f"trial/{name}", [Put(row.clustering, row.value) for row in rows])
    for row in await source.scan(ALL):
        if row.clustering.partition("/")[2] in names:
            await target.put(ALL, Put(row.clustering, row.value))
