"""Logs of trials that ended long ago are forgotten; what came of the trials stays.

Decides that only a log goes (head, evidence and course are what a trial's page shows, and small),
and never that of a trial which runs, is permanent, or is named as in use. A turn removes at most
AT_ONCE entries and looks at a page of trials; where it stopped, it or another leader goes on:
whatever was removed twice is gone all the same. Enter at `Forgetting.turn`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from redqueen.store.ports import Records
from redqueen.trials.ledger import Head, Ledger
from redqueen.trials.permanent import is_permanent

AT_ONCE: Final = 5000
"""Entries of one turn: an hour's trial has some 3600."""
_TRIALS: Final = 50


def forgettable(head: Head, before: float, in_use: Collection[str]) -> bool:
    """Tell whether a trial ended before a time (Unix) and nobody needs its log."""
    trial, life = head.trial, head.life
    lasting = trial.for_ever or is_permanent(trial.id) or trial.id in in_use
    return life.status.ended and 0.0 < life.ended_s < before and not lasting


class Forgetting:
    """Walks over the trials from the oldest on, a page a turn, again and again."""

    def __init__(self, records: Records) -> None:
        """Forget logs in `records`."""
        self._ledger = Ledger(records)
        self._after = ""

    async def turn(self, before: float, in_use: Collection[str] = ()) -> int:
        """Remove logs of trials that ended before a time (Unix); return how many entries went."""
        page = await self._ledger.oldest(self._after, before, _TRIALS)
        removed = 0
        for place, head in page:
            if head is not None and forgettable(head, before, in_use):
                while removed < AT_ONCE and (gone := await self._ledger.forget(head.trial.id)):
                    removed += gone
                if removed >= AT_ONCE:
                    return removed  # the rest of this one comes first next time
            self._after = place
        if len(page) < _TRIALS:
            self._after = ""
        return removed
