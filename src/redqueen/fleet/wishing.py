"""Follows what operators wish for, and keeps it on disk, so that a store that is away changes nothing.

The last known wishes lie in `wishes.json` in the data folder (readable by its owner only, since a
service's environment may hold secrets). They are taken first, so that a region that starts again
without its store runs what it ran. Enter at `remembered` and `follow`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio

from redqueen.clock import Clock
from redqueen.events import Emit, LoopFailed
from redqueen.fleet.datadir import read_json, write_json
from redqueen.fleet.declared import Wishes
from redqueen.fleet.ports import WishSource

_LOOK_S, _LIMIT_S, _RETRY_S = 0.3, 2.0, 1.0


def remembered(data_dir: Path) -> Wishes:
    """Return the wishes that were known last."""
    return read_json(data_dir / "wishes.json", Wishes) or Wishes()


async def follow(source: WishSource, data_dir: Path, take: Callable[[Wishes], None], clock: Clock, emit: Emit) -> None:
    """Hand on the wishes whenever they change, for ever; a source that is away changes nothing."""
    known, silent = remembered(data_dir), False
    while True:
        try:
            with anyio.fail_after(_LIMIT_S):
                wishes = await source.read()
            if wishes != known:
                write_json(data_dir / "wishes.json", wishes, mode=0o600)
                known = wishes
                take(wishes)
            silent = False
        except Exception as error:  # noqa: BLE001 - whatever a source or a full disk raises must not stop the supervisor
            if not silent:
                emit(LoopFailed("fleet.wishes", f"{type(error).__name__}: {error}", _RETRY_S))
            silent = True
        await clock.sleep(_RETRY_S if silent else _LOOK_S)
